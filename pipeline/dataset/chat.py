"""Instruction JSON as tutorials and chat trainers write it: its instruction, system text and history of turns."""

import logging
from dataclasses import replace

from pipeline.dataset.columns import plain
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError

log = logging.getLogger(__name__)

# A key of a well-known tutorial, whose data have spread with it.
_MISSPELT = {"instrution": "instruction"}
# What is read of instruction data beside its text and its label.
INSTRUCTION_KEYS = ("instruction", "system", "history")


def as_questions(table: Table) -> Table:
    """The table with one text to a row, where it is instruction data: ``output``, and ``instruction`` or ``input``.

    The misspelt key of a tutorial gets its name. Rows whose ``input`` is empty throughout have their text in the
    instruction. Turns before a text (``history``, lists of pairs of a question and its answer) stand before it, without
    their answers: those are labels, which a text must not give away.

    Raises:
        PipelineError: a history is a list, but not of pairs.
    """
    names = {plain(name): name for name in table.values}
    values = dict(table.values)
    for wrong, right in _MISSPELT.items():
        if wrong in names and right not in names and "output" in names:
            log.warning("%s: the key %r is read as %r", table.source, names[wrong], right)
            values = {right if name == names[wrong] else name: cells for name, cells in values.items()}
            names[right] = right
    if "output" not in names or not {"instruction", "input"} & names.keys():
        return table
    text = names.get("input")
    orders = values.get(names.get("instruction", ""), ())
    # What differs from row to row is tweets; one order for all rows is not.
    if (text is None or not any(values[text])) and len(set(map(str, orders))) > 1:
        values.pop(text or "", None)
        text = "input"
        values[text] = values.pop(names["instruction"])
    history = values.get(names.get("history", ""), ())
    if text is not None and any(isinstance(cell, list) for cell in history):
        turns = [_questions(table, number, cell) for number, cell in zip(table.numbers, history, strict=True)]
        values[text] = [
            "\n".join([*before, cell]) if isinstance(cell, str) else cell
            for before, cell in zip(turns, values[text], strict=True)
        ]
        log.info(
            "%s: %d rows have a history; what was asked before stands before the text, the answers are left out",
            table.source, sum(map(bool, turns)),
        )  # fmt: skip
    return replace(table, values=values)


def instruction_of(table: Table, default: str) -> str:
    """What all rows of instruction data ask the model to do, behind their ``system`` text; ``default`` where nothing.

    Rows that differ are counted in a warning, and nothing is taken from them: every tweet is asked the same.
    """
    names = {plain(name): name for name in table.values}
    if not {"input", "output"} <= names.keys() or not {"instruction", "system"} & names.keys():
        return default
    found: dict[str, str] = {}
    for name in ("system", "instruction"):
        cells = table.values.get(names.get(name, ""), ())
        texts = {cell.strip() for cell in cells if isinstance(cell, str)} - {""}
        if len(texts) > 1:
            log.warning(
                "%s: column %r has %d different texts, but every tweet is asked the same; they are left out, see "
                "--instruction", table.source, name, len(texts),
            )  # fmt: skip
        elif texts:
            (found[name],) = texts
    asked = "\n".join([*filter(None, [found.get("system")]), found.get("instruction", default)])
    if asked != default:
        log.info("the instruction is that of %s: %s", table.source, asked.replace("\n", " "))
    return asked


def _questions(table: Table, number: object, history: object) -> list[str]:
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
