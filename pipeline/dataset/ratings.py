"""The single ratings behind a label, in the forms in which files hold them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.dataset.labels import Classes, canonical
from pipeline.dataset.polarity import polarities, sign
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError

# One rater in a cell such as {annotator1_id:22;annotator1_label:1; annotator2_id:71;annotator2_label:0}
_NAMED_LABEL = re.compile(r"\w*label\w*\s*:\s*([^;,{}]*)", re.IGNORECASE)


def read_ratings(table: Table, columns: Sequence[str], classes: Classes) -> list[tuple[str, ...]]:
    """The classes that the raters of every row gave; without those who gave none.

    With several columns there is one rater in each; with one, a cell holds all: a list, as JSON or as text
    (``[2, 2, 4]``), or pairs of names and values, of which those count whose name has ``label`` in it. A value is read
    as the label column is. Whole numbers on a scale with both signs, such as -4 to 4, count by their sign where they
    are no labels and the classes are those of sentiment.

    Raises:
        PipelineError: a column is missing, or a value is none of the labels.
    """
    for column in columns:
        if column not in table.columns:
            raise PipelineError(
                f"{table.source}: no column {column!r}; the columns are {', '.join(table.columns)}; give those "
                "with ratings to --rater_columns, divided by spaces"
            )
    rows = [
        [
            value
            for column in columns
            for value in _values(table.values[column][i], len(columns) == 1)
            if value not in classes.without
        ]
        for i in range(len(table))
    ]
    counts = Counter(value for row in rows for value in row)
    class_of = dict(classes.label_of) | _by_sign(counts, classes)
    for number, row in zip(table.numbers, rows, strict=True):
        for value in row:
            if value not in class_of:
                raise PipelineError(
                    f"{table.source}, row {number}: expected a rating among {', '.join(classes.label_of)}; got "
                    f"{value[:40]!r}; say in --labels what it means, or name other --rater_columns"
                )
    return [tuple(class_of[value] for value in row) for row in rows]


def _values(cell: Any, all_raters: bool) -> list[str]:
    """The canonical values in a cell; ``all_raters`` says that it may hold several."""
    parts: Sequence[Any] = [cell]
    if all_raters and isinstance(cell, list | tuple):
        parts = cell
    elif all_raters and isinstance(cell, str):
        inside = cell.strip().strip("[](){}")
        parts = _NAMED_LABEL.findall(cell) if cell.strip().startswith("{") else re.split("[,;|]", inside)
        parts = [part.strip().strip("'\"") for part in parts]
    return [value for part in parts if (value := canonical(part)) is not None]


def _by_sign(counts: Mapping[str, int], classes: Classes) -> dict[str, str]:
    """Numbers of a scale with both signs that are no labels themselves -> the class on their side."""
    steps = polarities(classes.labels)
    numbers = {value: int(value) for value in counts if re.fullmatch(r"-?\d{1,3}", value)}
    if steps is None or len({sign(step) for step in steps.values()}) < len(steps):
        return {}
    if not numbers or not min(numbers.values()) < 0 < max(numbers.values()):
        return {}
    sides = {sign(step): label for label, step in steps.items()}
    return {
        value: sides[sign(number)]
        for value, number in numbers.items()
        if value not in classes.label_of and sign(number) in sides
    }
