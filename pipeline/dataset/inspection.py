"""What was understood of the files, as lines for a person to check before anything is written."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.dataset.columns import Columns, find_columns
from pipeline.dataset.tables import FileFacts, Table, describe_rejected
from pipeline.errors import PipelineError

_ROWS, _VALUES, _REJECTED, _WIDTH = 10, 20, 10, 100


def inspect_table(table: Table, text: str | None = None, label: str | None = None, date: str | None = None) -> str:
    """Files, columns, labels, ten rows and the rejected rows of a table, safe to print on a terminal.

    ``text``, ``label`` and ``date`` are the columns that the user named. What stops a preparation is said in the
    place of the columns, so that the rest can help to mend it.
    """
    lines = [line for file in table.files for line in _file(file)]
    lines += ["", "columns", *(f"  {_safe(name)}" for name in table.columns)]
    try:
        columns = find_columns(table, text, label, date)
    except PipelineError as error:
        lines += ["", _safe(str(error), 1_000)]
        shown: Sequence[str] = table.columns
    else:
        lines += ["", *_chosen(columns, (text, label, date)), "", *_labels(table, columns.label)]
        shown = [columns.label, columns.text]
    lines += ["", f"first rows: {' | '.join(map(_safe, shown))}"]
    for i, number in enumerate(table.numbers[:_ROWS]):
        lines.append(f"  {number}: " + " | ".join(_safe(table.values[name][i]) for name in shown))
    return "\n".join([*lines, "", *_rejected(table)])


def _file(file: FileFacts) -> Iterator[str]:
    yield f"{_safe(file.path, 500)}: {file.kind}, {file.rows:,} rows, {file.rejected:,} rejected"
    facts = {
        "compression": file.compression,
        "encoding": file.encoding,
        "delimiter": None if file.delimiter is None else repr(file.delimiter),
        "quotes": {"quoted": "around fields", "none": "plain characters"}.get(file.quoting or ""),
        "line ends": file.line_ends,
        "header": {True: "yes", False: "no; the columns are called 1, 2, 3", None: None}[file.header],
        "title rows": file.title_rows or None,
        "label of all rows": file.label,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<18}{_safe(fact)}"


def _chosen(columns: Columns, named: Sequence[str | None]) -> Iterator[str]:
    chosen = (columns.text, columns.label, columns.date)
    for role, name, given in zip(("text", "label", "date"), chosen, named, strict=True):
        if name is not None:
            why = f"named by --{role}_column" if given else "the only one with a usual name"
            yield f"{role:<6}{_safe(name)}: {why}"
        else:
            yield f"{role:<6}none: no column, or more than one, has a usual name; --{role}_column names one"


def _labels(table: Table, column: str) -> Iterator[str]:
    counts = Counter("" if value is None else str(value) for value in table.values[column])
    yield f"label values: {len(counts):,}"
    for value, n in counts.most_common(_VALUES):
        yield f"  {n:>10,}  {_safe(value) if value.strip() else '(empty: no label)'}"
    if len(counts) > _VALUES:
        yield f"  and {len(counts) - _VALUES:,} more"


def _rejected(table: Table) -> Iterator[str]:
    yield f"rejected rows: {len(table.rejected):,} ({describe_rejected([table])['share']:.2%})"
    for row in table.rejected[:_REJECTED]:
        yield f"  {_safe(row.file, 500)}, line {row.line}: {row.reason}: {_safe(row.content)}"
    if len(table.rejected) > _REJECTED:
        yield f"  and {len(table.rejected) - _REJECTED:,} more"


def _safe(value: object, width: int = _WIDTH) -> str:
    """A value on one line, cut, with everything escaped that a terminal would obey or not show."""
    text = str(value)
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
