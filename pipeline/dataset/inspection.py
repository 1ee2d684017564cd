"""What was understood of the files, as lines for a person to check before anything is written."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.dataset.columns import find_columns, usual_columns
from pipeline.dataset.labels import canonical, classes_of, find_classes, values_without
from pipeline.dataset.loading import LoadOptions
from pipeline.dataset.spellings import doubts
from pipeline.dataset.tables import FileFacts, Table, counted
from pipeline.errors import PipelineError

_ROLES = ("text", "label", "date")
_ROWS, _VALUES, _REJECTED, _WIDTH = 10, 20, 10, 100


def inspect_table(table: Table, options: LoadOptions) -> str:
    """Files, columns, labels, dates, ten rows and the rejected rows of a table, safe to print on a terminal.

    What is still to be given is said in the place of what it concerns, so that the rest can help to mend it.
    """
    lines = [line for file in table.files for line in _file(file, options.max_rejected)]
    named = (options.text_column, options.label_column, options.date_column)
    lines += ["", "columns", *(f"  {_safe(name)}" for name in table.columns)]
    shown: Sequence[str] = table.columns
    text, label, date = (usual_columns(table, role, name) for role, name in zip(_ROLES, named, strict=True))
    if len(text) == len(label) == 1:
        try:
            find_columns(table, *named)
            shown = [*label, *text]
        except PipelineError as error:  # columns that are clear, but cannot be used
            lines += ["", _safe(str(error), 1_000)]
    lines += ["", *_chosen((text, label, date), named)]
    if len(label) == 1:
        lines += ["", *_labels(table, label[0], options.labels)]
    if len(date) == 1:
        lines += ["", _dates(table, date[0], options)]
    lines += ["", f"first rows: {' | '.join(map(_safe, shown))}"]
    for i, number in enumerate(table.numbers[:_ROWS]):
        lines.append(f"  {number}: " + " | ".join(_safe(table.values[name][i]) for name in shown))
    return "\n".join([*lines, "", *_rejected(table)])


def _file(file: FileFacts, max_rejected: float) -> Iterator[str]:
    refused = file.rejected > max_rejected * (file.rows + file.rejected)
    more = f", more than --max_rejected {max_rejected} allows" if refused else ""
    yield f"{_safe(file.path, 500)}: {file.kind}, {counted(file.rows, 'row')}, {file.rejected:,} rejected{more}"
    facts = {
        "compression": file.compression,
        "encoding": file.encoding,
        "delimiter": None if file.delimiter is None else repr(file.delimiter),
        "quotes": {"quoted": "around fields", "none": "plain characters"}.get(file.quoting or ""),
        "line ends": file.line_ends,
        "header": {True: "yes", False: "no; the columns are called by their numbers", None: None}[file.header],
        "title rows": file.title_rows or None,
        "label of all rows": file.label,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<18}{_safe(fact)}"


def _chosen(found: Sequence[Sequence[str]], named: Sequence[str | None]) -> Iterator[str]:
    """The column of each role, or what to do where it is not clear; only the date may be missing."""
    for role, names, given in zip(_ROLES, found, named, strict=True):
        if len(names) == 1:
            why = f"named by --{role}_column" if given else "the only one with a usual name"
            yield f"{role:<6}{_safe(names[0])}: {why}"
        elif given:
            yield f"{role:<6}none: no column {_safe(given)!r}; --{role}_column names one of those above"
        else:
            why = (
                f"several have a usual name: {', '.join(map(_safe, names))}" if names else "no column has a usual name"
            )
            yield f"{role:<6}none: {why}; {'give' if role != 'date' else 'if there is one, give'} --{role}_column NAME"


def _labels(table: Table, column: str, mapping: str | None) -> Iterator[str]:
    """The values with their numbers, those marked that are no label, and what looks wrong with them."""
    counts = Counter("" if value is None else str(value) for value in table.values[column])
    nothing = {None, *values_without(mapping)}
    without = {value: n for value, n in counts.items() if canonical(value) in nothing}
    yield f"label values: {sum(bool(value.strip()) for value in counts):,}"
    for value, n in counts.most_common(_VALUES):
        mark = "" if value not in without else " (no label)" if value.strip() else "(empty: no label)"
        yield f"  {n:>10,}  {_safe(value) if value.strip() else ''}{mark}"
    if len(counts) > _VALUES:
        yield f"  and {len(counts) - _VALUES:,} more"
    if without:
        yield f"rows without a label: {sum(without.values()):,}"
    if mapping is None:
        with contextlib.suppress(PipelineError):  # labels that need a mapping; preparing says which
            classes = find_classes([(table, column)])
            rows = Counter(classes_of(table, column, classes))
            if (doubt := doubts({label: rows[label] for label in classes.labels})) is not None:
                yield _safe(doubt, 1_000)


def _dates(table: Table, column: str, options: LoadOptions) -> str:
    """From when to when, in which order, and what could not be read."""
    from pipeline.dataset.dates import read_dates  # pandas takes a second to load

    try:
        found = read_dates(table.values[column], options.date_order)
    except PipelineError as error:
        return _safe(str(error), 1_000)
    known = [moment for moment in found.moments if moment is not None]
    told = [f"{min(known):%Y-%m-%d %H:%M} to {max(known):%Y-%m-%d %H:%M}"] if known else []
    told += [] if found.order is None else [f"{found.order} first"]
    if lost := len(found.moments) - len(known):
        example = "all of them empty" if found.unread is None else f"such as {found.unread!r}"
        told.append(f"{lost:,} of {counted(len(table), 'row')} without a date that can be read, {example}")
    return f"dates: {_safe('; '.join(told), 300)}"


def _rejected(table: Table) -> Iterator[str]:
    share = len(table.rejected) / max(1, len(table.rejected) + len(table))
    yield f"rejected rows: {len(table.rejected):,} ({100 * share:.2f} %)"
    for row in table.rejected[:_REJECTED]:
        yield f"  {_safe(row.file, 500)}, line {row.line}: {row.reason}: {_safe(row.content)}"
    if len(table.rejected) > _REJECTED:
        yield f"  and {len(table.rejected) - _REJECTED:,} more"


def _safe(value: object, width: int = _WIDTH) -> str:
    """A value on one line, cut, with everything escaped that a terminal would obey or not show."""
    text = str(value)
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
