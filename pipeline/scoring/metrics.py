"""Metrics of a confusion matrix, or of a stack of them.

Every function takes counts of shape ``(..., k, k + 1)`` as ``confusion`` makes them (rows true, columns predicted,
last column unparsed) and works on the last two axes, so one call scores thousands of resampled matrices. An unparsed
answer is wrong: it lowers the recall of its true class and no class gets it as a prediction. 0 / 0 counts as 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring.confusion import Counts, Floats

Matrix = NDArray[Any]


def accuracy(matrix: Matrix) -> Floats:
    """Share of rows whose prediction is the true class, shape ``(...)``."""
    return _ratio(_hits(matrix).sum(-1), matrix.sum((-2, -1)))


def recall(matrix: Matrix) -> Floats:
    """Of the rows of each class, the share predicted as it, shape ``(..., k)``."""
    return _ratio(_hits(matrix), matrix.sum(-1))


def precision(matrix: Matrix) -> Floats:
    """Of the predictions of each class, the share that is right, shape ``(..., k)``."""
    return _ratio(_hits(matrix), matrix[..., :-1].sum(-2))


def f1(matrix: Matrix) -> Floats:
    """Harmonic mean of precision and recall of each class, ``2 TP / (support + predicted)``, shape ``(..., k)``."""
    return f_beta(matrix, 1)


def f2(matrix: Matrix) -> Floats:
    """``f_beta`` with recall twice as important: for a rare class, where a miss costs more than a false alarm."""
    return f_beta(matrix, 2)


def f_beta(matrix: Matrix, beta: float) -> Floats:
    """Weighted harmonic mean of precision and recall of each class, shape ``(..., k)``.

    ``(1 + b^2) TP / (b^2 support + predicted)`` (van Rijsbergen 1979): recall weighs ``beta`` times as much.
    """
    weight = beta**2
    return _ratio((1 + weight) * _hits(matrix), weight * matrix.sum(-1) + matrix[..., :-1].sum(-2))


def macro_f1(matrix: Matrix) -> Floats:
    """Mean of the classes' F1, shape ``(...)``.

    The mean of F1, not the F1 of mean precision and mean recall (Opitz and Burst 2019, arXiv 1911.03347). It runs
    over all ``k`` classes: one that is neither present nor predicted counts 0, as with ``f1_score(labels=...)`` of
    scikit-learn, so that the number means the same on every test set and in every resample.
    """
    return np.asarray(f1(matrix).mean(-1))


def weighted_f1(matrix: Matrix) -> Floats:
    """Mean of the classes' F1, each weighted by its support, shape ``(...)``: kind to large classes."""
    support = matrix.sum(-1)
    return _ratio((f1(matrix) * support).sum(-1), support.sum(-1))


def macro_precision(matrix: Matrix) -> Floats:
    """Mean of the classes' precision, shape ``(...)``; a class that is never predicted counts 0."""
    return np.asarray(precision(matrix).mean(-1))


def balanced_accuracy(matrix: Matrix) -> Floats:
    """Mean recall over the classes that have rows, shape ``(...)``."""
    return _ratio(recall(matrix).sum(-1), _present(matrix))


def adjusted_balanced_accuracy(matrix: Matrix) -> Floats:
    """Balanced accuracy on a scale where guessing is 0 and perfect is 1, shape ``(...)``.

    ``(BA - 1/c) / (1 - 1/c)`` with ``c`` classes that have rows; down to ``-1 / (c - 1)``. 0 where there is but one
    such class and nothing to guess.
    """
    classes = _present(matrix)
    return _ratio(balanced_accuracy(matrix) * classes - 1, classes - 1)


def g_mean(matrix: Matrix) -> Floats:
    """Geometric mean of the recall of the classes that have rows, shape ``(...)``: 0 as soon as one is never found.

    Kubat and Matwin 1997, for many classes Sun, Kamel and Wang 2006.
    """
    has_rows = matrix.sum(-1) > 0
    product = np.where(has_rows, recall(matrix), 1.0).prod(-1)
    return np.where(has_rows.any(-1), product ** (1 / np.maximum(1, _present(matrix))), 0.0)


def mcc(matrix: Matrix) -> Floats:
    """Matthews correlation for many classes, R_K of Gorodkin 2004, shape ``(...)``, from -1 to 1.

    Unparsed enters as one more class that is sometimes predicted and never true. 0 when all rows or all
    predictions are of one class, where the correlation is not defined.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    true, predicted = matrix.sum(-1), matrix.sum(-2)
    n = true.sum(-1)
    covariance = _hits(matrix).sum(-1) * n - (true * predicted[..., :-1]).sum(-1)
    variances = (n**2 - (true**2).sum(-1)) * (n**2 - (predicted**2).sum(-1))
    return _ratio(covariance, np.sqrt(variances))


def kappa(matrix: Matrix) -> Floats:
    """Cohen's kappa (1960), agreement beyond that of the margins, shape ``(...)``, from -1 to 1.

    Unparsed enters as one more class that is sometimes predicted and never true. 0 when all rows and all predictions
    are of one class, where it is not defined.
    """
    k = matrix.shape[-2]
    return _weighted_kappa(matrix, 1.0 - np.eye(k, k + 1))


def quadratic_kappa(matrix: Matrix) -> Floats:
    """Weighted kappa (Cohen 1968) for classes ordered from low to high, shape ``(...)``, from -1 to 1.

    Class ``j`` in place of ``i`` costs ``(i - j)^2``, so an answer at the other end of the scale is worse than one
    next door. An unparsed answer costs what the farthest class would have, ``max(i, k - 1 - i)^2``: it is wrong, and
    nothing about it is near. Without unparsed answers it is ``cohen_kappa_score(weights="quadratic")``.
    """
    at = np.arange(matrix.shape[-2])
    farthest = np.maximum(at, at[::-1])
    return _weighted_kappa(matrix, np.column_stack([at[:, None] - at, farthest]).astype(np.float64) ** 2)


def severe_error_rate(matrix: Matrix) -> Floats:
    """Share of all rows where the lowest class was called the highest or the other way round, shape ``(...)``.

    For ordered classes only. An unparsed answer is no severe error; it has a rate of its own.
    """
    return _ratio(matrix[..., 0, -2] + matrix[..., -1, 0], matrix.sum((-2, -1)))


def unparsed_rate(matrix: Matrix) -> Floats:
    """Share of rows whose answer could not be parsed, shape ``(...)``."""
    return _ratio(matrix[..., -1].sum(-1), matrix.sum((-2, -1)))


def _weighted_kappa(matrix: Matrix, cost: Floats) -> Floats:
    """``1 - observed / expected`` cost of the answers; ``cost`` has shape ``(k, k + 1)``."""
    true, predicted = matrix.sum(-1), matrix.sum(-2)
    expected = ((true @ cost) * predicted).sum(-1)
    observed = (matrix * cost).sum((-2, -1)) * true.sum(-1)
    return _ratio(expected - observed, expected)


def _present(matrix: Matrix) -> Counts:
    """How many classes have rows, shape ``(...)``."""
    return np.asarray((matrix.sum(-1) > 0).sum(-1))


def _hits(matrix: Matrix) -> Matrix:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _ratio(numerator: Matrix, denominator: Matrix) -> Floats:
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.zeros(shape), where=np.asarray(denominator) > 0)
