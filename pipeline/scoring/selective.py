"""What a model is worth that may abstain: risk against coverage, who is left out, and a threshold from validation.

Rows are kept by confidence, the surest first. An unparsed answer is an error of confidence 0: it is abstained on first.
Rows of equal confidence stay or go together, since no threshold can part them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import norm

from pipeline.scoring.calibration import RESAMPLES, estimate, mass_bins, resampled_weights, share
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import LEVEL, free_rows

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
ACCURACY = 0.95
CURVE_POINTS = 100
# Resamples need not tell every two rows apart: up to this many are exact, more are merged with their neighbours.
_BLOCKS = 400


@dataclass(frozen=True)
class Ranked:
    """Answers with their confidence; classes are numbers, ``k`` is unparsed, and every array has shape ``(n,)``."""

    confidence: Floats
    y_true: Counts
    predicted: Counts
    groups: Counts

    @classmethod
    def of(cls, probabilities: Floats, y_true: Counts, predicted: Counts, groups: Counts) -> "Ranked":
        """Answers whose confidence is the probability of the predicted class, 0 where that is unparsed."""
        padded = np.column_stack([probabilities, np.zeros(len(probabilities))])
        return cls(np.take_along_axis(padded, predicted[:, None], axis=1)[:, 0], y_true, predicted, groups)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the answer is an error."""
        return np.asarray(self.predicted != self.y_true)

    def threshold(self, coverage: float) -> float:
        """The highest confidence that still keeps this share of the rows."""
        falling = np.sort(self.confidence)[::-1]
        return float(falling[math.ceil(coverage * len(falling) - 1e-9) - 1])


@dataclass(frozen=True)
class _Steps:
    """The rows kept at each threshold that exists, from the surest answer to all of them.

    ``order`` sorts the rows by falling confidence, ``starts`` are the places where a new confidence begins. The other
    three have one entry a threshold: rows kept, errors among them, and how many independent rows they are worth.
    """

    order: Counts
    starts: Counts
    kept: Counts
    errors: Counts
    free: Counts

    @classmethod
    def of(cls, ranked: Ranked) -> "_Steps":
        order = np.argsort(-ranked.confidence, kind="stable")
        sorted_confidence = ranked.confidence[order]
        starts = np.flatnonzero(np.diff(sorted_confidence, prepend=np.inf))
        kept = np.append(starts[1:], len(order))
        at = kept - 1
        # The row after s others of its group adds (s + 1)^2 - s^2 to the sum of the squared sizes.
        squares = np.cumsum(2 * _before_in_group(ranked.groups[order]) + 1)[at]
        return cls(order, starts, kept, np.cumsum(ranked.wrong[order])[at], kept**2 // squares)


def _before_in_group(groups: Counts) -> Counts:
    """How many rows of its own group stand before each row."""
    by_group = np.argsort(groups, kind="stable")
    _, first, sizes = np.unique(groups[by_group], return_index=True, return_counts=True)
    before = np.empty_like(groups)
    before[by_group] = np.arange(len(groups)) - np.repeat(first, sizes)
    return before


def aurc(errors: NDArray[Any], sizes: NDArray[Any]) -> Floats:
    """Area under the risk-coverage curve: the mean over ``j`` of the share of errors among the ``j`` surest rows.

    Geifman and El-Yaniv (2017). Within a block of equal confidence the order is chance, so the expected number of
    errors grows evenly there. The mean over the block is then, by harmonic numbers ``H``, with ``N`` rows and ``E``
    errors before it and ``m`` rows and ``e`` errors in it, ``(e + (E - e N / m) (H(N + m) - H(N))) / n``.

    Args:
        errors: errors in each block, the surest first, shape ``(..., blocks)``.
        sizes: rows in each block, whole numbers, 0 where a resample has none, shape ``(..., blocks)``.

    Returns:
        Shape ``(...)``, from 0 to 1.
    """
    after = np.cumsum(sizes, axis=-1)
    before = after - sizes
    errors_before = np.cumsum(errors, axis=-1) - errors
    n = int(after.max())
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])
    growth = harmonic[after.astype(np.intp)] - harmonic[before.astype(np.intp)]
    slope = np.divide(errors, sizes, out=np.zeros(np.shape(errors)), where=sizes > 0)
    return np.asarray((errors + (errors_before - slope * before) * growth).sum(axis=-1) / after[..., -1])


