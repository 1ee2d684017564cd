"""Which way a class points: from its name to a step on the scale from very negative to very positive."""

from collections.abc import Mapping, Sequence

from pipeline.text import fold

_WORDS = {
    -1: "negative neg bearish bear down bad sad unhappy pessimistic sell fall dislike hate",
    0: "neutral neu neut flat mixed hold none ok okay unchanged sideways objective",
    1: "positive pos bullish bull up good happy optimistic buy rise like love great",
}
_SIDE = {word: side for side, words in _WORDS.items() for word in words.split()}
_STRONGER = ("very ", "strongly ", "extremely ", "strong ")
_WEAKER = ("slightly ", "somewhat ", "weakly ", "mildly ")


def polarities(labels: Sequence[str]) -> dict[str, float] | None:
    """The step of every class: -2, -1, -0.5, 0, 0.5, 1 or 2, below zero for negative ones.

    Names decide, not the order: classes that a file names come sorted by the alphabet. None where a name does not say
    which way it points, or where all point the same way; then the classes are no sentiment that is known here.
    """
    steps = {label: _step(label) for label in labels}
    known = {label: step for label, step in steps.items() if step is not None}
    return known if len(known) == len(steps) and len({sign(step) for step in known.values()}) > 1 else None


def sign(value: float) -> int:
    """-1, 0 or 1."""
    return (value > 0) - (value < 0)


def from_low_to_high(labels: Sequence[str], steps: Mapping[str, float]) -> list[str]:
    """The classes in the order of their steps."""
    return sorted(labels, key=steps.__getitem__)


def _step(label: str) -> float | None:
    name = " ".join(fold(label).replace("-", " ").replace("_", " ").split())
    for prefixes, strength in ((_STRONGER, 2.0), (_WEAKER, 0.5), (("",), 1.0)):
        for prefix in prefixes:
            if name.startswith(prefix) and (side := _SIDE.get(name.removeprefix(prefix))) is not None:
                return side * strength
    return None
