"""The confusion matrix: the one table that every metric is computed from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion(y_true: Sequence[str], y_pred: Sequence[str | None], *, labels: Sequence[str]) -> Counts:
    """Counts of true against predicted class, what could not be parsed included.

    scikit-learn's ``confusion_matrix(labels=...)`` drops rows whose prediction is no label, and the matrix then
    looks better than the model is. Here they have a column of their own.

    Args:
        y_true: true classes, length ``n``.
        y_pred: predicted classes, length ``n``; None is an answer that could not be parsed.
        labels: the ``k`` classes in the order of the rows and columns.

    Returns:
        Shape ``(k, k + 1)``: rows true, columns predicted, last column unparsed. Row sums are the support.

    Raises:
        ValueError: the lengths differ, or a class is not among ``labels``.
    """
    if len(y_true) != len(y_pred):
        raise ValueError(f"y_true and y_pred must be of one length, got {len(y_true)} and {len(y_pred)}")
    k = len(labels)
    cells = encode(y_true, labels=labels) * (k + 1) + encode(y_pred, labels=labels)
    return np.bincount(cells, minlength=k * (k + 1)).reshape(k, k + 1).astype(np.int64)


def encode(classes: Sequence[str | None], *, labels: Sequence[str]) -> Counts:
    """Classes as numbers: the position in ``labels``, or ``k = len(labels)`` for None.

    Raises:
        ValueError: a class is not among ``labels``.
    """
    code: dict[str | None, int] = {label: i for i, label in enumerate(labels)} | {None: len(labels)}
    unknown = set(classes) - code.keys()
    if unknown:
        raise ValueError(f"classes must be among {list(labels)} or None, got {sorted(map(str, unknown))}")
    return np.array([code[c] for c in classes], dtype=np.int64)


def recall_view(matrix: NDArray[Any]) -> Floats:
    """Shares of each row, shape as ``matrix``: the diagonal is recall. A class without rows has shares 0."""
    return _shares(matrix, matrix.sum(axis=-1, keepdims=True))


def precision_view(matrix: NDArray[Any]) -> Floats:
    """Shares of each column, shape as ``matrix``: the diagonal is precision. A column without rows has shares 0."""
    return _shares(matrix, matrix.sum(axis=-2, keepdims=True))


def _shares(matrix: NDArray[Any], totals: NDArray[Any]) -> Floats:
    shares: Floats = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    return shares