def areas(ranked: Ranked, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The area under the risk-coverage curve beside what chance and an oracle would reach with the same errors.

    Returns:
        ``aurc``; ``random``, the share of errors, which is the area when confidence says nothing; ``gain``, how far
        below that the area is; ``oracle``, the area when every error comes last; and ``coverage_at_accuracy``, the
        largest share of rows that can be kept with an accuracy of 95 %, 0 where there is none. That is the best of
        many places, so it flatters, and so does every resample: it has no interval.
    """
    n, steps = len(ranked.wrong), _Steps.of(ranked)
    total = int(steps.errors[-1])
    area = float(aurc(np.diff(steps.errors, prepend=0), np.diff(steps.kept, prepend=0)))
    draws = _draws(ranked, seed, resamples)
    return {
        "aurc": estimate(area, None if draws is None else draws[:, 0]),
        "random": estimate(total / n, None if draws is None else draws[:, 1]),
        "gain": estimate(total / n - area, None if draws is None else draws[:, 1] - draws[:, 0]),
        "oracle": float(aurc(np.array([0, total]), np.array([n - total, total]))),
        "coverage_at_accuracy": {"accuracy": ACCURACY, "value": _coverage(steps.errors, steps.kept)},
    }


def curve(ranked: Ranked) -> list[dict[str, Any]]:
    """The risk-coverage curve from the surest answers to all.

    Returns:
        At most 100 points with ``coverage``, ``threshold``, rows kept ``n``, and their ``risk``, ``low`` and ``high``.
    """
    steps = _Steps.of(ranked)
    places = np.unique(np.linspace(0, len(steps.kept) - 1, CURVE_POINTS).round().astype(np.int64))
    return [_point(ranked, steps, int(i)) for i in places]


def _draws(ranked: Ranked, seed: int, resamples: int) -> Floats | None:
    """Area and share of errors in each resample, shape ``(B, 2)``; None for one group."""
    block = mass_bins(-ranked.confidence, _BLOCKS)
    # Each row adds one to its block's rows and, if it is an error, one to the block's errors, else to a spare column.
    columns = np.column_stack([block, np.where(ranked.wrong, _BLOCKS + block, 2 * _BLOCKS)])

    def statistics(sums: Floats) -> Floats:
        sizes, errors = sums[:, :_BLOCKS], sums[:, _BLOCKS:-1]
        shares = errors.sum(axis=1) / sizes.sum(axis=1)
        return np.column_stack([aurc(errors, sizes), shares])

    return _resampled(ranked.groups, columns, 2 * _BLOCKS + 1, statistics, seed=seed, resamples=resamples)


def _resampled(
    groups: Counts, columns: Counts, width: int, statistics: Callable[[Floats], Floats], *, seed: int, resamples: int
) -> Floats | None:
    """Statistics ``(B, ...)`` of counts summed over resampled groups; None where there is only one group.

    Each row adds one to its ``columns``, shape ``(n, r)``, of ``width`` columns. ``intervals.bootstrap`` first
    looks for groups that count alike; here hardly any do.
    """
    n_groups, r = int(groups.max()) + 1, columns.shape[1]
    if n_groups == 1:
        return None
    rows = np.repeat(groups, r)
    table = csr_array((np.ones(columns.size), (rows, columns.ravel())), shape=(n_groups, width))
    weights = resampled_weights(n_groups, seed=seed, resamples=resamples)
    return np.concatenate([statistics(np.asarray(chunk @ table)) for chunk in weights])


def _coverage(errors: NDArray[Any], kept: NDArray[Any]) -> float:
    """The largest share of rows that can be kept with an accuracy of 95 %, from running sums ``(steps,)``."""
    # The slack is for 1 - 0.95, which is a little more than 0.05.
    enough = np.where(errors <= (1 - ACCURACY) * kept + 1e-9, kept, 0)
    return float(enough.max() / kept[-1])


def _point(ranked: Ranked, steps: _Steps, i: int) -> dict[str, Any]:
    kept = int(steps.kept[i])
    risk = share(int(steps.errors[i]), kept, int(steps.free[i]))
    return {
        "coverage": kept / len(steps.order),
        "threshold": float(ranked.confidence[steps.order[kept - 1]]),
        "n": kept,
        "risk": risk["value"],
        "low": risk["low"],
        "high": risk["high"],
    }


def at_thresholds(
    ranked: Ranked, thresholds: Iterable[float], labels: Sequence[str], *, seed: int = 0
) -> list[dict[str, Any]]:
    """What is left when answers below each threshold are withheld.

    Returns:
        For each threshold: rows kept ``n`` and ``coverage``; ``accuracy`` and ``macro_f1`` among them, null where none
        is kept; ``classes``, the share of each true class that is kept, null for a class without rows; and
        ``least_kept``, the class that loses most, the first where several do.
    """
    thresholds = list(thresholds)
    k = len(labels)
    kept = ranked.confidence[:, None] >= np.array(thresholds)
    # F1 is 2 TP / (support + predicted). At each threshold a kept row adds one to its class's support and one to its
    # prediction, in one column, and if it is right one to TP; a spare column takes what adds nothing.
    width = 2 * k + 1
    sums_of = [ranked.y_true, np.where(ranked.predicted < k, ranked.predicted, 2 * k)]
    added = np.stack([*sums_of, np.where(ranked.wrong, 2 * k, k + ranked.y_true)], axis=1)
    columns = np.where(kept[:, :, None], added[:, None, :], 2 * k) + width * np.arange(len(thresholds))[:, None]
    columns, n_columns = columns.reshape(len(kept), -1), width * len(thresholds)

    def macro_f1(sums: Floats) -> Floats:
        split = sums.reshape(len(sums), len(thresholds), width)
        both, hits = split[..., :k], split[..., k : 2 * k]
        return np.asarray(np.divide(2 * hits, both, out=np.zeros(both.shape), where=both > 0).mean(axis=-1))

    point = macro_f1(np.bincount(columns.ravel(), minlength=n_columns)[None].astype(np.float64))[0]
    draws = _resampled(ranked.groups, columns, n_columns, macro_f1, seed=seed, resamples=RESAMPLES)
    result = []
    for i, threshold in enumerate(thresholds):
        rows, every = kept[:, i], np.ones(len(kept), dtype=bool)
        n = int(rows.sum())
        classes = {label: _share(ranked, rows, ranked.y_true == c) for c, label in enumerate(labels)}
        present = {label: one["value"] for label, one in classes.items() if one is not None}
        result.append(
            {
                "threshold": threshold,
                "n": n,
                "coverage": _share(ranked, rows, every),
                "accuracy": _share(ranked, ~ranked.wrong, rows),
                "macro_f1": estimate(float(point[i]), None if draws is None else draws[:, i]) if n else None,
                "classes": classes,
                "least_kept": min(present, key=lambda label: present[label]),
            }
        )
    return result


def _share(ranked: Ranked, hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> dict[str, Any] | None:
    n = int(among.sum())
    if n == 0:
        return None
    return {"n": n, **share(int((hits & among).sum()), n, free_rows(ranked.groups[among]))}


def recommend(validation: Ranked, target: float) -> float | None:
    """The lowest confidence above which validation answers are surely right often enough.

    Surely: the lower end of the Wilson interval of their accuracy is ``target`` or more, which is the case when the
    score test rejects ``target``. Rows in groups count as in ``free_rows``. Unparsed answers are never kept.

    Returns:
        The threshold, or None where no threshold gives that.
    """
    steps = _Steps.of(validation)
    thresholds = validation.confidence[steps.order[steps.kept - 1]]
    z = float(norm.ppf((1 + LEVEL) / 2))
    accuracy = 1 - steps.errors / steps.kept
    enough = accuracy - target >= z * np.sqrt(target * (1 - target) / steps.free)
    fit = np.flatnonzero(enough & (thresholds > 0))
    return float(thresholds[fit[-1]]) if len(fit) else None
