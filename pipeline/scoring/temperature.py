"""One number that makes a model less, or more, sure of all its answers, fitted on validation rows alone."""

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import norm

from pipeline.scoring.calibration import Sums, calibration_error, row_losses
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import LEVEL

LEAST_ROWS = 20
_RANGE = (0.05, 20.0)


def tempered(log_likelihoods: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities of the classes, ``softmax(log-likelihoods / T)``, shape ``(n, k)``. No order of classes changes."""
    return np.asarray(softmax(log_likelihoods / temperature, axis=1))


def fit_temperature(log_likelihoods: Floats, y_true: Counts, groups: Counts) -> dict[str, float] | None:
    """The temperature that makes validation rows likeliest (Guo et al. 2017), with its interval.

    The interval is normal on the logarithm, with the sandwich error over groups (White 1982). Give validation rows:
    fitted on the test, a temperature says nothing about the test.

    Args:
        log_likelihoods: of the classes, shape ``(n, k)``, finite.
        y_true: true classes, shape ``(n,)``.
        groups: number of each row's group, shape ``(n,)``.

    Returns:
        ``value``, ``low`` and ``high``, or None: there are fewer than 20 rows or only one class, or the rows want a
        temperature beyond 0.05 to 20, as when the model is right on all of them.
    """
    if len(y_true) < LEAST_ROWS or len(np.unique(y_true)) < 2:
        return None
    rows, low, high = np.arange(len(y_true)), *np.log(_RANGE)

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(log_likelihoods / math.exp(log_temperature), axis=1)[rows, y_true].mean())

    best = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8}).x)
    if min(best - low, high - best) < 1e-3:
        return None
    # In b = 1 / T the loss is convex: its slope is the expected score minus that of the true class, its curvature the
    # variance of the scores. An error of b is T times as large an error of log b, and so of log T.
    p = tempered(log_likelihoods, math.exp(best))
    mean = (p * log_likelihoods).sum(axis=1)
    curvature = float((p * (log_likelihoods - mean[:, None]) ** 2).sum())
    slopes = np.bincount(groups, mean - log_likelihoods[rows, y_true])
    error = math.exp(best) * math.sqrt(float((slopes**2).sum())) / curvature if curvature > 0 else math.inf
    reach = float(norm.ppf((1 + LEVEL) / 2)) * error
    ends = [math.exp(min(max(best + sign * reach, low), high)) for sign in (-1, 1)]
    return {"value": math.exp(best), "low": ends[0], "high": ends[1]}


def temperature_effect(
    log_likelihoods: Floats, y_true: Counts, groups: Counts, temperature: float, *, seed: int = 0
) -> dict[str, Any]:
    """What a temperature does on test rows: log-loss then, minus before (paired), and ECE (equal mass) then."""
    before, after = (row_losses(tempered(log_likelihoods, t), y_true)[:, 0] for t in (1.0, temperature))
    sums = Sums.of(np.column_stack([after, after - before, np.ones(len(y_true))]), groups, seed)
    error = calibration_error(tempered(log_likelihoods, temperature), y_true, groups, seed=seed)
    return {
        "log_loss": sums.ratio(0),
        "log_loss_difference": sums.ratio(1),
        "ece": error["equal_mass"]["ece"],
        "distinguishable": error["distinguishable"],
    }
