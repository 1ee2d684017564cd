"""Delimited text as records, where a broken one costs itself and not the rest of the file."""

import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

# A quote without its partner swallows what follows: a quoted text ends after so many lines at the latest.
_MOST_LINES = 2_000
# Characters in a field. The default of 131,072 would refuse one long row that the cleaning step drops and tells of.
_FIELD_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Dialect:
    """How fields are divided, and whether quotes around a field are signs or plain characters."""

    delimiter: str
    quoted: bool

    @property
    def name(self) -> str:
        """The delimiter as it is called in messages."""
        return {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}[self.delimiter]


class Record(NamedTuple):
    """A row as it stands in the file.

    ``before`` and ``end`` are the numbers of lines before it and up to its end, counting every kind of line end;
    ``line`` is its first line as editors count. ``problem`` says why it has no cells, and is empty where it has.
    """

    before: int
    end: int
    line: int
    cells: list[str]
    problem: str
    content: str


def records(
    content: bytes | Iterator[str], dialect: Dialect, *, skip: int = 0, width: int | None = None
) -> Iterator[Record]:
    """The records that are not blank, from UTF-8 text, after the first ``skip`` lines.

    ``content`` is the whole text, or its lines one after another with their ends as they are; the numbers of such lines
    are right where they end with a line feed.

    A record whose quotes do not match is one with a problem; so is one of several lines that has not ``width`` cells.
    Where it has swallowed a line that is a row by itself, the records go on from there.
    """
    csv.field_size_limit(_FIELD_LIMIT)
    lines = _Lines(content, skip)
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        problem = ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells, problem = [], _reason(error)
        if len(lines.taken) > 1 and (problem or (width is not None and len(cells) != width)):
            lines.give_back(_next_row(lines.taken, dialect, width))
            problem = problem or f"expected {width} columns, got {len(cells)}"
        # "" is an empty cell and so a row; a line with nothing on it is none.
        if problem or len(cells) > 1 or any(line.strip() for line in lines.taken):
            end = lines.before + len(lines.taken)
            yield Record(lines.before, end, lines.number, [] if problem else cells, problem, "".join(lines.taken))
        lines.go_on()


class _Lines(Iterator[str]):
    """The lines of a text. Those ``taken`` for a record may be given back in part."""

    def __init__(self, content: bytes | Iterator[str], skip: int) -> None:
        self._end = "\n"
        self._file: Iterator[str]
        if isinstance(content, bytes):
            self._end = "\n" if b"\n" in content else "\r"
            self._file = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
        else:
            self._file = content
        self._again: deque[str] = deque()
        self.before, self.number = 0, 1
        self.taken: list[str] = list(islice(self._file, skip))
        self.go_on()

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self.taken.append(line)
        if len(self.taken) > _MOST_LINES:
            raise csv.Error("unexpected end of data")
        return line

    def give_back(self, start: int) -> None:
        """Returns the lines that were taken, from that one on."""
        self._again.extendleft(reversed(self.taken[start:]))
        del self.taken[start:]

    def go_on(self) -> None:
        """The next record begins here."""
        self.before += len(self.taken)
        for line in self.taken:
            self.number += line.endswith(self._end)
        self.taken.clear()


def _next_row(taken: list[str], dialect: Dialect, width: int | None) -> int:
    """Which of the lines after the first begins a row of its own; their number where none does.

    That is one that has ``width`` cells (any is, where the width is not known yet), or the last one if it begins with a
    quote: the one that closed the text by mistake.
    """
    for i, line in enumerate(taken[1:], start=1):
        if width is None or (i == len(taken) - 1 and line.startswith('"')):
            return i
        try:
            if len(next(csv.reader([line], delimiter=dialect.delimiter, strict=True), ())) == width:
                return i
        except csv.Error:
            continue
    return len(taken)


def _reason(error: csv.Error) -> str:
    """What the parser says, in words that do not differ from row to row."""
    said = str(error)
    if "unexpected end" in said:
        return "a quote without its partner"
    if "expected after" in said:
        return "text after a closing quote"
    return "a field of more than 16,777,216 characters" if "field limit" in said else said
