"""Which columns hold the text, the label and the date, and what of them can be used as it is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.text import fold

# Compared after folding case and reading "_", "-" and spaces as one.
# The second ones count only where none of the first is there.
_NAMES = {
    "text": (
        "tweet,tweets,tweet text,text,content,full text,comment text,comment,sentence,message,input",
        "review,reviews,review text,body",
    ),
    "label": ("sentiment,label,new sentiment state,class,output,target,category", "rating,score,stars"),
    "date": ("date,created at,timestamp,datetime,time",),
}
_USUAL = frozenset(name for kinds in _NAMES.values() for names in kinds for name in names.split(","))


@dataclass(frozen=True)
class Columns:
    """Names of the columns in use; ``date`` is None where the file has none, or several and none was named."""

    text: str
    label: str
    date: str | None


def find_columns(table: Table, text: str | None = None, label: str | None = None, date: str | None = None) -> Columns:
    """Takes the columns that were named, and finds the others by their usual names.

    Raises:
        PipelineError: a named column does not exist, no column or several have a usual name (a date may be missing),
            text and label are the same column, or a row of a JSON file lacks the text. One without the label is a
            row without a label.
    """
    columns = Columns(_find(table, "text", text), _find(table, "label", label), _find_date(table, date))
    if columns.text == columns.label:
        raise PipelineError(f"{table.source}: text and label are both {columns.text!r}; give two columns")
    if columns.text in table.lacking:
        raise PipelineError(
            f"{table.source}, row {table.lacking[columns.text]}: expected the key {columns.text!r} as in the other "
            "rows; add it, with null where there is no value"
        )
    return columns


def find_text(table: Table, preferred: str) -> str:
    """The column with the texts of a file without labels: the preferred name, or the only usual one."""
    return preferred if preferred in table.columns else _find(table, "text", None)


def find_text_among(source: str, columns: Sequence[str], named: str | None) -> str:
    """The column with the texts of a file that is read for them alone: the named one, the only one, or the usual one.

    Raises:
        PipelineError: there is none, or several have a usual name.
    """
    if named is None and len(columns) == 1:
        return columns[0]
    return _find(Table(source, dict.fromkeys(columns, ()), ()), "text", named, one_class=False)


def rename_columns(table: Table, columns: Columns) -> Table:
    """The table with its text, label and date called as in the source; each is found by that name or a usual one.

    Raises:
        PipelineError: there is no such text or label, or there are several.
    """
    names: dict[str, str] = {}
    for role, name in vars(columns).items():
        if name is None:
            continue
        found = _same(table, name) or _usual(table, role)
        if len(found) == 1:
            names[found[0]] = name
        elif role != "date":
            raise PipelineError(
                f"{table.source}: expected one column {name!r} as in the source, or one with a usual name for the "
                f"{role}; got {_listed(table.columns)}; rename the one with the {role}"
            )
    values = {names.get(column, column): cells for column, cells in table.values.items()}
    lacking = {names.get(column, column): number for column, number in table.lacking.items()}
    return replace(table, values=values, lacking=lacking)


def is_usual(name: str) -> bool:
    """Whether a column of that name would be found as text, label or date."""
    return plain(name) in _USUAL


def plain(name: str) -> str:
    """The name without the differences that do not count: case, width, and what stands between words."""
    return re.sub(r"[\s_-]+", " ", fold(name)).strip()


def texts_of(table: Table, column: str) -> list[str | None]:
    """The cells of a column that holds texts.

    Raises:
        PipelineError: a cell is neither a text nor null.
    """
    texts = table.values[column]
    for number, text in zip(table.numbers, texts, strict=True):
        if text is not None and not isinstance(text, str):
            raise PipelineError(
                f"{table.source}, row {number}: expected a text in {column!r}, got {str(text)[:40]} "
                f"({type(text).__name__}); put it in quotes, or name the right column with --text_column"
            )
    return list(texts)


def _find(table: Table, role: str, named: str | None, *, one_class: bool = True) -> str:
    if named is not None:
        return _named(table, role, named)
    found = _usual(table, role)
    if len(found) == 1:
        return found[0]
    got = (
        f"several: {_listed(found)}" if found else f"none of the usual names among the columns {_listed(table.columns)}"
    )
    or_else = ", or FILE=LABEL where all rows of a file have one label" if one_class and not found else ""
    raise PipelineError(
        f"{table.source}: expected one column with the {role}, got {got}; give --{role}_column NAME{or_else}"
    )


def _find_date(table: Table, named: str | None) -> str | None:
    if named is not None:
        return _named(table, "date", named)
    found = _usual(table, "date")
    return found[0] if len(found) == 1 else None


def _named(table: Table, role: str, named: str) -> str:
    same = _same(table, named)
    if len(same) == 1:
        return same[0]
    raise PipelineError(
        f"{table.source}: no column {named!r}; the columns are {_listed(table.columns)}; give one of them with "
        f"--{role}_column"
    )


def _same(table: Table, name: str) -> list[str]:
    """The column of that name; where none has it exactly, those that have it but for case."""
    return [name] if name in table.columns else [c for c in table.columns if plain(c) == plain(name)]


def _usual(table: Table, role: str) -> list[str]:
    kinds = ([column for column in table.columns if plain(column) in names.split(",")] for names in _NAMES[role])
    return next((found for found in kinds if found), [])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
