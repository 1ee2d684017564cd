"""When the tweets were written: a column of dates in whatever notation, read as moments in UTC.

A date is read only where it can mean one thing. ``03/04/2018`` is the third of April or the fourth of March: the other
cells of the column decide (``23/04/2018`` can only be day first), else the user does.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.dataset.tables import counted
from pipeline.errors import PipelineError

Order = Literal["day", "month"]
Unknown = Literal["unknown"]

# What pandas reads fast, once numbers are rearranged as year-month-day; Twitter's own notation is the second.
_FORMATS = (
    "ISO8601",
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d %I:%M %p",
)
# What they read without more ado.
_PLAIN = re.compile(
    r"(?:19|20)\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d [+-]\d{4} (?:19|20)\d\d"
)
_NUMERIC = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})(?:,?\s+|(?=T|$))")
_COMPACT = re.compile(r"(?:19|20)\d{6}(?:T\d{4,6}Z?)?")
_EPOCH = re.compile(r"\d{9,13}(?:\.\d+)?")
# Words that say nothing beyond the rest: a date without a zone counts as UTC anyway.
_NOISE = re.compile(r"\b(?:UTC|GMT)\b|\bat\b|\s[-·]\s", re.IGNORECASE)
_MONTH = re.compile(r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b", re.IGNORECASE)
_YEAR = re.compile(r"\b(?:19|20)\d\d\b(?!:)")
# What is no day of the month: times, zones, years.
_NOT_DAY = re.compile(r"\d{1,2}(?::\d\d)+(?:\.\d+)?|[+-]\d\d:?\d\d\b|\b(?:19|20)\d\d\b")
# Seconds since 1970 that lie in the years 1990 to 2099. A thousand times as much cannot: those are milliseconds.
_FIRST, _LAST = 631_152_000, 4_102_444_800

# Cells that tell whether a column is one of dates.
_LOOK = 1_000


@dataclass(frozen=True)
class Dates:
    """A column of dates.

    Attributes:
        moments: one for each cell, in UTC; None where the cell could not be read.
        order: which of two numbers before a year is the day's: the ``"day"`` or the ``"month"`` stands first. None
            where the column has no such dates, ``"unknown"`` where neither the column nor the user tells.
        unread: a cell that could not be read, or None.
    """

    moments: Sequence[datetime | None]
    order: Order | Unknown | None
    unread: str | None

    def to_json(self) -> dict[str, object]:
        """First and last moment, how many cells could not be read, and one of these, as they stand in a manifest."""
        known = [moment for moment in self.moments if moment is not None]
        found: dict[str, object] = {
            "first": min(known).isoformat() if known else None,
            "last": max(known).isoformat() if known else None,
            "unread": len(self.moments) - len(known),
            "unread_example": self.unread,
        }
        return found if self.order is None else {**found, "order": f"{self.order} first"}

    def check(self, column: str) -> None:
        """Makes sure that the rows can be put in order.

        Raises:
            PipelineError: no cell could be read, or the order of day and month is unknown.
        """
        n, unread = len(self.moments), sum(moment is None for moment in self.moments)
        if self.order == "unknown":
            raise PipelineError(
                f"column {column!r}: expected dates whose day and month can be told apart, got such as {self.unread!r} "
                f"in {unread:,} of {counted(n, 'row')}; say which number comes first with --date_order day or month"
            )
        if unread == n:
            raise PipelineError(
                f"column {column!r}: expected dates such as 2018-03-23 00:40:40, got none in "
                f"{counted(n, 'row')}, but {self.unread!r}; name the right column with --date_column"
            )


def read_dates(values: Sequence[object], order: Order | None = None) -> Dates:
    """Reads a column: ISO 8601, Twitter's notation, months by English name, numbers with the year first or last, and
    seconds or milliseconds since 1970. One without a zone counts as UTC.

    Args:
        values: the cells: texts, numbers, dates, or None.
        order: what stands first in dates that end in the year; None for what the column shows. Two cells that
            contradict each other show nothing.

    Raises:
        PipelineError: the column shows that the other number stands first.
    """
    texts = ["" if value is None else str(value)[:64].strip() for value in values]
    codes, cells = pd.factorize(np.array(texts, dtype=object))
    order_found = _order([match for cell in cells if (match := _NUMERIC.match(cell))], order)
    read = _parse([_canonical(cell, order_found) for cell in cells])
    moments = [read[code] for code in codes]
    unread = [cell for cell, moment in zip(cells, read, strict=True) if moment is None and cell]
    if order_found == "unknown":
        unread = [cell for cell in unread if _ends_in_year(_NUMERIC.match(cell))] or unread
    return Dates(moments, order_found, unread[0] if unread else None)


def are_dates(values: Sequence[object]) -> bool:
    """Whether most of a column's first cells that are not empty can be read as dates, whatever stands first in them."""
    cells = [value for value in values[:_LOOK] if value is not None and str(value).strip()]
    found = read_dates(cells)
    if found.order == "unknown":
        found = read_dates(cells, "day")
    return 2 * sum(moment is not None for moment in found.moments) > len(cells)


