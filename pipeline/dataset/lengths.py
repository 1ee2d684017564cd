"""How long the texts are, in characters and in the tokens of a model."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 24
# Texts that are counted in tokens for the histogram; a hundred thousand take eight seconds.
_MOST = 5_000


@dataclass(frozen=True)
class TokenCounter:
    """How a model counts: its ``name``, the function from texts to numbers of tokens, and how many of them it reads."""

    name: str
    count: Callable[[Sequence[str]], Sequence[int]]
    limit: int


def describe_lengths(texts: Sequence[str], tokens: TokenCounter | None = None, *, seed: int) -> dict[str, Any]:
    """Median, 95th percentile, maximum and histogram of the lengths, and how many texts the model would not read whole.

    Args:
        texts: one at least.
        tokens: of the model to be tuned; None where it is not at hand. Of many texts a random sample stands for all in
            the histogram; what is shortened is counted among all.
        seed: of the sample.
    """
    found: dict[str, Any] = {"characters": _describe([len(text) for text in texts]), "tokens": None}
    if tokens is not None:
        sample = texts if len(texts) <= _MOST else random.Random(seed).sample(texts, _MOST)  # noqa: S311 - no secret
        # A token stands for one byte at least.
        long = [text for text in texts if len(text.encode()) > tokens.limit]
        described, longest = _describe(tokens.count(sample)), tokens.count(long)
        found["tokens"] = {
            "tokenizer": tokens.name,
            **described,
            "max": max([described["max"], *longest]),
            "n": len(sample),
            "of": len(texts),
            "limit": tokens.limit,
            "shortened": sum(length > tokens.limit for length in longest),
        }
    return found


def _describe(lengths: Sequence[int]) -> dict[str, Any]:
    """The numbers; the histogram has ``[from, to, n]`` with ``to`` excluded; one bin holds the longest percent."""
    values = np.asarray(lengths, dtype=np.int64)
    longest, most = int(values.max()), float(np.quantile(values, 0.99))
    width = _nice(max(most, 1) / _BINS)
    edges = np.arange(0, most + width, width)
    edges = np.append(edges[edges <= most], max(longest, most) + 1).astype(int)
    counts, _ = np.histogram(values, edges)
    return {
        "median": _within(values, 50),
        "p95": _within(values, 95),
        "max": longest,
        "histogram": [[int(low), int(high), int(n)] for low, high, n in zip(edges, edges[1:], counts, strict=False)],
    }


def _within(values: NDArray[np.int64], percent: int) -> int:
    """The smallest length of a text that so many per cent of them do not exceed: a whole one, as lengths are."""
    return int(np.sort(values)[-(-percent * len(values) // 100) - 1])


def _nice(width: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power = 10 ** math.floor(math.log10(width)) if width > 1 else 1
    return next(int(power * step) for step in (1, 2, 5, 10) if power * step >= width)
