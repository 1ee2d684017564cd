"""From the spellings of a label in a file to the classes of the task."""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pipeline.dataset.reading import Table
from pipeline.dataset.spellings import alike
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS
from pipeline.text import clean, fold

_HOME = {fold(label): label for label in SENTIMENT_LABELS} | dict(zip(("-1", "0", "1"), SENTIMENT_LABELS, strict=True))
_LIST_OF_ONE = re.compile(r"""\[\s*(['"])((?:(?!\1).)*)\1\s*\]""", re.DOTALL)
_MOST = 20
# How databases, data frames and people write that there is nothing. "none" and "unknown" may be classes.
_NOTHING = frozenset({"null", "nan", "<na>", "\\n", "na", "n/a", "#n/a", "-", "?", "unlabelled", "unlabeled"})


@dataclass(frozen=True)
class Classes:
    """The classes in their order, and which canonical value of the file belongs to which.

    The values ``without`` say that there is no label.
    """

    labels: tuple[str, ...]
    label_of: Mapping[str, str]
    without: frozenset[str] = _NOTHING


def canonical(value: object) -> str | None:
    """The one spelling of a label value; None where there is no value.

    ``1``, ``1.0``, ``"+1"`` and ``"01"`` are ``"1"``; ``"Positive "``, ``["positive"]`` and ``"['positive']"`` are
    ``"positive"``; null, NaN and the empty text are None.
    """
    return _canonical(value) if isinstance(value, str) else _canonical(_spelling(value))


@functools.lru_cache(maxsize=1024)  # labels are few, rows are many
def _canonical(value: str) -> str | None:
    folded = fold(_spelling(value))
    if not folded:
        return None
    number = _number(folded)
    if number is None:
        return folded
    return str(int(number)) if number.is_integer() else repr(number)


def find_classes(columns: Sequence[tuple[Table, str]], mapping: str | None = None) -> Classes:
    """The classes of the label columns of one file or more.

    ``mapping`` is the user's, as in ``0=Bearish,2=Neutral,1=Bullish`` or, where the values are the classes' names,
    ``bad,fair,good``; its order is that of the classes, and ``other=`` says that other is no label. Without it, -1, 0,
    1 and the words negative, neutral, positive are the three classes of sentiment, of which those that occur are kept;
    and 2 to 20 other texts are taken as the names of the classes, sorted. What is written for nothing (null, NA, ?) is
    no label unless the mapping says otherwise.

    Raises:
        PipelineError: the mapping is malformed, or there is none and the values do not speak for themselves.
    """
    if mapping is not None:
        named = _parse_mapping(mapping)
        label_of = {value: label for value, label in named.items() if label}
        return Classes(tuple(dict.fromkeys(label_of.values())), label_of, values_without(mapping))
    counts = Counter(value for *_, value in _values(columns) if value is not None and value not in _NOTHING)
    _refuse_unclear(columns, counts)
    if counts.keys() <= _HOME.keys():
        label_of = {value: _HOME[value] for value in counts}
        return Classes(tuple(label for label in SENTIMENT_LABELS if label in label_of.values()), label_of)
    names = _names(columns)
    return Classes(tuple(names[value] for value in sorted(names)), names)


def values_without(mapping: str | None = None) -> frozenset[str]:
    """The canonical values that say that there is no label: the usual ones, unless the mapping says otherwise."""
    named = {} if mapping is None else _parse_mapping(mapping)
    return (_NOTHING | named.keys()) - {value for value, label in named.items() if label}


def classes_of(table: Table, column: str, classes: Classes) -> list[str | None]:
    """The class of every row; None where the cell is empty or says that there is no label.

    Raises:
        PipelineError: a value belongs to no class.
    """
    labels: list[str | None] = []
    for number, cell in zip(table.numbers, table.values[column], strict=True):
        value = canonical(cell)
        if value in classes.without:
            value = None
        if value is not None and value not in classes.label_of:
            advice = _advice(value, table.values[column], classes)
            raise PipelineError(
                f"{table.source}, row {number}: expected {column!r} to be one of "
                f"{', '.join(classes.label_of)}; got {str(cell)[:80]!r}; {advice}"
            )
        labels.append(None if value is None else classes.label_of[value])
    return labels


def _advice(value: str, cells: Sequence[object], classes: Classes) -> str:
    """What to do about a value that ``--labels`` does not name: which of the two is misspelt shows in the others."""
    named, there = list(classes.label_of), {canonical(cell) for cell in cells}
    absent = [each for each in named if each not in there]
    if _number(value) is None and (missed := get_close_matches(value, absent, n=1)):
        return f"did you mean {value[:40]!r} for {missed[0]!r} in --labels?"
    meant = next((each for each in named if alike(value, each)), "")
    none = "" if meant else " if it is no label"
    return f"correct it, or add it to --labels (as {value[:40]}={meant}{none})"


