from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.inter_rater import cohens_kappa
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
    weighted = sk.f1_score(y_true, y_pred, average="weighted", **options)
    assert metrics.weighted_f1(matrix) == pytest.approx(weighted, abs=1e-12)
    assert metrics.mcc(matrix) == pytest.approx(sk.matthews_corrcoef(y_true, y_pred), abs=1e-9)
    for ours, theirs in (
        (metrics.precision, sk.precision_score),
        (metrics.recall, sk.recall_score),
        (metrics.f1, sk.f1_score),
    ):
        np.testing.assert_allclose(ours(matrix), theirs(y_true, y_pred, average=None, **options), atol=1e-12)


@given(ROWS)
@settings(max_examples=25, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore:.*")
def test_imbalance_aware_metrics_agree_with_scikit_learn(rows: list[tuple[str, str | None]]) -> None:
    matrix, y_true, y_pred = _case(rows)
    options: dict[str, Any] = {"labels": list(LABELS), "zero_division": 0}
    assert metrics.macro_precision(matrix) == pytest.approx(
        sk.precision_score(y_true, y_pred, average="macro", **options), abs=1e-12
    )
    if len(set(y_true)) > 1:
        adjusted = sk.balanced_accuracy_score(y_true, y_pred, adjusted=True)
        assert metrics.adjusted_balanced_accuracy(matrix) == pytest.approx(adjusted, abs=1e-12)
    if len({*y_true, *y_pred}) > 1:
        assert metrics.kappa(matrix) == pytest.approx(sk.cohen_kappa_score(y_true, y_pred), abs=1e-12)
    theirs = sk.fbeta_score(y_true, y_pred, beta=0.5, average=None, **options)
    np.testing.assert_allclose(metrics.f_beta(matrix, 0.5), theirs, atol=1e-12)
    theirs = sk.fbeta_score(y_true, y_pred, beta=2, average=None, **options)
    np.testing.assert_allclose(metrics.f2(matrix), theirs, atol=1e-12)


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


@given(ROWS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_quadratic_kappa_agrees_with_statsmodels(rows: list[tuple[str, str | None]]) -> None:
    # A square table whose last row, unparsed, is empty; the last column costs as much as the farthest class.
    matrix, y_true, y_pred = _case(rows)
    square = np.vstack([matrix, np.zeros(4)])
    cost = np.array([[0, 1, 4, 4], [1, 0, 1, 1], [4, 1, 0, 4], [0, 0, 0, 0]])
    if len({*y_true, *y_pred}) > 1:
        oracle = cohens_kappa(square, weights=cost, return_results=False)
        assert metrics.quadratic_kappa(matrix) == pytest.approx(oracle, abs=1e-9)
    else:
        assert metrics.quadratic_kappa(matrix) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=80))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_quadratic_kappa_of_parsed_answers_agrees_with_scikit_learn_and_torchmetrics(pairs: list[Any]) -> None:
    y_true, y_pred = np.array(pairs).T
    if len({*y_true, *y_pred}) == 1:
        return
    names = [str(i) for i in range(5)]
    matrix = confusion([names[i] for i in y_true], [names[i] for i in y_pred], labels=names)
    ours = metrics.quadratic_kappa(matrix)
    assert ours == pytest.approx(sk.cohen_kappa_score(y_true, y_pred, labels=range(5), weights="quadratic"), abs=1e-12)
    theirs = tm.multiclass_cohen_kappa(torch.tensor(y_pred), torch.tensor(y_true), num_classes=5, weights="quadratic")
    assert ours == pytest.approx(float(theirs), abs=1e-5)


