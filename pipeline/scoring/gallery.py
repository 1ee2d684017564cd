"""The errors in the order in which they are worth reading."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.scoring.sample import headline_answer

ERRORS_SHOWN = 40
ERRORS_UNFOLDED = 10
UNPARSED_SHOWN = 10


def gallery(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], candidate: str, *, ordered: bool
) -> dict[str, Any]:
    """The candidate's errors for the page: the first of ``in_order``, with how many there are.

    Returns:
        ``wrong`` and ``wrong_folded``, ``wrong_total``, ``opposite_total`` (how many of the wrong are at the other end
        of the scale), ``unparsed`` and ``unparsed_total``.
    """
    wrong, unparsed = in_order(predictions, labels, candidate, ordered=ordered)
    return {
        "wrong": wrong[:ERRORS_UNFOLDED],
        "wrong_folded": wrong[ERRORS_UNFOLDED:ERRORS_SHOWN],
        "wrong_total": len(wrong),
        "opposite_total": sum(error["opposite"] for error in wrong),
        "unparsed": unparsed[:UNPARSED_SHOWN],
        "unparsed_total": len(unparsed),
    }


def in_order(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], candidate: str, *, ordered: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The candidate's wrong labels, and apart from them its unparsed answers.

    Opposite classes come first: of three or more ordered ones, the lowest taken for the highest or the reverse. Then
    the surest come first, those without a confidence last, then by id.

    Args:
        predictions: the rows of ``predictions.jsonl``.
        labels: the classes, from low to high where they are ordered.
        candidate: the system whose errors they are.
        ordered: whether the classes go from low to high.

    Returns:
        Two lists of rows with ``predicted`` (None where unparsed), ``completion`` as the model wrote it (None where
        the system writes nothing), ``confidence`` (the predicted label's share of all labels' likelihoods, or None)
        and ``opposite``.
    """
    ends = {labels[0], labels[-1]} if ordered and len(labels) > 2 else set()
    wrong: list[dict[str, Any]] = []
    unparsed: list[dict[str, Any]] = []
    for row in predictions:
        answer = row["systems"][candidate]
        predicted = headline_answer(candidate, answer)
        if predicted == row["label"]:
            continue
        error = {
            **row,
            "predicted": predicted,
            "completion": answer.get("completion"),
            "confidence": None if predicted is None else _confidence(answer, predicted),
            "opposite": {row["label"], predicted} == ends,
        }
        (unparsed if predicted is None else wrong).append(error)
    wrong.sort(key=lambda e: (not e["opposite"], 1 if e["confidence"] is None else -e["confidence"], e["id"]))
    unparsed.sort(key=lambda e: e["id"])
    return wrong, unparsed


def _confidence(answer: Mapping[str, Any], predicted: str) -> float | None:
    scores = answer.get("log_likelihoods")
    if scores is None:
        probability = answer.get("probabilities", {}).get(predicted)
        return None if probability is None else float(probability)
    largest = max(scores.values())
    return float(math.exp(scores[predicted] - largest) / sum(math.exp(score - largest) for score in scores.values()))
