"""How many rows of each class fall into which time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.records import Example

# A week begins on Monday; NumPy's on Thursday, as 1 January 1970 did.
_UNITS = {"hour": "h", "day": "D", "week": "W", "month": "M", "year": "Y"}
_MOST = 60
_MONDAY = np.timedelta64(3, "D")


def timeline(
    examples: Sequence[Example], dates: Mapping[str, datetime], labels: Sequence[str]
) -> dict[str, Any] | None:
    """Counts by time and class, in the finest unit that gives at most 60 bins, empty ones included; years may be more.

    Args:
        examples: the rows; those without a date are left out.
        dates: example id -> moment, in UTC.
        labels: the classes.

    Returns:
        ``{"unit": ..., "bins": [[start in ISO 8601, {label: n}], ...]}``, or None where no row has a date.
    """
    dated = [example for example in examples if example.id in dates]
    if not dated:
        return None
    seconds = np.array([dates[example.id].timestamp() for example in dated])
    moments = np.floor(seconds).astype(np.int64).astype("datetime64[s]")
    place = {label: i for i, label in enumerate(labels)}
    classes = np.array([place[example.label] for example in dated])
    for unit in _UNITS:
        numbers = _numbers(moments, unit)
        first, bins = int(numbers.min()), int(numbers.max() - numbers.min()) + 1
        if bins <= _MOST:
            break
    counts = np.zeros((bins, len(labels)), dtype=np.int64)
    np.add.at(counts, (numbers - first, classes), 1)
    rows = zip(_starts(np.arange(first, first + bins), unit), counts.tolist(), strict=True)
    return {"unit": unit, "bins": [[start, dict(zip(labels, row, strict=True))] for start, row in rows]}


def _numbers(moments: NDArray[np.datetime64], unit: str) -> NDArray[np.int64]:
    """The number of each moment's unit, counted from the one with 1 January 1970."""
    if unit == "week":
        moments = moments + _MONDAY
    return moments.astype(f"datetime64[{_UNITS[unit]}]").astype(np.int64)


def _starts(numbers: NDArray[np.int64], unit: str) -> list[str]:
    """When the units with these numbers begin, in UTC."""
    starts = numbers.astype(f"datetime64[{_UNITS[unit]}]").astype("datetime64[s]")
    return [f"{start}+00:00" for start in (starts - _MONDAY if unit == "week" else starts)]