def _order(dates: Sequence[re.Match[str]], order: Order | None) -> Order | Unknown | None:
    """What stands first in the dates that end in the year."""
    year_last = [match for match in dates if _ends_in_year(match)]
    if not year_last:
        return None
    # 18/03/23 may begin with the year: its first number proves nothing.
    day_first = any(int(match[1]) > 12 and len(match[4]) == 4 for match in year_last)
    month_first = any(int(match[3]) > 12 for match in year_last)
    shown: Order | Unknown = "unknown" if day_first == month_first else "day" if day_first else "month"
    if order is not None and shown not in (order, "unknown"):
        example = next(match.string for match in year_last if int(match[1 if shown == "day" else 3]) > 12)
        raise PipelineError(
            f"--date_order {order}: expected dates with the {order} first, got {example!r}, where the {shown} stands "
            "first; leave the option out"
        )
    return order or shown


def _ends_in_year(match: re.Match[str] | None) -> bool:
    return match is not None and len(match[1]) <= 2 and len(match[4]) in (2, 4)


def _canonical(cell: str, order: Order | Unknown | None) -> str | None:
    """The cell in a notation that means one thing; None where it is no date, or may mean several."""
    if _PLAIN.fullmatch(cell):
        return cell
    if _EPOCH.fullmatch(cell):
        seconds = float(cell) if float(cell) <= _LAST else float(cell) / 1000
        return datetime.fromtimestamp(seconds, UTC).isoformat() if _FIRST <= seconds < _LAST else None
    if match := _NUMERIC.match(cell):
        return _year_first(match, cell, order)
    if _COMPACT.fullmatch(cell):
        return cell
    # All three must be there: dateutil would fill in what is missing from today's date.
    if _MONTH.search(cell) and _YEAR.search(cell) and re.search(r"\d", _NOT_DAY.sub("", cell)):
        return _squeeze(_NOISE.sub(" ", cell))
    return None


def _year_first(match: re.Match[str], cell: str, order: Order | Unknown | None) -> str | None:
    """A date of three numbers as year-month-day, with what follows it."""
    first, second, third = match[1], match[3], match[4]
    if len(first) == 4 and len(third) <= 2:
        year, month, day = first, second, third
    elif _ends_in_year(match) and order in ("day", "month"):
        year = third if len(third) == 4 else f"20{third}"
        day, month = (first, second) if order == "day" else (second, first)
    else:
        return None
    # dateutil would take 2018-23-03 for 2018-03-23.
    if not year.startswith(("19", "20")):
        return None
    time = _NOISE.sub(" ", cell[match.end() :].removeprefix("T"))
    return _squeeze(f"{year}-{int(month):02}-{int(day):02} {time}")


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _parse(texts: Sequence[str | None]) -> list[datetime | None]:
    """The moments that texts name, each of which can mean only one."""
    left = pd.Series(np.array(texts, dtype=object)).dropna()
    found = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[us]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dateutil warns of zones that it does not know; such cells stay unread
        for form in (*_FORMATS, "mixed"):
            read = pd.to_datetime(left, errors="coerce", utc=True, format=form).dropna()
            found[read.index] = read.dt.tz_localize(None).to_numpy("datetime64[us]")
            left = left.drop(read.index)
    return [None if moment is None else moment.replace(tzinfo=UTC) for moment in found.tolist()]
