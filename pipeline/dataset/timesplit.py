"""Splits in time: train before validation before test, as the model will be used."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class TimeSplit:
    """Splits that follow each other in time.

    Attributes:
        parts: split -> its rows, in the order of the file.
        boundaries: every split but the first -> the moment from which on a text must have appeared first to be in it.
        spanning: split -> rows that are younger than the split is: later copies of texts that appeared in it.
    """

    parts: dict[str, list[Example]]
    boundaries: dict[str, datetime]
    spanning: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """How the splits were made, as it stands in a manifest."""
        boundaries = {name: moment.isoformat() for name, moment in self.boundaries.items()}
        return {"by": "time", "boundaries": boundaries, "later_copies": self.spanning}


def drop_undated(examples: Sequence[Example], dates: Mapping[str, datetime]) -> Sifted:
    """Leaves out the rows whose date is missing or could not be read: nobody knows to which side they belong."""
    kept = [example for example in examples if example.id in dates]
    return Sifted(kept, [Dropped.of(example, "no date") for example in examples if example.id not in dates])


def split_by_time(
    examples: Sequence[Example],
    groups: Mapping[str, int],
    dates: Mapping[str, datetime],
    *,
    labels: Sequence[str],
    shares: Mapping[str, float],
) -> TimeSplit:
    """Divides examples by the moment at which their text appeared first.

    A group of copies goes whole to where its earliest row belongs. So no text of a later split appeared before any
    text of an earlier one, and no row of a later split is older than the boundary; only copies of a text in an earlier
    split may be younger than it. The other way round, with the group at its latest row, a text that was known
    at training time would be in the test. Boundaries lie between two moments, as close to the shares as they can.

    Args:
        examples: the rows to divide.
        groups: example id -> number of its group of duplicates.
        dates: example id -> when it was written.
        labels: the classes, each of which must be in every split.
        shares: split -> share of the rows, in the order of time; the shares sum to 1.

    Raises:
        PipelineError: there are fewer different moments than splits, or a class is missing in a split.
    """
    first: dict[int, datetime] = {}
    for example in examples:
        group, moment = groups[example.id], dates[example.id]
        if group not in first or moment < first[group]:
            first[group] = moment
    starts = _starts(Counter(first[groups[example.id]] for example in examples), shares)
    names = list(shares)
    parts: dict[str, list[Example]] = {name: [] for name in names}
    spanning = Counter(dict.fromkeys(names[:-1], 0))
    for example in examples:
        place = bisect_right(starts, first[groups[example.id]])
        parts[names[place]].append(example)
        if bisect_right(starts, dates[example.id]) > place:
            spanning[names[place]] += 1
    for place, name in enumerate(names):
        missing = set(labels) - {example.label for example in parts[name]}
        if missing:
            since = starts[place - 1].isoformat(" ") if place else "the first row"
            until = starts[place].isoformat(" ") if place < len(starts) else "the last row"
            raise PipelineError(
                f"split by time: expected every class in {name}, from {since} to {until}; "
                f"{', '.join(label for label in labels if label in missing)} did not occur then; change --val or "
                "--test, or split at random"
            )
    return TimeSplit(parts, dict(zip(names[1:], starts, strict=True)), dict(spanning))


def _starts(rows: Mapping[datetime, int], shares: Mapping[str, float]) -> list[datetime]:
    """Where every split but the first begins.

    Args:
        rows: moment -> number of rows whose text appeared first at it.
        shares: split -> share of the rows, in the order of time.
    """
    moments = sorted(rows)
    if len(moments) < len(shares):
        raise PipelineError(
            f"split by time: expected at least {len(shares)} different moments at which texts appear, one for each "
            f"of {', '.join(shares)}; got {len(moments)}; split at random"
        )
    before = np.cumsum([0, *(rows[moment] for moment in moments)])
    wanted = np.cumsum(list(shares.values())) * before[-1]
    places: list[int] = []
    for split in range(1, len(shares)):
        # One moment at least stays for every split before and after.
        low, high = (places[-1] if places else 0) + 1, len(moments) - (len(shares) - split) + 1
        places.append(low + int(np.argmin(np.abs(before[low:high] - wanted[split - 1]))))
    return [moments[place] for place in places]
