"""What a logit adjustment that was fitted on validation rows does to the test rows, class by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring import metrics, parts
from pipeline.scoring.adjustment import adjusted, fit_tau, offsets, pair_counts
from pipeline.scoring.comparison import ALPHA, permutation_test
from pipeline.scoring.confidence import Answers
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import Interval, around, bootstrap, free_rows, wilson
from pipeline.scoring.verdict import p_text, percent_text, signed_text

_MEANS = {
    "macro_f1": metrics.macro_f1,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_precision": metrics.macro_precision,
}
_OF_CLASSES = {"recall": metrics.recall, "precision": metrics.precision, "f1": metrics.f1}


def adjustment(
    test: Answers, validation: Answers, labels: Sequence[str], *, shares: Floats | None, seed: int = 0
) -> dict[str, Any]:
    """The content of ``metrics.json`` under ``adjustment``: the likelihood reading without and with offsets.

    The strength comes from the validation rows alone, and the test only says what it does. Where it stays 0, ``after``
    is ``before``. The headline is neither.

    Args:
        test: answers to the test rows.
        validation: answers to the validation rows.
        labels: the ``k`` classes.
        shares: of the classes among the train rows, shape ``(k,)``; None where a class has none or nothing is known.
        seed: of the resampling.

    Returns:
        ``n_validation``, ``train`` (class -> share), ``fitted`` (as of ``fit_tau``, with ``offsets``), ``test``
        (``flips``, the share of answers that change; ``before`` and ``after``; ``difference`` of macro-F1) and
        ``sentence``. ``fitted`` and ``test`` are None where nothing could be fitted.
    """
    result: dict[str, Any] = {
        "n_validation": len(validation.y_true),
        "train": None if shares is None else dict(zip(labels, shares.tolist(), strict=True)),
        "fitted": None,
        "test": None,
    }
    found = None
    if shares is not None:
        found = fit_tau(validation.log_likelihoods, validation.y_true, validation.groups, shares)
    if shares is not None and found is not None:
        added = offsets(found["tau"], shares)
        result["fitted"] = {**found, "offsets": dict(zip(labels, added.tolist(), strict=True))}
        before, after = (adjusted(test.log_likelihoods, each) for each in (np.zeros(len(labels)), added))
        result["test"] = _effect(test.y_true, before, after, test.groups, labels, seed)
    return result | {"sentence": _sentence(result)}


def _effect(
    y_true: Counts, before: Counts, after: Counts, groups: Counts, labels: Sequence[str], seed: int
) -> dict[str, Any]:
    counts = pair_counts(y_true, before, after, groups, len(labels))
    shape = counts.shape[1:]

    def statistics(sums: Floats) -> dict[str, NDArray[Any]]:
        matrices = sums.reshape(-1, *shape)
        return {name: metric(matrices) for name, metric in {**_OF_CLASSES, **_MEANS}.items()}

    flat = counts.reshape(len(counts), -1)
    point, draws = statistics(flat.sum(axis=0)), bootstrap(flat, statistics, seed=seed)

    def resampled(value: float, drawn: Floats, least: float = 0.0) -> dict[str, float]:
        # One group has only one resample, itself. Nothing is known.
        interval = around(value, drawn) if len(counts) > 1 else Interval(least, 1.0)
        return {"value": value, **interval.to_json()}

    def share(name: str, i: int, c: int, among: NDArray[np.bool_]) -> dict[str, float] | None:
        """The share of right answers among some rows, with the kind of interval that the headline has."""
        if not among.any():
            return None
        value, n = float(point[name][0, i, c]), int(among.sum())
        if len(counts) == len(groups):
            return {"value": value, **wilson(round(value * n), n).to_json()}
        found = resampled(value, draws[name][:, i, c])
        if found["low"] < found["high"]:
            return found
        # No resample of rows that are all right holds an error.
        free = min(n, free_rows(groups))
        return {"value": value, **wilson(round(value * free), free).to_json()}

    def reading(i: int, y_pred: Counts) -> dict[str, Any]:
        answers = parts.Answers(y_true, y_pred, groups, len(labels))
        classes = {
            label: {
                "support": int((y_true == c).sum()),
                "predicted": int((y_pred == c).sum()),
                "recall": share("recall", i, c, y_true == c),
                "precision": share("precision", i, c, y_pred == c),
                "f1": resampled(float(point["f1"][0, i, c]), draws["f1"][:, i, c]) if (y_true == c).any() else None,
            }
            for c, label in enumerate(labels)
        }
        means = {name: resampled(float(point[name][0, i]), draws[name][:, i]) for name in _MEANS}
        return {**means, "accuracy": parts.accuracy(answers, seed=seed), "classes": classes}

    macro, drawn = point["macro_f1"][0], draws["macro_f1"]
    difference = resampled(float(macro[1] - macro[0]), drawn[:, 1] - drawn[:, 0], -1.0)
    p_value = permutation_test(counts[:, 1], counts[:, 0], metrics.macro_f1, seed=seed)
    sure = p_value < ALPHA and not difference["low"] <= 0 <= difference["high"]
    return {
        "flips": parts.share(before != after, groups, seed=seed),
        "before": reading(0, before),
        "after": reading(1, after),
        "difference": {**difference, "p_value": p_value, "distinguishable": sure},
    }


def _sentence(result: Mapping[str, Any]) -> str:
    n, fitted, test = f"{result['n_validation']:,} validation tweets", result["fitted"], result["test"]
    if fitted is None:
        return (
            f"No adjustment could be fitted on {n}: they are fewer than 20 or of one class, or the prepared data "
            "counts no train tweet of some class."
        )
    if fitted["best"] == 0:
        return f"Fitted on {n}: no adjustment was better."
    if fitted["tau"] == 0:
        error = "of one group it has no error" if fitted["error"] is None else f"its error is {fitted['error']:.3f}"
        return (
            f"Fitted on {n}: no adjustment was better by more than luck may be. That of tau = {_tau(fitted['best'])} "
            f"gains {fitted['gain']:.3f} of macro-F1 there; {error}."
        )
    return f"{_effect_sentence(result, n)} {_rarest_sentence(result['train'], test)}"


def _effect_sentence(result: Mapping[str, Any], n: str) -> str:
    before, after = (result["test"][name]["macro_f1"]["value"] for name in ("before", "after"))
    difference = result["test"]["difference"]
    ends = f"{signed_text(difference['low'])} to {signed_text(difference['high'])}"
    finding = "not distinguishable"
    if difference["distinguishable"]:
        finding = "better" if difference["value"] > 0 else "worse"
    tau, p = _tau(result["fitted"]["tau"]), p_text(difference["p_value"])
    return (
        f"With tau = {tau}, fitted on {n}, macro-F1 of the likelihood reading on the test is {after:.3f} instead of "
        f"{before:.3f} (95 % interval of the difference {ends}; {p}), which is {finding}."
    )


def _rarest_sentence(train: Mapping[str, float], test: Mapping[str, Any]) -> str:
    label = min(train, key=lambda each: train[each])
    before, after = (test[name]["classes"][label] for name in ("before", "after"))
    if before["recall"] is None:
        return f"The test has no tweet of {label}, the rarest class in training."
    return (
        f"Of {label}, the rarest class in training, it finds {percent_text(after['recall']['value'])} instead of "
        f"{percent_text(before['recall']['value'])}, with {after['predicted']:,} answers instead of "
        f"{before['predicted']:,}."
    )


def _tau(tau: float) -> str:
    return f"{tau:g}".replace("-", "−")
