"""The report's section on confidence: what goes into ``metrics.json`` under ``confidence``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.scoring.calibration import RESAMPLES, calibration_error, class_reliability, proper_scores
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.selective import COVERAGES, Ranked, areas, at_thresholds, curve, recommend
from pipeline.scoring.temperature import fit_temperature, temperature_effect, tempered

TARGET = 0.9


@dataclass(frozen=True)
class Answers:
    """A model's answers to the rows of one split; classes are numbers, and in ``predicted`` ``k`` is unparsed.

    ``log_likelihoods`` of the classes have shape ``(n, k)``, all else has shape ``(n,)``: true classes, the classes of
    the headline reading, and groups numbered 0 to ``G - 1``.
    """

    log_likelihoods: Floats
    y_true: Counts
    predicted: Counts
    groups: Counts

    def __post_init__(self) -> None:
        n, k = self.log_likelihoods.shape
        if n == 0 or not len(self.y_true) == len(self.predicted) == len(self.groups) == n:
            raise ValueError(
                f"expected one length of at least 1, got {n} rows of log_likelihoods, {len(self.y_true)} of y_true, "
                f"{len(self.predicted)} of predicted, {len(self.groups)} of groups"
            )
        if not np.isfinite(self.log_likelihoods).all():
            raise ValueError("log_likelihoods must be finite")
        if self.y_true.max() >= k or self.predicted.max() > k:
            raise ValueError(f"expected classes below {k}, or {k} for an unparsed prediction")

    def in_order(self) -> "Answers":
        """The same rows in an order of their own, so that no sum depends on the order in which they came."""
        order = np.lexsort((*self.log_likelihoods.T, self.y_true, self.predicted, self.groups))
        return Answers(self.log_likelihoods[order], self.y_true[order], self.predicted[order], self.groups[order])

    def ranked(self) -> Ranked:
        """The answers by the probability that the model gives its prediction."""
        return Ranked.of(tempered(self.log_likelihoods), self.y_true, self.predicted, self.groups)


def confidence(
    test: Answers,
    labels: Sequence[str],
    *,
    validation: Answers | None = None,
    priors: Floats | None = None,
    target: float = TARGET,
    seed: int = 0,
) -> dict[str, Any]:
    """How far the model's probabilities can be trusted, and what it is worth when it may abstain.

    ``calibration`` is about the likelihood reading, whose class is the likeliest; ``selective`` about the headline
    reading, whose confidence is the probability of the class predicted. Temperature and threshold come from the
    validation rows alone, and the test only says what they do.

    Args:
        test: answers to the test rows, in any order.
        labels: the ``k`` classes.
        validation: answers to the validation rows; without them there is no temperature and no threshold.
        priors: class shares of the train rows, shape ``(k,)``, as the constant prediction to beat; else the test's.
        target: accuracy of the kept answers that the recommended threshold aims at.
        seed: of the resampling.
    """
    test = test.in_order()
    validation = None if validation is None else validation.in_order()
    probabilities, ranked = tempered(test.log_likelihoods), test.ranked()
    threshold = None if validation is None else recommend(validation.ranked(), target)
    thresholds = [ranked.threshold(coverage) for coverage in COVERAGES]
    on_test = at_thresholds(ranked, thresholds + ([] if threshold is None else [threshold]), labels, seed=seed)
    return {
        "n": len(test.y_true),
        "groups": int(test.groups.max()) + 1,
        "resamples": RESAMPLES,
        "calibration": {
            **proper_scores(probabilities, test.y_true, test.groups, priors=priors, seed=seed),
            **calibration_error(probabilities, test.y_true, test.groups, seed=seed),
            "classes": class_reliability(probabilities, test.y_true, test.groups, labels),
        },
        "temperature": None if validation is None else _temperature(test, validation, seed),
        "selective": {
            **areas(ranked, seed=seed),
            "curve": curve(ranked),
            "at_coverage": [
                {"asked": asked, **found} for asked, found in zip(COVERAGES, on_test[: len(COVERAGES)], strict=True)
            ],
            "recommended": None
            if validation is None
            else {
                "target": target,
                "n_validation": len(validation.y_true),
                "threshold": threshold,
                "validation": None
                if threshold is None
                else at_thresholds(validation.ranked(), [threshold], labels, seed=seed)[0],
                "test": None if threshold is None else on_test[-1],
            },
        },
    }


def _temperature(test: Answers, validation: Answers, seed: int) -> dict[str, Any]:
    fitted = fit_temperature(validation.log_likelihoods, validation.y_true, validation.groups)
    found: dict[str, Any] = {"n_validation": len(validation.y_true), "fitted": fitted, "test": None}
    if fitted is not None:
        temperature = fitted["value"]
        found["test"] = temperature_effect(test.log_likelihoods, test.y_true, test.groups, temperature, seed=seed)
    return found
