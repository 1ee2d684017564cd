"""Texts as sets of character 5-grams, in arrays: 0.4 GB for a million tweets, made in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.int64]

_N = 5
_CHUNK = 50_000  # texts hashed at once: about 200 MB
_WORDS = 8  # 64-bit words of a sketch
# Odd numbers with no structure. A gram's code is the sum of its characters times these, modulo 2**64: among ten million
# different grams the chance that any two have one code is below 1e-5.
_FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)


def grams(template: str) -> set[str]:
    """The 5-grams of characters of a template; one that is shorter is its own only gram."""
    return {template[i : i + _N] for i in range(len(template) - _N + 1)} or {template}


@dataclass(frozen=True)
class GramSets:
    """The sets of grams of n texts.

    ``ids[starts[i] : starts[i] + sizes[i]]`` are the grams of text i, ascending; the number 0 is a gram that occurs
    least often, and the numbers below ``lone`` are grams of one text only.

    ``sketches``, ``(n, 8)`` words of 64 bits, tell how many of a text's grams fall on each of 512 places, modulo 2.
    Two sketches differ in no more bits than the sets do in grams, which rules out most pairs at the price of a few
    instructions (after Sandes, Teodoro and Melo, "Bitmap filter", Information Systems 88, 2020). ``folded``, ``(n,)``,
    is the same on 64 places.
    """

    ids: NDArray[np.int32]
    starts: Ints
    sizes: Ints
    lone: int
    sketches: NDArray[np.uint64]
    folded: NDArray[np.uint64]

    def shared(self, i: Ints, j: Ints) -> Ints:
        """Number of grams that the texts ``i[k]`` and ``j[k]`` have in common, for every k."""
        shared: Ints = np.diff(self._matrix(i).multiply(self._matrix(j)).tocsr().indptr)
        return shared

    def _matrix(self, rows: Ints) -> Any:
        sizes = self.sizes[rows]
        ids = self.ids[ranges(self.starts[rows], sizes)]
        ones, starts = np.ones(len(ids), np.int8), np.concatenate([[0], np.cumsum(sizes)])
        return csr_array((ones, ids, starts), shape=(len(rows), np.iinfo(np.int32).max))


def ranges(starts: Ints, counts: Ints) -> Ints:
    """The ranges of ``counts[k]`` numbers from ``starts[k]`` on, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())


def gram_sets(texts: Sequence[str]) -> GramSets:
    """The sets of grams of one text or more."""
    chunks = [texts[at : at + _CHUNK] for at in range(0, len(texts), _CHUNK)]
    numbered, vocabularies, counts = [], [], []
    for chunk in chunks:
        number, codes = pd.factorize(_codes(chunk))
        numbered.append(number.astype(np.int32))
        vocabularies.append(codes)
        counts.append(np.bincount(number))
    place, vocabulary = pd.factorize(np.concatenate(vocabularies))
    total = np.bincount(place, weights=np.concatenate(counts))
    rank = np.empty(len(vocabulary), np.int64)
    rank[np.argsort(total, kind="stable")] = np.arange(len(vocabulary))
    ids, sizes, sketches = [], [], []
    start = 0
    for at, (chunk, codes) in enumerate(zip(chunks, vocabularies, strict=True)):
        row = np.repeat(np.arange(len(chunk)), _windows(_lengths(chunk)))
        key = np.sort(row << 32 | rank[place[start : start + len(codes)]][numbered[at]])
        key = key[np.concatenate([[True], key[1:] != key[:-1]])]
        numbered[at] = np.empty(0, np.int32)  # a third of a gigabyte for a million tweets
        start += len(codes)
        ids.append((key & 0xFFFFFFFF).astype(np.int32))
        sizes.append(np.bincount(key >> 32))
        sketches.append(_sketches(ids[-1], np.cumsum(sizes[-1]) - sizes[-1]))
    size, sketch = np.concatenate(sizes), np.concatenate(sketches)
    lone = int(np.count_nonzero(total == 1))
    return GramSets(np.concatenate(ids), np.cumsum(size) - size, size, lone, sketch, np.bitwise_xor.reduce(sketch, 1))


def _codes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """The codes of all grams of all texts, one text after the other, repeated as the grams are."""
    lengths = _lengths(texts)
    # Zeros stand behind every text, so that a short one fills a window; no character has the code 0.
    starts = np.cumsum(lengths + _N) - lengths - _N
    characters = np.zeros(int(lengths.sum()) + _N * len(texts), np.uint64)
    encoded = "".join(texts).encode("utf-32-le", "surrogatepass")
    characters[ranges(starts, lengths)] = np.frombuffer(encoded, "<u4") + np.uint32(1)
    codes = np.zeros(len(characters) - _N + 1, np.uint64)
    for k, factor in enumerate(_FACTORS):
        codes += characters[k : k + len(codes)] * np.uint64(factor)
    return codes[ranges(starts, _windows(lengths))]


def _lengths(texts: Sequence[str]) -> Ints:
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _windows(lengths: Ints) -> Ints:
    return np.maximum(lengths - _N + 1, 1)


def _sketches(ids: NDArray[np.int32], starts: Ints) -> NDArray[np.uint64]:
    place = (ids.astype(np.uint64) * np.uint64(_FACTORS[0])) >> np.uint64(55)  # of 512
    bit = np.uint64(1) << (place & np.uint64(63))
    word = place >> np.uint64(6)
    zero = np.uint64(0)
    return np.stack([np.bitwise_xor.reduceat(np.where(word == w, bit, zero), starts) for w in range(_WORDS)], axis=1)
