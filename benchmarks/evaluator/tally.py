"""How often something happens over seeds, with an interval of its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pipeline.scoring.intervals import Interval, wilson

Outcomes = Mapping[str, bool | None]
"""What one seed shows, by name; None where there was nothing to see."""
Simulation = Callable[[int], Outcomes]


class Rate(NamedTuple):
    """In how many of ``n`` worlds something happened."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.hits / self.n

    @property
    def interval(self) -> Interval:
        """Of the share, at 95 %."""
        return wilson(self.hits, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def rates(outcomes: Iterable[Outcomes]) -> dict[str, Rate]:
    """How often each outcome was true among the worlds that have it."""
    hits: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for world in outcomes:
        for name, outcome in world.items():
            if outcome is not None:
                seen[name] += 1
                hits[name] += bool(outcome)
    return {name: Rate(hits[name], n) for name, n in seen.items()}
