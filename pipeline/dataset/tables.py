"""What reading gives: rows column by column, what could not be read, and what was understood of every file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_SHOWN = 500


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about the files; None where they shall speak for themselves."""

    encoding: str | None = None
    """Encoding of all text files, by its Python name."""
    header: bool | None = None
    """Whether delimited files have a line with the names of the columns."""
    named: tuple[str, ...] = ()
    """Columns that the user named; a line that holds one of them is the header."""
    max_rejected: float = 0.01
    """Share of a file's rows, from 0 to 1, that may be unreadable before the whole file is refused."""


@dataclass(frozen=True)
class Rejected:
    """A row that could not be read: ``line`` counts from 1 (in a JSON list: the element), ``content`` is cut."""

    file: str
    line: int
    reason: str
    content: str

    @classmethod
    def of(cls, file: str, line: int, reason: str, content: str) -> "Rejected":
        """The record of such a row, with at most 500 of its characters."""
        return cls(file, line, reason, content[:_SHOWN])

    def to_json(self) -> dict[str, object]:
        """The row as it stands in ``rejected.jsonl``."""
        return asdict(self)


@dataclass(frozen=True)
class FileFacts:
    """What was understood of a file; None where a fact does not apply to its kind.

    ``rows`` counts those in the table, ``rejected`` the others; ``label`` is that of a file with one class.
    """

    path: str
    sha256: str | None
    rows: int
    rejected: int
    kind: str
    encoding: str | None = None
    delimiter: str | None = None
    quoting: str | None = None
    line_ends: str | None = None
    header: bool | None = None
    title_rows: int | None = None
    compression: str | None = None
    label: str | None = None

    def to_json(self) -> dict[str, object]:
        """The facts as they stand in the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Table:
    """The rows of one file or more, column by column.

    ``values[column][i]`` is a cell and ``numbers[i]`` what its row is called in messages and ids: the data row, counted
    from 1 without the header, or the line of a JSON Lines or plain text file; with the file's name before it where
    there are several files. ``lacking`` names, for every column that is not in all rows of a JSON file, the first row
    without it; such cells read None.
    """

    source: Path | str
    values: Mapping[str, Sequence[Any]]
    numbers: Sequence[int] | Sequence[str]
    lacking: Mapping[str, int | str] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    files: Sequence[FileFacts] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in file order."""
        return tuple(self.values)


def counted(n: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def describe_rejected(tables: Sequence[Table]) -> dict[str, object]:
    """Share of the rows that could not be read, and how many there are for each reason, the most frequent first."""
    rejected = [row for table in tables for row in table.rejected]
    read = len(rejected) + sum(map(len, tables))
    reasons = Counter(row.reason for row in rejected)
    return {"share": len(rejected) / read if read else 0.0, "reasons": dict(reasons.most_common())}
