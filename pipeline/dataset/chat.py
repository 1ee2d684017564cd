"""Instruction JSON as tutorials and chat trainers write it: its instruction, system text and history of turns."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.dataset.columns import plain
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError

log = logging.getLogger(__name__)

# A key of a well-known tutorial, whose data have spread with it.
_MISSPELT = {"instrution": "instruction"}


def as_questions(table: Table) -> Table:
    """The table with one text to a row, whatever it was made for.

    The misspelt key of a tutorial gets its name. Turns before a text (``history``, a list of pairs of a question and
    its answer) stand before it, without their answers: those are labels, which a text must not give away.

    Raises:
        PipelineError: a history is no list of pairs.
    """
    values = dict(table.values)
    for wrong, right in _MISSPELT.items():
        if wrong in values and right not in values:
            log.warning("%s: the key %r is read as %r", table.source, wrong, right)
            values[right] = values.pop(wrong)
    text = next((name for name in values if plain(name) == "input"), None)
    if "history" in values and text is not None:
        turns = [_questions(table, number, cell) for number, cell in _rows(table, values["history"])]
        values[text] = [
            "\n".join([*before, text]) if isinstance(text, str) else text
            for before, text in zip(turns, values[text], strict=True)
        ]
        if count := sum(map(bool, turns)):
            log.info(
                "%s: %d rows have a history; what was asked before stands before the text, the answers are left out",
                table.source, count,
            )  # fmt: skip
    return replace(table, values=values)


def instruction_of(table: Table) -> str | None:
    """What all rows ask the model to do, in ``system`` and ``instruction``; None where there is no such column.

    Rows that differ are counted in a warning, and nothing is taken from them: every tweet is asked the same.
    """
    parts: list[str] = []
    for name in ("system", "instruction"):
        texts = Counter(str(cell).strip() for cell in table.values.get(name, ()) if cell is not None)
        texts.pop("", None)
        if len(texts) > 1:
            log.warning(
                "%s: column %r has %d different texts, but every tweet is asked the same; they are left out, see "
                "--instruction", table.source, name, len(texts),
            )  # fmt: skip
        elif texts:
            parts += texts
    return "\n".join(parts) or None


def _rows(table: Table, cells: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(str(number), cell) for number, cell in zip(table.numbers, cells, strict=True)]


def _questions(table: Table, number: str, history: object) -> list[str]:
    """The questions of earlier turns."""
    if history is None or history == "":
        return []
    pairs = history if isinstance(history, list) else [history]
    questions = [pair[0] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)]
    if len(questions) < len(pairs):
        raise PipelineError(
            f"{table.source}, row {number}: expected in 'history' a list of pairs, [question, answer], got "
            f"{str(history)[:60]}; mend it, or remove the key"
        )
    return questions
