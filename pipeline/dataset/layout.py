"""How a delimited file is laid out: dialect, title rows, header. Found from its first thousand rows."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline.dataset.columns import is_usual, plain
from pipeline.dataset.lines import Dialect, Record, records
from pipeline.dataset.tables import ReadOptions

_SAMPLE_BYTES, _SAMPLE_ROWS, _TOP_ROWS = 1 << 20, 1_000, 20
_LONGEST_NAME = 60
_NUMBER = re.compile(r"\s*[-+]?(?:\d[\d.,_]*|\.\d+)(?:e[-+]?\d+)?\s*%?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """``names`` of the columns, those of the header or 1, 2, 3; ``skip`` lines stand before the first row of data."""

    dialect: Dialect
    names: tuple[str, ...]
    header: bool
    title_rows: int
    skip: int
    known: int
    """How many names are usual ones, or named by the user."""


def find_layout(content: bytes, options: ReadOptions) -> Layout | None:
    """The layout that explains the rows best; None where the text has none.

    That is the one with most known names in its header, then the one that cuts the rows into columns, then the one that
    fits most rows. Quotes are plain characters where that fits more rows and most do not stand around fields.
    """
    sample = content[:_SAMPLE_BYTES]
    if len(content) > _SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1] or sample.decode(errors="ignore").encode()
    layouts = []
    for delimiter in ",\t;|":
        quoted = _read(sample, Dialect(delimiter, True), options)
        plainly = _read(sample, Dialect(delimiter, False), options)
        if quoted and plainly:
            layouts.append(plainly if plainly.share > quoted.share and quoted.odd > quoted.even else quoted)
    return max(layouts, key=_Fit.rank).layout if layouts else None


@dataclass(frozen=True)
class _Fit:
    """A layout, the share of rows that have its number of columns, and the rows whose quotes match and do not."""

    layout: Layout
    share: float
    even: int
    odd: int

    def rank(self) -> tuple[int, bool, float, int]:
        known, width = self.layout.known, len(self.layout.names)
        return known, width > 1 and (known > 0 or self.share >= 0.5), self.share, width


def _read(sample: bytes, dialect: Dialect, options: ReadOptions) -> _Fit | None:
    rows = list(islice(records(sample, dialect), _SAMPLE_ROWS))
    if not rows:
        return None
    top, header = _top(rows, options)
    if not header:
        width = Counter(len(row.cells) for row in rows[top:]).most_common(1)[0][0] or 1
        names = tuple(str(i) for i in range(1, width + 1))
    else:
        names = tuple(name.strip() for name in rows[top].cells)
    body = rows[top + header :]
    skip = rows[top].end if header else rows[top].before
    known = _known(rows[top], options) if header else 0
    return _Fit(
        Layout(dialect, names, header, top, skip, known),
        sum(len(row.cells) == len(names) for row in body) / max(len(body), 1),
        sum(row.content.startswith('"') or f'{dialect.delimiter}"' in row.content for row in body if not row.problem),
        sum(bool(row.problem) for row in body),
    )


def _top(rows: Sequence[Record], options: ReadOptions) -> tuple[int, bool]:
    """How many title rows there are, and whether the next row is a header."""
    filled = [sum(bool(cell.strip()) for cell in row.cells) for row in rows[:_TOP_ROWS]]
    if options.header is not False:
        known = [_known(row, options) for row in rows[:_TOP_ROWS]]
        best = known.index(max(known))
        # One known word may be a tweet of one word: what stands above must then be narrower.
        if known[best] > 1 or (known[best] and all(n < filled[best] for n in filled[:best])):
            return best, True
    width = Counter(len(row.cells) for row in rows).most_common(1)[0][0]
    top = next((i for i, row in enumerate(rows[:_TOP_ROWS]) if len(row.cells) != 1), 0) if width > 1 else 0
    header = options.header
    return top, not _is_data(rows[top].cells, rows[top + 1 :]) if header is None else header


def _known(row: Record, options: ReadOptions) -> int:
    # A number names a column that has no name; a cell with it is a value.
    named = {plain(name) for name in options.named if not name.isdecimal()}
    return sum(is_usual(cell) or plain(cell) in named for cell in row.cells if len(cell) <= _LONGEST_NAME)


def _is_data(cells: Sequence[str], rest: Sequence[Record]) -> bool:
    """Whether a first row is no header: it holds a number, a sentence, or the same value as rows below."""
    for column, cell in enumerate(cells):
        if _NUMBER.fullmatch(cell) or len(cell) > _LONGEST_NAME or "\n" in cell or "://" in cell:
            return True
        if cell.strip() and sum(column < len(row.cells) and row.cells[column] == cell for row in rest) > 1:
            return True
    filled = [cell.strip() for cell in cells if cell.strip()]
    return not filled or len(set(filled)) < len(filled)
