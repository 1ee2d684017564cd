"""Scores of a part of the test rows, and the difference of two parts, each with its interval."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring import metrics
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import Interval, around, bootstrap, free_rows, group_counts, wilson

# A part is one of dozens; the ends of its interval move by less than a tenth of its width between seeds.
PART_RESAMPLES = 2_000

Estimate = dict[str, float]


@dataclass(frozen=True)
class Answers:
    """What one system answered to some rows: classes as numbers below ``k``, ``k`` for unparsed.

    ``y_true``, ``y_pred`` and ``groups``, the numbers of their groups of near-duplicates, have shape ``(n,)``.
    """

    y_true: Counts
    y_pred: Counts
    groups: Counts
    k: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is the true class, shape ``(n,)``."""
        return np.asarray(self.y_true == self.y_pred)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))

    def part(self, inside: NDArray[np.bool_]) -> "Answers":
        """The rows where ``inside``, shape ``(n,)``, is true."""
        return Answers(self.y_true[inside], self.y_pred[inside], self.groups[inside], self.k)


def accuracy(answers: Answers, *, seed: int) -> Estimate:
    """Accuracy of one row or more: Wilson where every row is a group of its own, else the bootstrap over groups."""
    return share(answers.right, answers.groups, seed=seed)


def share(flags: NDArray[np.bool_], groups: Counts, *, seed: int) -> Estimate:
    """Share of one row or more for which ``flags`` ``(n,)`` is true, with the interval of ``accuracy``."""
    count, n = int(flags.sum()), len(flags)
    numbers = _numbered(groups)
    n_groups = int(numbers.max()) + 1
    if n_groups == n:
        return {"value": count / n, **wilson(count, n).to_json()}
    counts = group_counts(numbers, flags[:, None].astype(np.int64), 2)
    interval = _resampled(count / n, counts, lambda sums: np.asarray(sums[:, 1] / sums.sum(axis=1)), seed)
    if interval.low == interval.high or n_groups == 1:
        # No resample of rows that are all right holds an error.
        free = free_rows(groups)
        interval = wilson(round(count / n * free), free)
    return {"value": count / n, **interval.to_json()}


def macro_f1(answers: Answers, *, seed: int) -> Estimate | None:
    """Macro-F1 with its bootstrap interval; None where a class has no row, and the mean would not run over all."""
    k = answers.k
    if len(np.unique(answers.y_true)) < k:
        return None
    counts = group_counts(_numbered(answers.groups), (answers.y_true * (k + 1) + answers.y_pred)[:, None], k * (k + 1))

    def metric(sums: NDArray[Any]) -> Floats:
        return metrics.macro_f1(sums.reshape(-1, k, k + 1))

    value = float(metric(counts.sum(axis=0))[0])
    return {"value": value, **_resampled(value, counts, metric, seed).to_json()}


def difference(a: Mapping[str, float], b: Mapping[str, float]) -> Estimate:
    """``a`` minus ``b`` with the interval that follows from theirs when they were measured on different rows.

    The method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27); for two proportions
    with Wilson intervals it is Newcombe's hybrid score interval (1998).
    """
    value = a["value"] - b["value"]
    low = value - math.hypot(a["value"] - a["low"], b["high"] - b["value"])
    high = value + math.hypot(a["high"] - a["value"], b["value"] - b["low"])
    return {"value": value, "low": low, "high": high}


def _numbered(groups: Counts) -> Counts:
    """Groups numbered 0 to ``G - 1``: a part of the rows has a part of the groups."""
    return np.asarray(np.unique(groups, return_inverse=True)[1])


def _resampled(value: float, counts: Counts, metric: Callable[[NDArray[Any]], Floats], seed: int) -> Interval:
    if len(counts) == 1:
        # One group has only one resample, itself. Nothing is known.
        return Interval(0.0, 1.0)
    draws = bootstrap(counts, lambda sums: {"draws": metric(sums)}, seed=seed, resamples=PART_RESAMPLES)["draws"]
    return around(value, draws)
