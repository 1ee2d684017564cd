"""What if the classes were distributed otherwise: the same answers under other shares of the classes.

Nothing here is a measurement of the test set, and none of it belongs in a headline. It assumes that only the shares of
the classes change, and that the tweets of each class stay as they are (prior shift).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.scoring import metrics
from pipeline.scoring.confusion import Counts, Floats, recall_view
from pipeline.scoring.intervals import bootstrap, group_counts
from pipeline.scoring.ranking import estimate, group_weights

# Each resample runs the whole estimation again.
RESAMPLES = 200
_TOLERANCE = 1e-6
# The ends of an interval are read to two digits.
_DRAW_TOLERANCE = 1e-5
_MOST_STEPS = 1_000
_CHUNK = 20
_SMALLEST = 1e-250


def priors(
    y_true: Counts,
    y_pred: Counts,
    *,
    groups: Counts,
    labels: Sequence[str],
    given: Mapping[str, float] | None = None,
    probabilities: Floats | None = None,
    train: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The content of ``metrics.json`` under ``priors``: scores under uniform, given and estimated shares.

    Args:
        y_true: true classes, shape ``(n,)``.
        y_pred: answers, shape ``(n,)``; ``k`` is unparsed.
        groups: number of each row's group, 0 to ``G - 1``, shape ``(n,)``.
        labels: the ``k`` classes in their order.
        given: share of each class that the user asks for, as ``check_priors`` makes it.
        probabilities: the system's probabilities, shape ``(n, k)``; they should be calibrated.
        train: rows of each class that the system learnt from. Without these two nothing is estimated.
        seed: of the resampling.
    """
    k = len(labels)
    estimated = None
    if probabilities is not None and train is not None and any(train.get(label) for label in labels):
        shares = np.array([train.get(label, 0) for label in labels], dtype=np.float64)
        estimated = _estimated(probabilities, shares / shares.sum(), y_true, groups, labels, seed)
    scenarios = {"uniform": np.full(k, 1 / k)}
    if given is not None:
        scenarios["given"] = np.array([given[label] for label in labels])
    if estimated is not None and not estimated["single"]:
        scenarios["estimated"] = np.array([estimated["classes"][label]["estimated"]["value"] for label in labels])
    return {
        "what_if": True,
        "scenarios": _scores(y_true, y_pred, groups, labels, scenarios, seed),
        "estimate": estimated,
    }


# An estimate that gives one class all of the set is of probabilities that do not fit it: under such shares, an answer
# is right as soon as it is that class.
_ALL = 0.995
# Shares that were rounded to two digits may add up to a little more or less than 1.
_ROUNDING = 0.02


