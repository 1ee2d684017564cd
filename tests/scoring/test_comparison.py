from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from pipeline.scoring import metrics
from pipeline.scoring.comparison import holm, mcnemar, mcnemar_power, permutation_test, smallest_detectable


def _one_hot(y_true: np.ndarray[Any, Any], y_pred: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    counts = np.zeros((len(y_true), 3, 4), dtype=np.int64)
    counts[np.arange(len(y_true)), y_true, y_pred] = 1
    return counts


def _answers(rng: np.random.Generator, y_true: np.ndarray[Any, Any], skill: float) -> np.ndarray[Any, Any]:
    return np.where(rng.random(len(y_true)) < skill, y_true, rng.integers(0, 4, len(y_true)))


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_mcnemar_agrees_with_statsmodels(only_a: int, only_b: int) -> None:
    if only_a + only_b:
        oracle = statsmodels_mcnemar([[10, only_a], [only_b, 10]], exact=True).pvalue
        assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, oracle), abs=1e-12)
    else:
        assert mcnemar(0, 0) == 1


@pytest.mark.parametrize("p_values", [[0.04], [0.04, 0.01, 0.03], [0.5, 0.9], [0.02, 0.02, 0.3, 0.001], [1.0, 0.0]])
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


def test_permutation_of_accuracy_agrees_with_the_exact_test() -> None:
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 3, 120)
    a, b = _answers(rng, y_true, 0.7), _answers(rng, y_true, 0.55)
    exact = mcnemar(int(((a == y_true) & (b != y_true)).sum()), int(((b == y_true) & (a != y_true)).sum()))
    assert 0.001 < exact < 0.5
    p = permutation_test(_one_hot(y_true, a), _one_hot(y_true, b), metrics.accuracy, seed=0)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000))


def test_permutation_agrees_with_scipy_on_macro_f1() -> None:
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 3, 60)
    a, b = _answers(rng, y_true, 0.7), _answers(rng, y_true, 0.5)

    def difference(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
        one, two = (metrics.macro_f1(_one_hot(y_true, v).sum(axis=0)) for v in (x, y))
        return float(one) - float(two)

    oracle = stats.permutation_test(
        (a, b), difference, permutation_type="samples", n_resamples=3000, vectorized=False, rng=np.random.default_rng(2)
    ).pvalue
    p = permutation_test(_one_hot(y_true, a), _one_hot(y_true, b), metrics.macro_f1, seed=0)
    assert p == pytest.approx(oracle, abs=0.02)


def test_equal_systems_have_p_one() -> None:
    counts = _one_hot(np.array([0, 1, 2]), np.array([0, 1, 1]))
    assert permutation_test(counts, counts, metrics.macro_f1, seed=0, permutations=200) == 1


def test_groups_are_swapped_whole() -> None:
    # Ten rows that differ, all in one group: nothing more is known than from one row.
    y_true = np.zeros(10, dtype=np.int64)
    right, wrong = _one_hot(y_true, y_true), _one_hot(y_true, y_true + 1)
    assert permutation_test(right, wrong, metrics.accuracy, seed=0) < 0.01
    one_group = (right.sum(axis=0, keepdims=True), wrong.sum(axis=0, keepdims=True))
    assert permutation_test(*one_group, metrics.accuracy, seed=0) == 1


def test_error_of_the_first_kind_is_five_percent() -> None:
    rng = np.random.default_rng(3)
    p_values = []
    for world in range(600):
        y_true = rng.choice(3, size=100, p=[0.2, 0.3, 0.5])
        a, b = _answers(rng, y_true, 0.6), _answers(rng, y_true, 0.6)
        p_values.append(
            permutation_test(_one_hot(y_true, a), _one_hot(y_true, b), metrics.macro_f1, seed=world, permutations=400)
        )
    assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.07
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_power_agrees_with_a_simulation() -> None:
    rng = np.random.default_rng(4)
    discordant = rng.binomial(200, 0.2, size=4000)
    only_a = rng.binomial(discordant, (1 + 0.1 / 0.2) / 2)
    pairs, times = np.unique(np.stack([only_a, discordant - only_a]), axis=1, return_counts=True)
    rejected = np.repeat([mcnemar(int(a), int(b)) < 0.05 for a, b in pairs.T], times)
    assert mcnemar_power(200, 0.2, 0.1) == pytest.approx(np.mean(rejected), abs=0.025)


@pytest.mark.parametrize(
    ("n", "discordance", "expected"), [(450, 0.1, 0.045), (450, 0.2, 0.065), (150, 0.1, 0.075), (150, 0.2, 0.11)]
)
def test_smallest_detectable_difference_of_known_designs(n: int, discordance: float, expected: float) -> None:
    found = smallest_detectable(n, discordance)
    assert found is not None
    assert found == pytest.approx(expected, abs=0.006)
    assert mcnemar_power(n, discordance, found) >= 0.8 > mcnemar_power(n, discordance, found - 0.002)


def test_nothing_is_detectable_without_discordant_rows() -> None:
    assert smallest_detectable(100, 0.0) is None
    assert smallest_detectable(4, 0.5) is None