def classes_of_values(labels: Sequence[str], mapping: str | None = None) -> Callable[[object], str | None]:
    """The function from a value to the class that it means, or to None: a class's name, or what the mapping says.

    -1, 0, 1 and the words for them mean the classes of sentiment where these are among the labels.

    Raises:
        PipelineError: the mapping is malformed, or names a class that is not among the labels.
    """
    names = {value: label for label in labels if (value := canonical(label)) is not None}
    class_of = {value: label for value, label in _HOME.items() if label in labels} | names
    if mapping is not None:
        meant = {value: name for value, name in _parse_mapping(mapping).items() if name}
        strange = [name for name in meant.values() if canonical(name) not in class_of]
        if strange:
            raise PipelineError(
                f"expected each value to mean one of {', '.join(labels)}, got {strange[0]!r}; write VALUE=Class pairs"
            )
        class_of = names | {value: class_of[canonical(name) or ""] for value, name in meant.items()}
    return lambda value: class_of.get(canonical(value) or "")


def _parse_mapping(mapping: str) -> dict[str, str]:
    label_of: dict[str, str] = {}
    for pair in mapping.split(","):
        key, equals, name = pair.partition("=")
        value, label = canonical(key), clean(name if equals else key)
        # Alone, a word names itself; a number cannot, and with a colon somebody meant a pair.
        if not equals and value is not None and _number(value) is not None:
            raise PipelineError(
                f"--labels: expected VALUE=Class for every number, such as {value}=Negative; got {pair!r} alone"
            )
        alone = not equals and ":" in key
        if value is None or not (label or equals) or "=" in name or alone:
            raise PipelineError(
                f"--labels: expected VALUE=Class pairs divided by commas, such as 0=Bearish,1=Bullish; got {pair!r}"
            )
        if label_of.setdefault(value, label) != label:
            both = f"{label_of[value] or 'nothing'} and {label or 'nothing'}"
            raise PipelineError(f"--labels: {value!r} is {both}; give each value one class")
    if not any(label_of.values()):
        raise PipelineError(f"--labels: expected VALUE=Class for two values at least, got {mapping!r}")
    return label_of


def _refuse_unclear(columns: Sequence[tuple[Table, str]], counts: Counter[str]) -> None:
    where = f"{columns[0][0].source}, column {columns[0][1]!r}"
    numbers = [value for value in counts if _number(value) is not None]
    if len(counts) > _MOST:
        raise PipelineError(
            f"{where}: expected 2 to {_MOST} different labels, got {len(counts)}: {_tally(counts)}; name the label "
            "column with --label_column, or map all values with --labels"
        )
    if numbers and not counts.keys() <= _HOME.keys():
        table, number, value = next(found for found in _values(columns) if found[2] in counts and found[2] not in _HOME)
        raise PipelineError(
            f"{table.source}, row {number}: expected -1, 0 or 1, or their words, got {value!r}; the labels in the file "
            f"are {_tally(counts)}; say what each means, as in --labels 0=Bearish,1=Bullish"
        )
    if counts.keys() == {"0", "1"}:
        raise PipelineError(
            f"{where}: 0 and 1 without -1 can mean two things; got {_tally(counts)}; say which, as in "
            "--labels 0=Negative,1=Positive or --labels 0=Neutral,1=Positive"
        )
    classes = {_HOME.get(value, value) for value in counts}
    if len(classes) < 2:
        raise PipelineError(
            f"{where}: expected 2 to {_MOST} different labels, got {_tally(counts) or 'only empty cells'}; name the "
            "right column with --label_column, or give one file for each class as FILE=LABEL"
        )


def _names(columns: Sequence[tuple[Table, str]]) -> dict[str, str]:
    """Canonical value -> its most frequent spelling; of equally frequent ones the first in the alphabet."""
    spellings = Counter(
        (value, _spelling(cell))
        for table, column in columns
        for cell in table.values[column]
        if (value := canonical(cell)) is not None and value not in _NOTHING
    )
    best = sorted(spellings, key=lambda pair: (-spellings[pair], pair[1]))
    return dict(reversed(best))


def _values(columns: Sequence[tuple[Table, str]]) -> Iterator[tuple[Table, int | str, str | None]]:
    for table, column in columns:
        numbers: Iterable[int | str] = table.numbers
        for number, cell in zip(numbers, table.values[column], strict=True):
            yield table, number, canonical(cell)


def _spelling(value: object) -> str:
    """The text in a cell, out of its list of one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = clean(str(value))
    inside = _LIST_OF_ONE.fullmatch(text)
    return clean(inside[2]) if inside else text


def _number(text: str) -> float | None:
    """The number that the whole text is; words that Python reads as numbers (nan, inf) are texts."""
    if not any(c.isdigit() for c in text) or "_" in text or len(text) > _MOST:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _tally(counts: Counter[str]) -> str:
    shown = ", ".join(f"{' '.join(value.split())[:40]} ({n:,})" for value, n in counts.most_common(_MOST))
    return shown + (f" and {len(counts) - _MOST} more" if len(counts) > _MOST else "")
