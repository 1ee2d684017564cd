"""Logit adjustment: what is added to each label's log-likelihood, by how rare its class was in training.

Menon et al. 2021, "Long-tail learning via logit adjustment" (arXiv 2007.07314): the answer is the label with the
greatest ``log-likelihood - tau * log(share in training)``. Where likelihoods are calibrated to the shares in training,
``tau = 1`` is the Bayes rule for classes that all count alike, which has the greatest macro-recall. Macro-F1 also
counts false alarms, so on rows with the shares of training it wants a ``tau`` between 0 and 1.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import group_counts, patterns_of
from pipeline.scoring.metrics import macro_f1
from pipeline.scoring.temperature import LEAST_ROWS

Metric = Callable[[NDArray[Any]], Floats]

# From -1, as after a training that weighed rare classes too much, to 3: a model that is too sure needs offsets as many
# times larger as its temperature is above 1. Nearest to 0 first, so that the first of equals is the gentlest.
GRID = tuple(sorted((step / 4 for step in range(-4, 13)), key=lambda tau: (abs(tau), -tau)))


def offsets(tau: float, shares: Floats) -> Floats:
    """What ``tau`` adds to each label's log-likelihood, shape ``(k,)``; above 0, the rarer the class the more.

    Args:
        tau: strength; 0 adds nothing.
        shares: of the classes in training, above 0, shape ``(k,)``.
    """
    return np.asarray(-tau * np.log(shares))


def adjusted(log_likelihoods: Floats, added: Floats) -> Counts:
    """Answered class of each row ``(n,)`` of ``log_likelihoods`` ``(n, k)``; the first where two are equal."""
    return np.asarray((log_likelihoods + added).argmax(axis=1))


def fit_tau(
    log_likelihoods: Floats, y_true: Counts, groups: Counts, shares: Floats, *, metric: Metric = macro_f1
) -> dict[str, Any] | None:
    """The strength of ``GRID`` that is best on validation rows, if it is so by more than luck may be.

    The greatest of many scores is great by luck too. So it counts only where it beats ``tau = 0`` by more than one
    standard error of this difference; else ``tau`` is 0, whatever else of the grid might have passed.

    Args:
        log_likelihoods: of the classes, shape ``(n, k)``.
        y_true: true classes, shape ``(n,)``.
        groups: number of each row's group, 0 to ``G - 1``, shape ``(n,)``.
        shares: of the classes in training, above 0, shape ``(k,)``.
        metric: what shall be great, from matrices ``(..., k, k + 1)`` to values ``(...)``.

    Returns:
        ``tau``, ``best`` (of the grid, nearest to 0 where several are), ``gain`` and ``error`` (what ``best`` has more
        than 0, and its standard error, null for one group) and ``grid`` (``tau`` and ``score``, in order). None: there
        are fewer than 20 rows or only one class.
    """
    if len(y_true) < LEAST_ROWS or len(np.unique(y_true)) < 2:
        return None
    answers = {tau: adjusted(log_likelihoods, offsets(tau, shares)) for tau in GRID}
    k = len(shares)
    matrices = [np.bincount(y_true * (k + 1) + y_pred, minlength=k * (k + 1)) for y_pred in answers.values()]
    # To 12 digits, so that scores which differ by the rounding of their sums are equal.
    found = metric(np.reshape(matrices, (-1, k, k + 1))).round(12).tolist()
    scores = dict(zip(answers, found, strict=True))
    best = max(scores, key=lambda tau: scores[tau])
    gain = scores[best] - scores[0.0]
    error = paired_error(pair_counts(y_true, answers[0.0], answers[best], groups, k), metric)
    return {
        "tau": best if error is not None and gain > error else 0.0,
        "best": best,
        "gain": gain,
        "error": error,
        "grid": [{"tau": tau, "score": scores[tau]} for tau in sorted(scores)],
    }


def pair_counts(y_true: Counts, before: Counts, after: Counts, groups: Counts, k: int) -> Counts:
    """Confusion matrices of two readings of the same rows, one for each group, shape ``(G, 2, k, k + 1)``."""
    width = k * (k + 1)
    cells = y_true * (k + 1)
    return group_counts(groups, np.column_stack([cells + before, width + cells + after]), 2 * width).reshape(
        -1, 2, k, k + 1
    )


def paired_error(counts: Counts, metric: Metric) -> float | None:
    """Standard error of the second reading's metric minus the first's, by the jackknife over groups.

    ``sqrt((G - 1) / G * sum_g (d_g - mean)^2)`` with ``d_g`` the difference without group ``g`` (Efron and Tibshirani
    1993, chapter 11). Unlike the bootstrap it needs no seed, so that what is fitted depends on the rows alone.

    Args:
        counts: of ``pair_counts``.
        metric: from matrices ``(..., k, k + 1)`` to values ``(...)``.

    Returns:
        None for one group, of which nothing can be left out.
    """
    groups = len(counts)
    if groups == 1:
        return None
    patterns, multiplicity = patterns_of(counts.reshape(groups, -1))
    values = metric(counts.sum(axis=0) - patterns.reshape(-1, *counts.shape[1:]))
    differences = values[:, 1] - values[:, 0]
    mean = float(multiplicity @ differences) / groups
    return math.sqrt((groups - 1) / groups * float(multiplicity @ (differences - mean) ** 2))
