"""Class names that may not be what they seem: typos, lost accents, abbreviations, words for nothing."""

import re
import shlex
from collections.abc import Mapping
from difflib import SequenceMatcher

from pipeline.text import fold, unaccented

# A misspelt name is rare beside the right one, and like it: a letter or two differ, or it is how the other begins.
_RARE = 0.1
_ALIKE = 0.85
_SHORTEST = 3
# Of shorter words one letter makes another word: bad and sad.
_SHORTEST_EDITED = 4
# From here on a character is a word or a syllable, and another one another meaning.
_SYLLABLES = "\u2e80"
_NOTHING = ("none", "unknown")


def doubts(counts: Mapping[str, int]) -> str | None:
    """What looks wrong with the names of the classes, and the ``--labels`` that mends it; None where nothing does.

    Args:
        counts: class -> number of its rows.
    """
    typos = {name: meant for name in counts if (meant := _meant(name, counts)) is not None}
    nothing = [name for name in counts if fold(name) in _NOTHING]
    found = [f"{name!r} ({counts[name]:,}) looks like {typos[name]!r} ({counts[typos[name]]:,})" for name in typos]
    found += [f"{name!r} ({counts[name]:,}) may be no label" for name in nothing]
    if not found:
        return None
    mapping = ",".join(f"{n}={_end(n, typos)}" if n in typos else f"{n}=" if n in nothing else n for n in counts)
    return f"{'; '.join(found)}; if so, say --labels {shlex.quote(mapping)}"


def alike(name: str, meant: str) -> bool:
    """Whether a name may be another one misspelt or cut: numbers in them are the same, and nearly all letters."""
    name, meant = unaccented(name), unaccented(meant)
    if re.findall(r"\d+", name) != re.findall(r"\d+", meant):
        return False
    begins = len(name) >= _SHORTEST and meant.startswith(name)
    return begins or _one_edit(name, meant) or SequenceMatcher(None, name, meant).ratio() >= _ALIKE


def _meant(name: str, counts: Mapping[str, int]) -> str | None:
    """The class of which this one is a misspelling: the one that differs in accents alone, else the largest by far."""
    same = [n for n in counts if unaccented(n) == unaccented(name) and (counts[n], n) > (counts[name], name)]
    rare = [other for other, n in counts.items() if counts[name] < _RARE * n and alike(name, other)]
    return max(same or rare, key=lambda other: (counts[other], other), default=None)


def _end(name: str, typos: Mapping[str, str]) -> str:
    """What the name means at last, where what it looks like is a misspelling too; always a larger class, so it ends."""
    while name in typos:
        name = typos[name]
    return name


def _one_edit(one: str, other: str) -> bool:
    """Whether one letter more, less or other, or two neighbours in the other order, make the one word the other."""
    short, long = sorted((one, other), key=len)
    if len(short) < _SHORTEST_EDITED or max(short + long) >= _SYLLABLES:
        return False
    start = _shared(short, long)
    short, long = short[start:], long[start:]
    end = _shared(short[::-1], long[::-1])
    short, long = short[: len(short) - end], long[: len(long) - end]
    return len(long) <= 1 or (len(long) == 2 and short == long[::-1])


def _shared(short: str, long: str) -> int:
    """With how many equal characters both begin."""
    return next((i for i, (one, other) in enumerate(zip(short, long, strict=False)) if one != other), len(short))
