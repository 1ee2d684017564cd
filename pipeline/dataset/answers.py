"""Answers of a system that is known only by a file of its predictions."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.dataset.encoding import to_utf8
from pipeline.dataset.labels import canonical, classes_of_values
from pipeline.dataset.reading import read_table
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.text import fold

logger = logging.getLogger(__name__)

_ID = "id"
_ANSWER = ("prediction", "predicted", "answer", "label", "output", "sentiment", "class")
# Files with one answer a line and nothing else.
_LINES = (".txt", ".preds", "")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def read_answers(path: str, ids: Sequence[str], labels: Sequence[str], mapping: str | None = None) -> list[str | None]:
    """One answer for every test row, in their order; None for one that is no label.

    The file has an answer a line, in the order of the test rows or, where the test split was a file of the user's own,
    of that file's rows; or it is a table with the columns ``id`` and one of ``prediction``, ``label`` and their like.

    Args:
        path: the file.
        ids: of the test rows, as in ``test.json``.
        labels: the classes; an answer may be a class's name or, for the classes of sentiment, -1, 0 or 1.
        mapping: what other answers mean, such as ``0=Negative,1=Neutral,2=Positive``.

    Raises:
        PipelineError: the file cannot be read, a test row has no answer or several, or no answer is a label.
    """
    class_of = classes_of_values(labels, mapping)
    if not Path(path).is_file():
        raise PipelineError(f"{path}: no such file; expected the answers of a system, one a test row")
    by_line = Path(path).suffix.lower() in _LINES
    found = _by_order(path, ids) if by_line else _by_column(read_table(path), ids)
    answers = [class_of(value) for value in found]
    unread = Counter(
        str(value).strip() for value, answer in zip(found, answers, strict=True) if answer is None and canonical(value)
    )
    # Numbers of which some are none of the known ones are another code, and the others would be read wrongly.
    if not any(answers) or any(_NUMBER.fullmatch(value) for value in unread):
        seen = ", ".join(repr(value)[:40] for value in list(dict.fromkeys(found))[:5])
        raise PipelineError(
            f"{path}: expected answers among {', '.join(labels)}, got {seen}; say what they mean with --answer_labels"
        )
    if unread:
        often = ", ".join(f"{value[:30]!r} {n:,} times" for value, n in unread.most_common(3))
        logger.warning(
            "%s: %d answers are no label and count as wrong, such as %s; if they mean one, say so with --answer_labels",
            path, len(found) - sum(answer is not None for answer in answers), often,
        )  # fmt: skip
    return answers


def _by_order(path: str, ids: Sequence[str]) -> list[object]:
    content, _ = to_utf8(path, Path(path).read_bytes())
    lines = content.decode().splitlines()
    if len(lines) == len(ids):
        return list(lines)
    numbers = [int(number) if (number := id_.rpartition(":")[2]).isdecimal() else 0 for id_ in ids]
    # Some rows of the user's own test file were left out, and their lines with them.
    if all(id_.startswith("test:") for id_ in ids) and len(lines) > len(ids) and max(numbers) <= len(lines):
        return [lines[number - 1] for number in numbers]
    raise PipelineError(
        f"{path}: expected {len(ids):,} lines, one a test row, got {len(lines):,}; give a table with the columns id "
        "and prediction, or the answers for these rows alone"
    )


def _by_column(table: Table, ids: Sequence[str]) -> list[object]:
    by_name: Mapping[str, str] = {fold(column): column for column in table.columns}
    answer = next((by_name[name] for name in _ANSWER if name in by_name), None)
    if answer is None or _ID not in by_name:
        raise PipelineError(
            f"{table.source}: expected the columns id and {' or '.join(_ANSWER[:4])}, got {', '.join(table.columns)}"
        )
    answers: dict[str, object] = {}
    for cell, value in zip(table.values[by_name[_ID]], table.values[answer], strict=True):
        id_ = canonical(cell) or ""
        if id_ in answers:
            raise PipelineError(f"{table.source}: expected every id once, got {id_!r} twice")
        answers[id_] = value
    lacking = [id_ for id_ in ids if fold(id_) not in answers]
    if lacking:
        raise PipelineError(
            f"{table.source}: expected an answer for each of {len(ids):,} test rows, got none for {len(lacking):,}, "
            f"the first of them id {lacking[0]!r}; leave the cell empty where the system gave none"
        )
    return [answers[fold(id_)] for id_ in ids]