@given(ROWS)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_g_mean_and_severe_errors_agree_with_numpy(rows: list[tuple[str, str | None]]) -> None:
    matrix, y_true, y_pred = _case(rows)
    recalls = [
        np.mean([p == label for t, p in zip(y_true, y_pred, strict=True) if t == label]) for label in sorted({*y_true})
    ]
    assert metrics.g_mean(matrix) == pytest.approx(stats.gmean(recalls) if min(recalls) else 0, abs=1e-12)
    severe = np.mean([{t, p} == {"Negative", "Positive"} for t, p in zip(y_true, y_pred, strict=True)])
    assert metrics.severe_error_rate(matrix) == pytest.approx(severe, abs=1e-12)


def test_imbalance_aware_metrics_of_a_table_worked_by_hand() -> None:
    matrix = np.array([[6, 2, 1, 1], [4, 20, 6, 0], [1, 3, 6, 0]])
    assert metrics.adjusted_balanced_accuracy(matrix) == pytest.approx(((0.6 + 2 / 3 + 0.6) / 3 - 1 / 3) / (2 / 3))
    assert metrics.g_mean(matrix) == pytest.approx((0.6 * 2 / 3 * 0.6) ** (1 / 3))
    assert metrics.severe_error_rate(matrix) == 2 / 50
    assert metrics.macro_precision(matrix) == pytest.approx((6 / 11 + 20 / 25 + 6 / 13) / 3)
    assert metrics.f2(matrix)[0] == pytest.approx(5 * 6 / (4 * 10 + 11))
    assert metrics.kappa(matrix) == pytest.approx((0.64 - (10 * 11 + 30 * 25 + 10 * 13) / 2500) / (1 - 990 / 2500))
    observed = (2 + 4 + 4 + 4 + 6 + 4 + 3) / 50
    expected = (10 * (25 + 4 * 13 + 4) + 30 * (11 + 13 + 1) + 10 * (4 * 11 + 25 + 4)) / 2500
    assert metrics.quadratic_kappa(matrix) == pytest.approx(1 - observed / expected)


def test_a_class_that_is_absent_does_not_spoil_the_means_over_recall() -> None:
    matrix = np.array([[4, 1, 0, 0], [0, 0, 0, 0], [0, 2, 8, 0]])
    assert metrics.g_mean(matrix) == pytest.approx(0.8)
    assert metrics.adjusted_balanced_accuracy(matrix) == pytest.approx(0.6)


@pytest.mark.parametrize(
    "metric",
    [metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.mcc, metrics.precision, metrics.recall,
     metrics.f1, metrics.unparsed_rate, metrics.adjusted_balanced_accuracy, metrics.g_mean, metrics.kappa,
     metrics.quadratic_kappa, metrics.severe_error_rate, metrics.macro_precision, metrics.f2],
)  # fmt: skip
def test_metrics_of_a_stack_are_those_of_its_matrices(metric: Any) -> None:
    stack = np.random.default_rng(0).integers(0, 4, size=(5, 2, 3, 4))
    whole = metric(stack)
    for i in range(5):
        for j in range(2):
            # A root may differ in its last bit.
            np.testing.assert_allclose(whole[i, j], metric(stack[i, j]), rtol=1e-14)


def test_degenerate_matrices_give_numbers() -> None:
    perfect = np.hstack([np.diag([2, 3, 4]), np.zeros((3, 1), dtype=int)])
    unparsed = np.array([[0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 4]])
    empty = np.zeros((3, 4), dtype=int)
    for metric in (
        metrics.accuracy,
        metrics.balanced_accuracy,
        metrics.macro_f1,
        metrics.mcc,
        metrics.g_mean,
        metrics.kappa,
        metrics.quadratic_kappa,
        metrics.macro_precision,
    ):
        assert float(metric(perfect)) == 1
        assert float(metric(unparsed)) == 0
        assert float(metric(empty)) == 0
    assert float(metrics.adjusted_balanced_accuracy(perfect)) == 1
    assert float(metrics.adjusted_balanced_accuracy(unparsed)) == -0.5
    for matrix in (perfect, unparsed, empty):
        assert float(metrics.severe_error_rate(matrix)) == 0
    assert float(metrics.unparsed_rate(unparsed)) == 1
