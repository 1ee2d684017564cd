"""What doubtful labels and disagreeing people mean for the scores."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.scoring.parts import Answers, Estimate, accuracy, difference, macro_f1
from pipeline.scoring.verdict import at_start, name_of


def without_suspects(
    ids: Sequence[str],
    suspects: Collection[str],
    answers: Answers,
    scores: Mapping[str, Any],
    *,
    system: str,
    seed: int,
) -> dict[str, Any]:
    """Scores on all rows, and without those whose label the prepared data set doubts.

    Suspects are found by a classifier of words, so leaving them out flatters every system that errs as it does: this
    shows how far doubtful labels could move the scores, and is no score of its own.

    Args:
        ids: of the test rows, length ``n``.
        suspects: ids of doubted rows; those of other splits do not matter.
        answers: of the test rows.
        scores: ``accuracy`` and ``macro_f1`` of all rows, with ``value``, ``low`` and ``high``, as in ``metrics.json``.
        system: whose answers they are, for the sentence.
        seed: of the resampling.

    Returns:
        ``n``, ``suspects`` (how many test rows are doubted), ``all`` (``accuracy``, ``macro_f1``), ``without`` (the
        same and ``n``; None where none is doubted or all are) and ``sentence``, as in ``metrics.json``.
    """
    doubted = np.array([i in suspects for i in ids], dtype=bool)
    count, n = int(doubted.sum()), len(doubted)
    kept = answers.part(~doubted) if 0 < count < n else None
    result = {
        "n": n,
        "suspects": count,
        "all": {metric: _interval_of(scores[metric]) for metric in ("accuracy", "macro_f1")},
        "without": None
        if kept is None
        else {"n": n - count, "accuracy": accuracy(kept, seed=seed), "macro_f1": macro_f1(kept, seed=seed)},
    }
    return result | {"sentence": _sensitivity(result, name_of(system))}


def beside_people(raters: Mapping[str, Any] | None, scores: Mapping[str, Any], *, system: str) -> dict[str, Any] | None:
    """The system beside one person measured against the majority of the others.

    The interval of the difference follows from both intervals as if they came from different texts. Where the raters'
    items are the test rows themselves it is rather too wide.

    Args:
        raters: ``labels.raters`` of the prepared data set's manifest.
        scores: ``macro_f1`` of the system, with ``value``, ``low`` and ``high``, as in ``metrics.json``.
        system: whose scores they are, for the sentence.

    Returns:
        ``items``, ``krippendorff_alpha``, ``human`` and ``system`` (macro-F1), ``difference`` (system minus human) and
        ``sentence``; None where no raters are known.
    """
    if not raters or not raters.get("human_ceiling"):
        return None
    ceiling = raters["human_ceiling"]
    human = {"value": ceiling["macro_f1"], "low": ceiling["low"], "high": ceiling["high"]}
    ours = _interval_of(scores["macro_f1"])
    agreement = {"value": raters["krippendorff_alpha"], "low": raters.get("low"), "high": raters.get("high")}
    result = {
        "items": raters.get("items"),
        "krippendorff_alpha": None if agreement["value"] is None else agreement,
        "human": human,
        "system": ours,
        "difference": difference(ours, human),
    }
    return result | {"sentence": _ceiling(result, at_start(system))}


def _interval_of(scores: Mapping[str, float]) -> Estimate:
    return {key: scores[key] for key in ("value", "low", "high")}


def _sensitivity(result: Mapping[str, Any], system: str) -> str:
    count, n, without = result["suspects"], result["n"], result["without"]
    if count == 0:
        return f"The prepared data doubts the label of none of the {n:,} test tweets."
    if without is None:
        return f"The prepared data doubts the label of every test tweet ({n:,}): no score here means much."
    changes = "; ".join(
        f"{name} is {_estimate(without[key])} instead of {_estimate(result['all'][key])}"
        for key, name in (("macro_f1", "macro-F1"), ("accuracy", "accuracy"))
        if without[key] is not None
    )
    return (
        f"The prepared data doubts the label of {count:,} of {n:,} test tweets. Without them, {changes} for {system}. "
        "A classifier of words picked them, so this flatters; it shows how far doubtful labels could move the scores."
    )


def _ceiling(result: Mapping[str, Any], system: str) -> str:
    difference, human, ours = result["difference"], result["human"], result["system"]
    if difference["low"] > 0:
        finding = "above it: one person is less steady than the majority that the labels come from"
    elif difference["high"] < 0:
        finding = "below what one person reaches"
    else:
        finding = "not distinguishable from one person"
    agreement = result["krippendorff_alpha"]
    alpha = "" if agreement is None else f"; Krippendorff's alpha is {_estimate(agreement)}"
    items = "" if result["items"] is None else f" on {result['items']:,} tweets"
    return (
        f"One person, held against the majority of the others{items}, reaches macro-F1 {_estimate(human)}{alpha}. "
        f"{system} reaches {_estimate(ours)}, which is {finding}."
    )


def _estimate(estimate: Mapping[str, float | None]) -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
