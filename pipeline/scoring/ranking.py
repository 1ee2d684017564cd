"""How well the probabilities rank the tweets, whatever the threshold, and which classes are answered too often."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import pinvh
from scipy.stats import chi2

from pipeline.scoring.calibration import resampled_weights
from pipeline.scoring.comparison import ALPHA
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import Interval, bootstrap, group_counts, percentiles, wilson

# Every resample sorts its weights anew for every class, so there are fewer than for counts.
RESAMPLES = 1_000
CURVE_POINTS = 150
_CHUNK = 50
_SCORES = ("average_precision", "roc_auc")


def ranking(
    y_true: Counts,
    y_pred: Counts,
    probabilities: Mapping[str, Floats],
    *,
    groups: Counts,
    labels: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """The content of ``metrics.json`` under ``ranking``.

    For each system and class: average precision and area under the ROC curve, one class against the rest, with the
    percentile interval of a bootstrap over groups, and the precision-recall curve. A score is null where it is not
    defined: a class without rows has none, one that all rows are of has no ROC curve. Resamples where a score is
    not defined are left out. All systems share the resamples.

    Args:
        y_true: true classes, shape ``(n,)``.
        y_pred: the headline answers of the judged system, shape ``(n,)``; ``k`` is unparsed.
        probabilities: system -> probability of each class, shape ``(n, k)``.
        groups: number of each row's group, 0 to ``G - 1``, shape ``(n,)``.
        labels: the ``k`` classes in their order.
        seed: of the resampling.
    """
    support = np.bincount(y_true, minlength=len(labels))
    weights = group_weights(int(groups.max()) + 1, resamples=RESAMPLES, seed=seed)
    return {
        "resamples": RESAMPLES,
        "seed": seed,
        "n": len(y_true),
        "prevalence": dict(zip(labels, (support / len(y_true)).tolist(), strict=True)),
        "systems": {name: _system(y_true, scores, groups, labels, weights) for name, scores in probabilities.items()},
        "bias": marginal_bias(y_true, y_pred, groups=groups, labels=labels, seed=seed),
    }


def _system(
    y_true: Counts, probabilities: Floats, groups: Counts, labels: Sequence[str], weights: NDArray[np.float32]
) -> dict[str, Any]:
    sides = [(probabilities[:, c], y_true == c) for c in range(len(labels))]
    points = np.stack([ranking_scores(*side, groups, np.ones((len(weights), 1))) for side in sides])
    draws = np.stack([ranking_scores(*side, groups, weights) for side in sides])
    # A ranking is as sure as the rarer side of it, counted in groups.
    free = [min(len(np.unique(groups[positive])), len(np.unique(groups[~positive]))) for _, positive in sides]

    def estimates(point: Floats, resampled: Floats, free: int) -> dict[str, Any]:
        return {
            name: estimate(point[i, 0], resampled[i], groups=len(weights), free=free) for i, name in enumerate(_SCORES)
        }

    return {
        "macro": estimates(_mean_defined(points), _mean_defined(draws), min((f for f in free if f), default=0)),
        "classes": {
            label: {
                "n": int(sides[c][1].sum()),
                **estimates(points[c], draws[c], free[c]),
                "curve": precision_recall_curve(*sides[c]),
            }
            for c, label in enumerate(labels)
        },
    }


def group_weights(n_groups: int, *, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each group is drawn in each resample of ``n_groups`` groups, shape ``(n_groups, resamples)``.

    Single precision holds every count, and every sum of counts, of fewer than 16 million rows.
    """
    chunks = resampled_weights(n_groups, seed=seed, resamples=resamples)
    return np.ascontiguousarray(np.concatenate([chunk.astype(np.float32) for chunk in chunks]).T)


