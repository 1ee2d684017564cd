"""Which columns hold the text, the label and the date, and what of them can be used as it is."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.text import fold, unaccented

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
# Names in other languages, without accents; they count where none of the above is there, and do not tell a header from
# data. Words that name a text as often as its label (opinión, Bewertung, note) are left out.
_ELSEWHERE = {
    "text": (
        "texto,texte,testo,tekst,metin,kommentar,comentario,commentaire,commento,yorum,avis,resena,recensione,текст"
    ),
    "label": (
        "sentimiento,sentimento,stimmung,etiqueta,etiquette,etichetta,etiket,klasse,clase,classe,valoracion,puntuacion,"
        "duygu,класс"
    ),
    "date": "fecha,data,datum,dato,dia,jour,tag,tarih,paivamaara,дата,日期,日付,날짜",
}
# For messages.
_EXAMPLES = {"text": "text, tweet, comment, review", "label": "label, sentiment, class, rating"}
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
    found_text, found_label = _find(table, {"text": text, "label": label})
    columns = Columns(found_text, found_label, _find_date(table, date))
    if columns.text == columns.label:
        raise PipelineError(f"{table.source}: text and label are both {columns.text!r}; give two columns")
    if columns.text in table.lacking:
        raise PipelineError(
            f"{table.source}, row {table.lacking[columns.text]}: expected the key {columns.text!r} as in the other "
            "rows; add it, with null where there is no value"
        )
    return columns


def usual_columns(table: Table, role: str, named: str | None) -> list[str]:
    """The column that was named for a role, or all with a usual name for it; exactly one is clear."""
    return _usual(table, role) if named is None else _same(table, named)


def find_text(table: Table, preferred: str) -> str:
    """The column with the texts of a file without labels: the preferred name, or the only usual one."""
    return preferred if preferred in table.columns else _find(table, {"text": None})[0]


def find_text_among(source: str, columns: Sequence[str], named: str | None, known: str | None = None) -> str:
    """The column with the texts of a file that is read for them alone: the named one, the only one, or the usual one.

    Without a named one, that of the ``known`` name comes first, if there is one.

    Raises:
        PipelineError: there is none, or several have a usual name.
    """
    if named is None and known is not None and known in columns:
        return known
    if named is None and len(columns) == 1:
        return columns[0]
    return _find(Table(source, dict.fromkeys(columns, ()), ()), {"text": named}, one_class=False)[0]


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
    """Whether a name is so usual for a text, a label or a date that it tells a header from data."""
    return plain(name) in _USUAL


def plain(name: str) -> str:
    """The name without the differences that do not count: case, width, and what stands between words."""
    return re.sub(r"[\s_-]+", " ", fold(name)).strip()


def unused(table: Table, columns: Columns, others: Collection[str]) -> str | None:
    """The columns of which nothing is read, as a line for people; None where there is none.

    Args:
        table: the rows.
        columns: those in use.
        others: what else is read, by name.
    """
    read = {plain(name) for name in (columns.text, columns.label, columns.date or "", *others)}
    # A column without a name is a data frame's row numbers.
    left = [name for name in table.columns if name.strip() and plain(name) not in read]
    if not left:
        return None
    date = "; --date_column names one with dates" if columns.date is None else ""
    return f"columns not used: {_listed(left, 6)}{date}"


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


def _find(table: Table, named: Mapping[str, str | None], *, one_class: bool = True) -> list[str]:
    """The column of each role; one error for all that are not clear.

    Args:
        table: where to look.
        named: role -> the column that the user named for it, or None.
        one_class: whether ``FILE=LABEL`` is a way out.
    """
    found = {role: _usual(table, role) if name is None else [_named(table, role, name)] for role, name in named.items()}
    unclear = {role: columns for role, columns in found.items() if len(columns) != 1}
    if not unclear:
        return [column for (column,) in found.values()]
    wanted = " and one with the ".join(unclear)
    several = " and ".join(f"several: {_listed(columns)}" for columns in unclear.values() if columns)
    none = [role for role, columns in unclear.items() if not columns]
    usual = "; ".join(_EXAMPLES[role] for role in none)
    nothing = f"none of the usual names (as {usual}) among the columns {_listed(table.columns)}" if none else ""
    options = " ".join(f"--{role}_column NAME" for role in unclear)
    or_else = ", or FILE=LABEL where all rows of a file have one label" if one_class and none else ""
    got = " and ".join(each for each in (several, nothing) if each)
    raise PipelineError(f"{table.source}: expected one column with the {wanted}, got {got}; give {options}{or_else}")


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
    return next((found for found in kinds if found), []) or _usual_elsewhere(table, role)


def _usual_elsewhere(table: Table, role: str) -> list[str]:
    """Columns with a usual name in another language; such words mean much, so a date must also look like one."""
    names = _ELSEWHERE[role].split(",")
    found = [column for column in table.columns if unaccented(plain(column)) in names]
    if not (found and role == "date"):
        return found
    from pipeline.dataset.dates import are_dates  # pandas takes a second to load

    return [column for column in found if are_dates(table.values[column])]


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