def check_priors(given: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Shares of the classes as a user gives them, in the order of ``labels``. Percentages and counts are scaled to 1.

    Raises:
        PipelineError: a class is missing or unknown, or a share is not a number from 0 up, or all are 0.
    """
    expected = ", ".join(labels)
    if set(given) != set(labels):
        raise PipelineError(f"--priors: expected a share for each of {expected}; got {', '.join(given) or 'none'}")
    for label in labels:
        if not math.isfinite(given[label]) or given[label] < 0:
            raise PipelineError(f"--priors: expected a share of 0 or more for {label}, got {given[label]}")
    total = math.fsum(given.values())
    if total == 0:
        raise PipelineError(f"--priors: expected a share above 0 for at least one of {expected}, got 0 for all")
    if max(given.values()) < 1 and abs(total - 1) > _ROUNDING:
        raise PipelineError(f"--priors: expected shares that add up to 1, got {total:g} for {expected}")
    return {label: given[label] / total for label in labels}


def _scores(
    y_true: Counts,
    y_pred: Counts,
    groups: Counts,
    labels: Sequence[str],
    scenarios: Mapping[str, Floats],
    seed: int,
) -> dict[str, Any]:
    k = len(labels)
    counts = group_counts(groups, (y_true * (k + 1) + y_pred)[:, None], k * (k + 1))

    def statistics(sums: Floats) -> dict[str, NDArray[Any]]:
        matrices = sums.reshape(-1, k, k + 1)
        return {name: _statistics(reweighted(matrices, shares)) for name, shares in scenarios.items()}

    total = counts.sum(axis=0, keepdims=True).astype(np.float64)
    point, draws = statistics(total), bootstrap(counts, statistics, seed=seed)
    groups_of = np.array([len(np.unique(groups[y_true == c])) for c in range(k)])
    predicted = total.reshape(k, k + 1)[:, :k]
    result = {}
    for name, shares in scenarios.items():
        # The answers to tweets that have no weight say nothing.
        counted = (shares > 0) & (groups_of > 0)
        free = int(groups_of[counted].min(initial=len(counts)))
        defined = [counted.any()] * 2 + list((predicted[counted] > 0).any(axis=0))
        accuracy, macro_f1, *precision = (
            estimate(point[name][0, i] if defined[i] else math.nan, draws[name][:, i], groups=len(counts), free=free)
            for i in range(2 + k)
        )
        result[name] = {
            "priors": dict(zip(labels, shares.tolist(), strict=True)),
            "accuracy": accuracy,
            "macro_f1": macro_f1,
            "precision": dict(zip(labels, precision, strict=True)),
        }
    return result


def _statistics(shares: Floats) -> Floats:
    """Accuracy, macro-F1 and the classes' precision of matrices ``(b, k, k + 1)``, shape ``(b, 2 + k)``."""
    scores = [metrics.accuracy(shares), metrics.macro_f1(shares), metrics.precision(shares)]
    # Shares sum to 1 but for rounding; without it, answers that are all right score 1 in every resample.
    return np.column_stack(scores).round(12)


def reweighted(matrix: NDArray[Any], priors: Floats) -> Floats:
    """Confusion matrices as shares of all rows, had the classes the given shares.

    What is answered for the tweets of a class stays; only how many such tweets there are changes. Of a class without
    rows nothing is known: its share goes to the others in proportion. So accuracy under uniform shares is balanced
    accuracy.

    Args:
        matrix: counts, shape ``(..., k, k + 1)``.
        priors: share of each class, shape ``(k,)``.
    """
    mass = np.where(matrix.sum(axis=-1) > 0, priors, 0.0)
    total = mass.sum(axis=-1, keepdims=True)
    mass = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
    shares: Floats = recall_view(matrix) * mass[..., None]
    return shares


def _estimated(
    probabilities: Floats, train: Floats, y_true: Counts, groups: Counts, labels: Sequence[str], seed: int
) -> dict[str, Any]:
    # In an order of their own, so that the sums do not depend on that of the rows.
    order = np.lexsort((groups, *probabilities.T))
    ratios, groups = likelihood_ratios(probabilities[order], train), groups[order]
    n_groups = int(groups.max()) + 1
    value = estimate_priors(ratios, train, np.ones((len(ratios), 1)))[0]
    weights = group_weights(n_groups, resamples=RESAMPLES, seed=seed)[groups]
    # From half-way between start and result, the resamples arrive sooner, and no class starts at nothing.
    draws = estimate_priors(ratios, (train + value) / 2, weights, tolerance=_DRAW_TOLERANCE)
    true = np.bincount(y_true, minlength=len(labels)) / len(y_true)
    return {
        "n": len(y_true),
        "resamples": RESAMPLES,
        "classes": {
            label: {
                "train": float(train[c]),
                "estimated": estimate(value[c], draws[:, c], groups=n_groups, free=n_groups),
                "true": float(true[c]),
            }
            for c, label in enumerate(labels)
        },
        "single": next((label for c, label in enumerate(labels) if value[c] > _ALL), None),
        "largest_error": float(np.abs(value - true).max()),
    }


def likelihood_ratios(probabilities: Floats, train: Floats) -> Floats:
    """What each row says of each class beyond the shares in training, ``p(c | x) / train(c)``, shape ``(n, k)``.

    0 for a class that was not in training. Probabilities that have underflowed count as the smallest there are.
    """
    floored = np.maximum(probabilities, _SMALLEST)
    ratios: Floats = np.divide(floored, train, out=np.zeros_like(floored), where=train > 0)
    return ratios


def estimate_priors(ratios: Floats, start: Floats, weights: NDArray[Any], *, tolerance: float = _TOLERANCE) -> Floats:
    """The shares of the classes among unlabelled rows that make their probabilities likeliest.

    Expectation maximisation of Saerens, Latinne and Decaestecker 2002. It needs calibrated probabilities; that its
    result differs from the true shares is then chance or another shift than that of the shares.

    Args:
        ratios: of ``likelihood_ratios``, shape ``(n, k)``.
        start: shares to begin with, shape ``(k,)``; a class at 0 stays there.
        weights: how often each row counts, for ``b`` estimations, shape ``(n, b)``.
        tolerance: the largest change of a share in the last step.

    Returns:
        Shape ``(b, k)``, rows sum to 1.
    """
    found = []
    for first in range(0, weights.shape[1], _CHUNK):
        chunk = np.ascontiguousarray(weights[:, first : first + _CHUNK], dtype=np.float64)
        current = np.tile(start, (chunk.shape[1], 1))
        for _ in range(_MOST_STEPS):
            previous, current = current, em_step(current, ratios, chunk)
            if np.abs(current - previous).max() < tolerance:
                break
        found.append(current)
    return np.concatenate(found)


def em_step(priors: Floats, ratios: Floats, weights: Floats) -> Floats:
    """One step of ``estimate_priors``: the mean of the rows' posteriors under ``priors``, shape ``(b, k)``."""
    densities = ratios @ priors.T
    sums = priors * ((weights / densities).T @ ratios)
    updated: Floats = sums / sums.sum(axis=1, keepdims=True)
    return updated
