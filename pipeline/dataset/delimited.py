"""Delimited text and plain text as tables: what fits is kept, what does not is set aside with line and reason."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.dataset.bars import steps
from pipeline.dataset.layout import Layout, find_layout
from pipeline.dataset.lines import records
from pipeline.dataset.tables import ReadOptions, Rejected
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Parsed:
    """The columns of one file, what its rows are called, the rows that were set aside, and facts for the manifest.

    ``advice`` says what a user can do where rows were set aside.
    """

    values: Mapping[str, Sequence[object]]
    numbers: Sequence[int]
    rejected: Sequence[Rejected] = ()
    lacking: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    advice: str = "mend the file"


def parse_delimited(path: str, content: bytes, options: ReadOptions) -> Parsed:
    """Reads UTF-8 text whose fields are divided by commas, tabs, semicolons or vertical bars.

    Columns without a header are called 1, 2, 3. A column without a name that is empty in every row is left out.

    Raises:
        PipelineError: there is no text, or two columns have the same name.
    """
    layout = find_layout(content, options)
    if layout is None:
        raise PipelineError(f"{path}: expected a header line with the names of the columns; the file is empty")
    return _parse(path, content, layout)


def parse_lines(path: str, content: bytes) -> Parsed:
    """Reads plain text, one tweet a line; blank lines are passed over."""
    lines = {
        number: line.rstrip("\n")
        for number, line in enumerate(io.TextIOWrapper(io.BytesIO(content), "utf-8"), start=1)
        if line.strip()
    }
    return Parsed({"text": list(lines.values())}, list(lines), facts={"kind": "text", "line_ends": _line_ends(content)})


def is_plain_text(content: bytes, options: ReadOptions) -> bool:
    """Whether a text file has no header that tells where its texts are."""
    layout = find_layout(content, options)
    return layout is None or not (layout.header and layout.known)


def refuse_repeated(path: str, names: Sequence[str]) -> None:
    """Refuses columns with the same name."""
    repeated = sorted(name for name, number in Counter(names).items() if number > 1)
    if repeated:
        raise PipelineError(f"{path}: expected columns with different names, got {repeated[0]!r} twice; rename one")


def _parse(path: str, content: bytes, layout: Layout) -> Parsed:
    width = len(layout.names)
    columns: list[list[str]] = [[] for _ in layout.names]
    bad: dict[int, int] = {}  # number of a row that was set aside -> its number of cells
    rejected: list[Rejected] = []
    number = 0
    found = records(content, layout.dialect, skip=layout.skip, width=width)
    # There are as many rows as line ends, or fewer.
    for number, row in enumerate(steps(found, "reading", total=content.count(b"\n")), start=1):
        if len(row.cells) == width:
            for column, cell in zip(columns, row.cells, strict=True):
                column.append(cell)
        else:
            reason = row.problem or f"expected {width} columns, got {len(row.cells)}"
            rejected.append(Rejected.of(path, row.line, reason, row.content))
            bad[number] = len(row.cells)
    numbers: Sequence[int] = range(1, number + 1)
    if bad:
        numbers = [n for n in numbers if n not in bad]
    named = [(name, column) for name, column in zip(layout.names, columns, strict=True) if name or any(column)]
    refuse_repeated(path, [name for name, _ in named])
    dialect = layout.dialect
    facts = {
        "kind": "csv",
        "delimiter": dialect.delimiter,
        "quoting": "quoted" if dialect.quoted else "none",
        "line_ends": _line_ends(content),
        "header": layout.header,
        "title_rows": layout.title_rows,
    }
    advice = f"put quotes around texts that hold a {dialect.name}, and write a quote inside a quoted text twice"
    if len(bad) == number and len(set(bad.values())) == 1:
        advice = "give every column one name in the header"
    return Parsed(dict(named), numbers, rejected, facts=facts, advice=advice)


def _line_ends(content: bytes) -> str:
    """The kinds of line ends, with their numbers where there are several; those inside quotes count."""
    ends, returns = content.count(b"\n"), content.count(b"\r")
    crlf, crcrlf = content.count(b"\r\n"), content.count(b"\r\r\n")
    counts = {"LF": ends - crlf, "CRLF": crlf - crcrlf, "CRCRLF": crcrlf, "CR": returns - crlf - crcrlf}
    found = sorted(((n, name) for name, n in counts.items() if n), reverse=True)
    if len(found) < 2:
        return found[0][1] if found else "none"
    return ", ".join(f"{name} {n:,}" for n, name in found)
