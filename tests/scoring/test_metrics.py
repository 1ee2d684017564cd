from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from pipeline.scoring import metrics
from pipeline.scoring.confusion import confusion

LABELS = ("Negative", "Neutral", "Positive")
EXTENDED = [*LABELS, "unparsed"]
ROWS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*LABELS, None))), min_size=1, max_size=80)


def _case(rows: list[tuple[str, str | None]]) -> tuple[np.ndarray[Any, Any], list[str], list[str]]:
    y_true, y_pred = [t for t, _ in rows], [p for _, p in rows]
    return confusion(y_true, y_pred, labels=LABELS), y_true, [p or "unparsed" for p in y_pred]


@given(ROWS)
@settings(max_examples=60, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore:.*")
def test_metrics_agree_with_scikit_learn(rows: list[tuple[str, str | None]]) -> None:
    matrix, y_true, y_pred = _case(rows)
    options: dict[str, Any] = {"labels": list(LABELS), "zero_division": 0}
    assert metrics.accuracy(matrix) == pytest.approx(sk.accuracy_score(y_true, y_pred), abs=1e-12)
    assert metrics.balanced_accuracy(matrix) == pytest.approx(sk.balanced_accuracy_score(y_true, y_pred), abs=1e-12)
    assert metrics.macro_f1(matrix) == pytest.approx(sk.f1_score(y_true, y_pred, average="macro", **options), abs=1e-12)
    assert metrics.mcc(matrix) == pytest.approx(sk.matthews_corrcoef(y_true, y_pred), abs=1e-9)
    for ours, theirs in (
        (metrics.precision, sk.precision_score),
        (metrics.recall, sk.recall_score),
        (metrics.f1, sk.f1_score),
    ):
        np.testing.assert_allclose(ours(matrix), theirs(y_true, y_pred, average=None, **options), atol=1e-12)


@given(ROWS)
@settings(max_examples=50, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore:.*")
def test_metrics_agree_with_torchmetrics(rows: list[tuple[str, str | None]]) -> None:
    matrix, y_true, y_pred = _case(rows)
    target = torch.tensor([EXTENDED.index(y) for y in y_true])
    predicted = torch.tensor([EXTENDED.index(y) for y in y_pred])
    for ours, theirs in (
        (metrics.precision, tm.multiclass_precision),
        (metrics.recall, tm.multiclass_recall),
        (metrics.f1, tm.multiclass_f1_score),
    ):
        oracle = theirs(predicted, target, num_classes=4, average=None)[:3]
        np.testing.assert_allclose(ours(matrix), oracle.numpy(), atol=1e-6)
    assert metrics.accuracy(matrix) == pytest.approx(float((target == predicted).double().mean()), abs=1e-12)


def test_macro_f1_counts_unparsed_as_wrong_where_dropping_it_would_flatter() -> None:
    y_true = ["Negative"] * 4 + ["Neutral"] * 4 + ["Positive"] * 4
    y_pred = [
        "Negative",
        "Negative",
        None,
        None,
        "Neutral",
        "Neutral",
        None,
        "Neutral",
        "Positive",
        None,
        None,
        "Positive",
    ]
    assert metrics.macro_f1(confusion(y_true, y_pred, labels=LABELS)) == pytest.approx((2 / 3 + 6 / 7 + 2 / 3) / 3)


@pytest.mark.parametrize(
    "metric",
    [metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.mcc, metrics.precision, metrics.recall,
     metrics.f1, metrics.unparsed_rate],
)  # fmt: skip
def test_metrics_of_a_stack_are_those_of_its_matrices(metric: Any) -> None:
    stack = np.random.default_rng(0).integers(0, 4, size=(5, 2, 3, 4))
    whole = metric(stack)
    for i in range(5):
        for j in range(2):
            np.testing.assert_array_equal(whole[i, j], metric(stack[i, j]))


def test_degenerate_matrices_give_numbers() -> None:
    perfect = np.hstack([np.diag([2, 3, 4]), np.zeros((3, 1), dtype=int)])
    unparsed = np.array([[0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 4]])
    empty = np.zeros((3, 4), dtype=int)
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.mcc):
        assert float(metric(perfect)) == 1
        assert float(metric(unparsed)) == 0
        assert float(metric(empty)) == 0
    assert float(metrics.unparsed_rate(unparsed)) == 1
