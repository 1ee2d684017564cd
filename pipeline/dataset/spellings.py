"""Class names that may not be what they seem: typos, abbreviations, words for nothing."""

import shlex
from collections.abc import Mapping
from difflib import SequenceMatcher

from pipeline.text import fold

# A misspelt name is rare beside the right one, and like it: a letter or two differ, or it is how the other begins.
_RARE = 0.1
_ALIKE = 0.85
_SHORTEST = 3
_NOTHING = ("none", "unknown")


def doubts(counts: Mapping[str, int]) -> str | None:
    """What looks wrong with the names of the classes, and the ``--labels`` that mends it; None where nothing does.

    Args:
        counts: class -> number of its rows.
    """
    typos = {name: meant for name, n in counts.items() if (meant := _meant(name, n, counts)) is not None}
    nothing = [name for name in counts if fold(name) in _NOTHING]
    found = [f"{name!r} ({counts[name]:,}) looks like {typos[name]!r} ({counts[typos[name]]:,})" for name in typos]
    found += [f"{name!r} ({counts[name]:,}) may be no label" for name in nothing]
    if not found:
        return None
    mapping = ",".join(f"{n}={typos[n]}" if n in typos else f"{n}=" if n in nothing else n for n in counts)
    return f"{'; '.join(found)}; if so, say --labels {shlex.quote(mapping)}"


def _meant(name: str, rows: int, counts: Mapping[str, int]) -> str | None:
    """The largest class of which this one is a rare misspelling."""
    alike = [other for other, n in counts.items() if rows < _RARE * n and _alike(fold(name), fold(other))]
    return max(alike, key=lambda other: counts[other], default=None)


def _alike(short: str, long: str) -> bool:
    begins = len(short) >= _SHORTEST and long.startswith(short)
    return begins or SequenceMatcher(None, short, long).ratio() >= _ALIKE