def ranking_scores(
    scores: Floats, positive: NDArray[np.bool_], groups: Counts, weights: NDArray[np.floating[Any]]
) -> Floats:
    """Average precision and area under the ROC curve of one ranking, for many sets of weights of its groups.

    Average precision is ``sum_t (R_t - R_(t-1)) P_t`` over the thresholds ``t`` from high to low; equal scores share
    a threshold. The area is the chance that a positive row is ranked above a negative one, a tie counting half
    (Mann and Whitney 1947).

    Args:
        scores: shape ``(n,)``.
        positive: whether a row is of the class, shape ``(n,)``.
        groups: number of each row's group, shape ``(n,)``.
        weights: how often each group counts, shape ``(G, b)``.

    Returns:
        Shape ``(2, b)``: nan where no positive row counts, and for the area where no negative one does.
    """
    order, first, end, hits_at = _thresholds(scores, positive)
    result = np.full((2, weights.shape[1]), np.nan)
    if not len(first):
        return result
    rows, positive_rows = groups[order], positive[order]
    for start in range(0, weights.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        ordered = weights[rows, chunk]
        cumulated = np.zeros((len(rows) + 1, ordered.shape[1]), dtype=weights.dtype)
        np.cumsum(ordered, axis=0, out=cumulated[1:])
        before, until = cumulated[first], cumulated[end]
        hits = np.add.reduceat(ordered[positive_rows], hits_at, axis=0)
        found = np.cumsum(hits, axis=0)
        positives = found[-1].astype(np.float64)
        pairs = positives * (cumulated[-1] - positives)
        precision = np.divide(found, until, out=np.zeros_like(found), where=until > 0)
        np.divide((hits * precision).sum(axis=0), positives, out=result[0, chunk], where=positives > 0)
        # Pairs lost: the negatives above a threshold, and half of those that share it.
        above_twice = before - (found - hits) + until - found
        lost = np.einsum("tb,tb->b", hits, above_twice, dtype=np.float64) / 2
        np.divide(pairs - lost, pairs, out=result[1, chunk], where=pairs > 0)
    return result


def _thresholds(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Counts, Counts, Counts, Counts]:
    """The rows from high to low score, cut at the distinct scores that positive rows have.

    Returns:
        The order of the rows; for each such score the place of its first row, the place after its last one, and how
        many positive rows stand before it.
    """
    order = np.argsort(-scores, kind="stable")
    end = np.append(np.flatnonzero(np.diff(scores[order])) + 1, len(scores))
    first = np.concatenate([[0], end[:-1]])
    found = np.concatenate([[0], np.cumsum(positive[order])])
    kept = found[end] > found[first]
    return order, first[kept], end[kept], found[first[kept]]


def precision_recall_curve(scores: Floats, positive: NDArray[np.bool_]) -> list[list[float]]:
    """Points (recall, precision) from the highest threshold to the lowest, ``CURVE_POINTS`` at most, to 4 digits.

    Of the thresholds only those that raise recall are kept, and of these the first at each of evenly spaced values of
    recall. Empty without positive rows.
    """
    order, _, end, _ = _thresholds(scores, positive)
    if not len(end):
        return []
    found = np.cumsum(positive[order])[end - 1]
    recall = found / found[-1]
    kept = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1, CURVE_POINTS)))
    points: list[list[float]] = np.column_stack([recall, found / end])[kept].round(4).tolist()
    return points


def _mean_defined(values: Floats) -> Floats:
    """Mean over the first axis of what is not nan; nan where nothing is left."""
    defined = np.isfinite(values)
    total, count = np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def estimate(value: float, draws: Floats, *, groups: int, free: int) -> dict[str, float] | None:
    """A value from 0 to 1 with its percentile interval; None where the value is not defined.

    Where no resample differs, such as in a perfect ranking, the interval is Wilson's for ``free`` rows: nobody is
    surer than the number of independent rows that could have shown otherwise. With one group nothing is known.
    """
    if not np.isfinite(value):
        return None
    value = float(value)
    low, high = percentiles(draws[np.isfinite(draws)].astype(np.float64)) if groups > 1 else (0.0, 1.0)
    if low == high:
        low, high = wilson(round(value * free), free)
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value)}


