"""A person's decisions about single labels: changed or left out as a file says, and never otherwise."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.dataset.columns import plain
from pipeline.dataset.labels import Classes, canonical
from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.dataset.spreadsheet import unguarded
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.text import clean, fold

REASON = "excluded by overrides"


@dataclass(frozen=True)
class Overrides:
    """Decisions by id: a class, or None to leave the row out. ``rows`` says where in the file each stands."""

    source: str
    decisions: Mapping[str, str | None]
    texts: Mapping[str, str]
    rows: Mapping[str, str]


@dataclass(frozen=True)
class Overridden:
    """The examples after the decisions, and how many of these had which effect; ``unused`` had none."""

    sifted: Sifted
    changed: int
    unused: int

    def to_json(self) -> dict[str, int]:
        """The counts as they stand in the manifest."""
        return {"changed": self.changed, "dropped": len(self.sifted.dropped), "unused": self.unused}


def read_overrides(table: Table, classes: Classes) -> Overrides:
    """Reads a table with the columns ``id`` and ``label``, and perhaps ``text``; others are passed over.

    A label is the name of a class or one of its values in the source; an empty one leaves the row out. ``suspects.csv``
    is such a table once a person has corrected its labels.

    Raises:
        PipelineError: a column is missing, a row could not be read or has no id, a label is unknown, or an id has two
            labels.
    """
    if table.rejected:
        bad = table.rejected[0]
        raise PipelineError(f"{bad.file}, line {bad.line}: expected a row with an id and a label; {bad.reason}")
    columns = {name: _column(table, name) for name in ("id", "label", "text")}
    for name in ("id", "label"):
        if columns[name] is None:
            raise PipelineError(
                f"{table.source}: expected the columns id and label, got {', '.join(table.columns)}; name the ids as "
                "suspects.csv or train.json have them"
            )
    names = {fold(label): label for label in classes.labels}
    decisions: dict[str, str | None] = {}
    texts: dict[str, str] = {}
    rows: dict[str, str] = {}
    for i, number in enumerate(table.numbers):
        row = {name: _cell(table.values[column][i]) for name, column in columns.items() if column is not None}
        where = f"{table.source}, row {number}"
        name, label = row["id"], _class_of(row["label"], names, classes, where)
        if not name:
            raise PipelineError(f"{where}: expected the id of a row, got an empty cell; remove the row or give its id")
        if decisions.setdefault(name, label) != label:
            raise PipelineError(
                f"{where}: id {name} is {label or 'left out'} here and {decisions[name] or 'left out'} in row "
                f"{rows[name]}; keep one of the two"
            )
        rows.setdefault(name, str(number))
        if row.get("text"):
            texts[name] = clean(row["text"])
    return Overrides(str(table.source), decisions, texts, rows)


def apply_overrides(examples: Sequence[Example], overrides: Overrides, left_out: Collection[str] = ()) -> Overridden:
    """The examples with the labels that the file gives them; a decision holds for all copies of the text.

    Args:
        examples: the rows that can be used.
        overrides: the decisions.
        left_out: ids of rows that earlier steps have left out; a decision about one of them has no effect.

    Raises:
        PipelineError: an id is in neither, or the text beside it is not that of the row.
    """
    by_id = {example.id: example for example in examples}
    for name in overrides.decisions:
        if name not in by_id and name not in left_out:
            raise PipelineError(
                f"{overrides.source}, row {overrides.rows[name]}: no row of the source has the id {name!r}; "
                "give the file that was made from this source"
            )
        if name in by_id and overrides.texts.get(name, by_id[name].text) != by_id[name].text:
            raise PipelineError(
                f"{overrides.source}, row {overrides.rows[name]}: id {name} is {by_id[name].text[:40]!r} in the source "
                f"and {overrides.texts[name][:40]!r} here; give the file that was made from this source"
            )
    decided = _of_copies(by_id, overrides.decisions)
    kept, dropped, changed = [], [], 0
    for example in examples:
        decision = example.id if example.id in overrides.decisions else decided.get(example.template)
        label = example.label if decision is None else overrides.decisions[decision]
        if label is None:
            row = overrides.rows[decision or ""]
            dropped.append(Dropped.of(example, REASON, f"by row {row} of the overrides"))
            continue
        changed += label != example.label
        kept.append(example if label == example.label else replace(example, label=label))
    unused = sum(name not in by_id or by_id[name].label == label for name, label in overrides.decisions.items())
    return Overridden(Sifted(kept, dropped), changed, unused)


def _of_copies(by_id: Mapping[str, Example], decisions: Mapping[str, str | None]) -> dict[str, str]:
    """Template -> the id whose decision holds for its other copies too, unless they were decided in several ways.

    Else the copies that the person has not seen would outvote the one that was listed.
    """
    ids: dict[str, str] = {}
    several = set()
    for name, label in decisions.items():
        if name in by_id:
            first = ids.setdefault(by_id[name].template, name)
            if decisions[first] != label:
                several.add(by_id[name].template)
    return {template: name for template, name in ids.items() if template not in several}


def _column(table: Table, name: str) -> str | None:
    """The column of that name, before one that has it but for case."""
    found = sorted((column for column in table.columns if plain(column) == name), key=lambda column: column != name)
    return found[0] if found else None


def _cell(value: Any) -> str:
    """What a cell says: an id that went through a spreadsheet as 12.0 is still 12."""
    if value is None or value != value:  # NaN alone differs from itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return unguarded(str(value)).strip()


def _class_of(cell: str, names: Mapping[str, str], classes: Classes, where: str) -> str | None:
    """The class that a cell names, None where it is empty."""
    value = canonical(cell)
    if value is None:
        return None
    label = names.get(fold(clean(cell))) or classes.label_of.get(value)
    if label is None:
        raise PipelineError(
            f"{where}: expected the label to be one of {', '.join(classes.labels)}, or empty to leave the row out; got "
            f"{cell[:80]!r}; correct it"
        )
    return label
