"""From the answers to the suite to the key ``behaviour`` of ``metrics.json``."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pipeline.errors import PipelineError
from pipeline.scoring.behaviour.case import Case, Cell
from pipeline.scoring.behaviour.sentences import sentences
from pipeline.scoring.behaviour.suite import CELLS, polarities, texts
from pipeline.scoring.intervals import wilson
from pipeline.text import clean

TOLERANCE = 0.05
EXAMPLES = 3
_SIDES = {-1: "negative", 0: "neutral", 1: "positive"}

Answer = Mapping[str, Any]
T = TypeVar("T")


def behaviour(cases: Sequence[Case], answers: Mapping[str, Answer], labels: Sequence[str]) -> dict[str, Any]:
    """The failures of one classifier, cell by cell.

    A case fails when an answer could not be parsed, and else: MFT, when the answer is none of the expected labels;
    INV, when it is not the answer to the twin; DIR, when the probability of the target is on the wrong side of that
    of the twin by more than 0.05. Where cleaning makes a text equal to its twin, nothing is left to change the answer.

    Args:
        cases: from ``suite.cases`` with the same labels, in any order.
        answers: cleaned text -> ``predicted`` (a label, or None: unparsed) and, where the classifier has them,
            ``probabilities`` (label -> share), as baselines have them in ``predictions.jsonl``.
        labels: the classes of the task from low to high.

    Returns:
        ``not_run`` (None, or why there is nothing else), ``mapping`` (negative, neutral, positive -> label),
        ``n_cases``, ``n_texts``, ``tolerance``, ``constant`` (every text got one label), ``cells``, ``robust`` and
        ``sentences``. A share is ``count``, ``n``, ``value``, ``low``, ``high`` (Wilson, 95 %). Each cell has

        * the share ``failure`` (None for DIR without probabilities), ``unparsed``, ``changed`` (pairs that still
          differ after cleaning, None for MFT) and up to three ``examples`` of failures;
        * MFT: ``trivial``, the ``accuracy`` of always answering the commonest expected ``label``;
        * INV: ``flips`` (another label than the twin's) and ``robust``; injections also ``towards`` and ``elsewhere``,
          the flips to and not to the label asked for, among tweets that did not have it before;
        * DIR: ``moved``, how often the probability moved the right way by more than the tolerance.

        ``robust`` is the share of tweets that are right ``before`` they are perturbed, and right in the ``worst`` of
        all versions too (HELM's worst case, Liang et al. 2022, arXiv 2211.09110); that of the whole suite counts the
        tweets which several cases change.

    Raises:
        PipelineError: a text has no answer, or an answer is not as described.
    """
    names = polarities(labels)
    if not names:
        return {"not_run": f"These tests are for tasks of two or three ordered classes; this one has {len(labels)}."}
    asked = texts(cases)
    for text in asked:
        _check(text, answers, labels)
    marked = [_Marked(case, answers) for case in sorted(cases, key=lambda case: case.id)]
    by_cell: dict[tuple[str, str], list[_Marked]] = defaultdict(list)
    for one in marked:
        by_cell[one.case.capability, one.case.test].append(one)
    predicted = {answers[text]["predicted"] for text in asked}
    result: dict[str, Any] = {
        "not_run": None if cases else "There were no cases to answer.",
        "mapping": {_SIDES[side]: name for side, name in names.items()},
        "n_cases": len(cases),
        "n_texts": len(asked),
        "tolerance": TOLERANCE,
        "constant": len(predicted) == 1 and None not in predicted,
        "cells": [
            _cell(cell, by_cell[cell.capability, cell.test]) for cell in CELLS if by_cell[cell.capability, cell.test]
        ],
        "robust": _robust([one for one in marked if one.case.test == "INV"], several=True),
    }
    return result | {"sentences": sentences(result)}


class _Marked:
    """A case with its answers."""

    def __init__(self, case: Case, answers: Mapping[str, Answer]) -> None:
        self.case = case
        self.text, self.twin = clean(case.text), None if case.twin is None else clean(case.twin)
        after, before = answers[self.text], None if self.twin is None else answers[self.twin]
        self.got: str | None = after["predicted"]
        self.twin_got: str | None = None if before is None else before["predicted"]
        self.changed = self.twin is not None and self.text != self.twin
        self.unparsed = self.got is None or (before is not None and self.twin_got is None)
        self.flipped = case.twin is not None and not self.unparsed and self.got != self.twin_got
        self.right = self.got in case.expected
        self.twin_right = self.twin_got in case.expected
        self.after, self.before = (_probability(answer, case) for answer in (after, before))

    @property
    def move(self) -> float | None:
        """How far the probability of the target moved in the right direction."""
        return None if self.after is None or self.before is None else self.case.sign * (self.after - self.before)

    @property
    def failed(self) -> bool:
        """Whether the case failed, by its type of test."""
        if self.unparsed or self.case.test == "INV":
            return self.unparsed or self.flipped
        return not self.right if self.case.test == "MFT" else self.move is not None and self.move < -TOLERANCE

    def example(self) -> dict[str, Any]:
        """The case as an example of a failure."""
        case = self.case
        return {
            "id": case.id,
            "text": self.text,
            "twin": self.twin,
            "expected": list(case.expected),
            "got": self.got,
            "twin_got": self.twin_got,
            "target": case.target,
            "sign": case.sign,
            "probability": self.after,
            "twin_probability": self.before,
        }


def _probability(answer: Answer | None, case: Case) -> float | None:
    """What an answer to a DIR case gives to its target."""
    if answer is None or case.test != "DIR" or answer.get("probabilities") is None:
        return None
    return float(answer["probabilities"][case.target])


def _cell(cell: Cell, marked: Sequence[_Marked]) -> dict[str, Any]:
    scored = cell.test != "DIR" or all(one.move is not None for one in marked)
    result: dict[str, Any] = {
        "capability": cell.capability,
        "test": cell.test,
        "about": cell.about,
        "n": len(marked),
        "changed": None if cell.test == "MFT" else sum(one.changed for one in marked),
        "unparsed": sum(one.unparsed for one in marked),
        "failure": _share(marked, lambda one: one.failed) if scored else None,
    }
    if cell.test == "MFT":
        counts = Counter(label for one in marked for label in one.case.expected)
        commonest = max(counts, key=lambda label: (counts[label], label))
        result["trivial"] = {"label": commonest, "accuracy": counts[commonest] / len(marked)}
    elif cell.test == "INV":
        result["flips"] = _share(marked, lambda one: one.flipped)
        result["robust"] = _robust(marked)
        if any(one.case.target for one in marked):
            # Where the tweet alone has that answer already, nothing can be seen.
            free = [one for one in marked if one.twin_got != one.case.target]
            result["towards"] = _share(free, lambda one: one.got == one.case.target)
            result["elsewhere"] = _share(free, lambda one: one.flipped and one.got != one.case.target)
    elif scored:
        result["moved"] = _share(marked, lambda one: one.move is not None and one.move > TOLERANCE)
    result["examples"] = [one.example() for one in marked if scored and one.failed][:EXAMPLES]
    return result


def _robust(marked: Sequence[_Marked], *, several: bool = False) -> dict[str, Any]:
    """Shares of unperturbed tweets that are right, and that are right in every version as well."""
    versions: dict[str | None, list[_Marked]] = defaultdict(list)
    for one in marked:
        versions[one.twin].append(one)
    tweets = [each for each in versions.values() if len(each) > 1 or not several]
    return {
        "before": _share(tweets, lambda each: each[0].twin_right),
        "worst": _share(tweets, lambda each: each[0].twin_right and all(one.right for one in each)),
    }


def _share(items: Sequence[T], holds: Callable[[T], bool]) -> dict[str, Any]:
    """How many of the items it holds for, with the Wilson interval; the share of nothing is None."""
    count, n = sum(map(holds, items)), len(items)
    return {"count": count, "n": n, "value": count / n if n else None, **wilson(count, n).to_json()}


def _check(text: str, answers: Mapping[str, Answer], labels: Sequence[str]) -> None:
    where = f"behaviour, {text!r:.60}"
    answer = answers.get(text)
    if answer is None:
        raise PipelineError(f"{where}: no answer to this text; expected one to every text of the suite; evaluate again")
    if "predicted" not in answer or (answer["predicted"] is not None and answer["predicted"] not in labels):
        got = f"{answer.get('predicted', 'nothing')!r:.60}"
        raise PipelineError(f"{where}: predicted must be null or one of {', '.join(labels)}; got {got}; evaluate again")
    shares = answer.get("probabilities")
    if shares is not None and not (
        isinstance(shares, Mapping)
        and set(shares) == set(labels)
        and all(isinstance(p, int | float) and math.isfinite(p) and 0 <= p <= 1 for p in shares.values())
    ):
        raise PipelineError(
            f"{where}: probabilities must be null or give every label a number from 0 to 1; got {shares!r:.60}; "
            "evaluate again"
        )
