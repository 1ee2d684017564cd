"""Metrics of a confusion matrix, or of a stack of them.

Every function takes counts of shape ``(..., k, k + 1)`` as ``confusion`` makes them (rows true, columns predicted,
last column unparsed) and works on the last two axes, so one call scores thousands of resampled matrices. An unparsed
answer is wrong: it lowers the recall of its true class and no class gets it as a prediction. 0 / 0 counts as 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring.confusion import Floats

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
    return _ratio(2 * _hits(matrix), matrix.sum(-1) + matrix[..., :-1].sum(-2))


def macro_f1(matrix: Matrix) -> Floats:
    """Mean of the classes' F1, shape ``(...)``.

    The mean of F1, not the F1 of mean precision and mean recall (Opitz and Burst 2019, arXiv 1911.03347). It runs
    over all ``k`` classes: one that is neither present nor predicted counts 0, as with ``f1_score(labels=...)`` of
    scikit-learn, so that the number means the same on every test set and in every resample.
    """
    return np.asarray(f1(matrix).mean(-1))


def balanced_accuracy(matrix: Matrix) -> Floats:
    """Mean recall over the classes that have rows, shape ``(...)``."""
    return _ratio(recall(matrix).sum(-1), (matrix.sum(-1) > 0).sum(-1))


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


def unparsed_rate(matrix: Matrix) -> Floats:
    """Share of rows whose answer could not be parsed, shape ``(...)``."""
    return _ratio(matrix[..., -1].sum(-1), matrix.sum((-2, -1)))


def _hits(matrix: Matrix) -> Matrix:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _ratio(numerator: Matrix, denominator: Matrix) -> Floats:
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.zeros(shape), where=np.asarray(denominator) > 0)