def marginal_bias(
    y_true: Counts, y_pred: Counts, *, groups: Counts, labels: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """Whether a system answers some classes too often: its shares of the answers against the true shares.

    Rows with an unparsed answer are left out and counted. Homogeneity (Stuart 1955, Maxwell 1970): are the two
    distributions the same? Symmetry (Bowker 1948): is class ``i`` called ``j`` as often as ``j`` is called ``i``?
    Both sum up by group, after Durkalski et al. 2003, and are the classical tests where each group is one row.
    Results are null where there is nothing to test.
    """
    k = len(labels)
    parsed = y_pred < k
    n, n_groups = int(parsed.sum()), int(groups.max()) + 1
    result: dict[str, Any] = {"n": n, "unparsed": int((~parsed).sum())}
    if n == 0:
        return {**result, "classes": {}, "largest": None, "homogeneity": None, "symmetry": None}
    tables = group_counts(groups, (y_true * (k + 1) + y_pred)[:, None], k * (k + 1)).reshape(-1, k, k + 1)[..., :k]
    margins = np.concatenate([tables.sum(axis=2), tables.sum(axis=1)], axis=1)

    def differences(sums: Floats) -> dict[str, NDArray[Any]]:
        rows = np.maximum(1, sums[:, :k].sum(axis=1, keepdims=True))
        return {"difference": (sums[:, k:] - sums[:, :k]) / rows}

    point = differences(margins.sum(axis=0, keepdims=True).astype(np.float64))["difference"][0]
    low, high = percentiles(bootstrap(margins, differences, seed=seed, resamples=RESAMPLES)["difference"])
    if not (y_true != y_pred)[parsed].any():
        # Answers that are all right leave no trace of how many are wrong elsewhere.
        high = np.full(k, wilson(0, len(np.unique(groups[parsed]))).high)
        low = -high
    if n_groups == 1:
        low, high = np.full(k, -1.0), np.full(k, 1.0)
    shares = margins.sum(axis=0) / n
    homogeneity = _score_test(margins[:, k:] - margins[:, :k])
    upper = np.triu_indices(k, 1)
    return {
        **result,
        "classes": {
            label: {
                "true": float(shares[c]),
                "predicted": float(shares[k + c]),
                "difference": {
                    "value": float(point[c]),
                    **Interval(min(float(low[c]), float(point[c])), max(float(high[c]), float(point[c]))).to_json(),
                },
            }
            for c, label in enumerate(labels)
        },
        "largest": labels[_most_biased(point, low, high)],
        "distinguishable": homogeneity is not None and homogeneity["p_value"] < ALPHA,
        "homogeneity": homogeneity,
        "symmetry": _score_test((tables - tables.transpose(0, 2, 1))[:, *upper]),
    }


def _most_biased(point: Floats, low: Floats, high: Floats) -> int:
    """The class with the largest difference among those whose interval excludes 0, if there is one."""
    sure = (low > 0) | (high < 0)
    return int(np.where(sure if sure.any() else True, np.abs(point), -1).argmax())


def _score_test(moves: Counts) -> dict[str, Any] | None:
    """Whether independent groups' contributions ``(G, m)`` sum to zero but for chance: ``s' V^+ s``, chi-square.

    ``V`` is the sum of their outer products. The degrees of freedom are its rank, so that classes or pairs that never
    occur cost none. None where no group contributes anything.
    """
    total = moves.sum(axis=0).astype(np.float64)
    inverse, rank = pinvh((moves.T @ moves).astype(np.float64), return_rank=True)
    if rank == 0:
        return None
    statistic = float(total @ inverse @ total)
    return {"statistic": statistic, "df": int(rank), "p_value": float(chi2.sf(statistic, rank))}
