from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from pipeline.scoring import metrics
from pipeline.scoring.intervals import bootstrap, group_counts, patterns_of, percentiles, wilson

TRUTH = np.array([0.2, 0.3, 0.5])
NOISE = np.array([[0.6, 0.2, 0.15, 0.05], [0.1, 0.75, 0.1, 0.05], [0.05, 0.1, 0.8, 0.05]])


def _cells(rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    """Cells of the matrix for ``n`` rows of a made-up world."""
    return rng.choice(12, size=n, p=(TRUTH[:, None] * NOISE).ravel())


def _counts(cells: np.ndarray[Any, Any], groups: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
    return group_counts(np.arange(len(cells)) if groups is None else groups, cells[:, None], 12)


def _statistics(sums: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    matrices = sums.reshape(-1, 3, 4)
    return {"macro_f1": metrics.macro_f1(matrices), "accuracy": metrics.accuracy(matrices)}


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 50), (50, 50), (48, 77), (1, 2400)])
def test_wilson_agrees_with_statsmodels(successes: int, n: int) -> None:
    assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


def test_wilson_of_all_right_is_not_a_point() -> None:
    low, high = wilson(50, 50)
    assert low == pytest.approx(0.929, abs=1e-3)
    assert high == 1
    assert wilson(0, 0) == (0, 1)


def test_bootstrap_agrees_with_scipy() -> None:
    cells = _cells(np.random.default_rng(1), 300)
    draws = bootstrap(_counts(cells), _statistics, seed=0)

    def macro_f1(sample: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
        one_hot = (sample[..., None] == np.arange(12)).sum(axis=-2)
        return metrics.macro_f1(one_hot.reshape(*one_hot.shape[:-1], 3, 4))

    oracle = stats.bootstrap(
        (cells,), macro_f1, n_resamples=4000, method="percentile", batch=500, rng=np.random.default_rng(2)
    )
    low, high = percentiles(draws["macro_f1"])
    assert draws["macro_f1"].std(ddof=1) == pytest.approx(oracle.standard_error, rel=0.04)
    assert low == pytest.approx(oracle.confidence_interval.low, abs=0.004)
    assert high == pytest.approx(oracle.confidence_interval.high, abs=0.004)


def test_groups_are_resampled_whole() -> None:
    # Every row stands four times in its group: there is only a quarter of the knowledge.
    cells = np.repeat(_cells(np.random.default_rng(3), 100), 4)
    clustered = bootstrap(_counts(cells, np.repeat(np.arange(100), 4)), _statistics, seed=0)["accuracy"].std()
    alone = bootstrap(_counts(cells), _statistics, seed=0)["accuracy"].std()
    assert clustered / alone == pytest.approx(2, rel=0.05)


def test_standard_error_agrees_with_the_cluster_formula() -> None:
    rng = np.random.default_rng(4)
    groups = np.sort(rng.integers(0, 80, size=300))
    groups = np.unique(groups, return_inverse=True)[1]
    cells = _cells(rng, 300)
    right = np.isin(cells, [0, 5, 10]).astype(float)
    draws = bootstrap(_counts(cells, groups), _statistics, seed=0)["accuracy"]
    residuals = np.bincount(groups, right - right.mean())
    assert draws.std() == pytest.approx(np.sqrt((residuals**2).sum()) / len(cells), rel=0.05)


def test_bootstrap_does_not_depend_on_the_order_of_groups_and_is_seeded() -> None:
    counts = _counts(_cells(np.random.default_rng(5), 120))
    shuffled = counts[np.random.default_rng(6).permutation(120)]
    one, two, other = (
        bootstrap(c, _statistics, seed=s, resamples=500) for c, s in ((counts, 0), (shuffled, 0), (counts, 1))
    )
    np.testing.assert_array_equal(one["macro_f1"], two["macro_f1"])
    assert (one["macro_f1"] != other["macro_f1"]).any()


def test_patterns_lose_nothing() -> None:
    counts = _counts(_cells(np.random.default_rng(7), 200))
    patterns, multiplicity = patterns_of(counts)
    assert multiplicity.sum() == 200
    np.testing.assert_array_equal(multiplicity @ patterns, counts.sum(axis=0))


def test_coverage_in_200_worlds() -> None:
    truth = _statistics((TRUTH[:, None] * NOISE).ravel()[None])
    hits = {"macro_f1": 0, "accuracy": 0, "wilson": 0}
    rng = np.random.default_rng(8)
    for world in range(200):
        counts = _counts(_cells(rng, 250))
        draws = bootstrap(counts, _statistics, seed=world, resamples=1000)
        for name, values in draws.items():
            low, high = percentiles(values)
            hits[name] += low <= truth[name][0] <= high
        right = int(counts.sum(axis=0)[[0, 5, 10]].sum())
        interval = wilson(right, 250)
        hits["wilson"] += interval.low <= truth["accuracy"][0] <= interval.high
    for name, count in hits.items():
        assert 0.90 <= count / 200 <= 0.99, name


@pytest.mark.parametrize(("rows", "width", "highest"), [(1, 1, 1), (60, 3, 2), (300, 40, 255), (200, 5, 300)])
def test_patterns_are_the_distinct_rows_in_their_order(rows: int, width: int, highest: int) -> None:
    counts = np.random.default_rng(rows).integers(0, highest + 1, (rows, width))
    counts[np.arange(rows) % 7 == 0] = counts[0]  # some rows are alike
    patterns, multiplicity = patterns_of(counts)
    expected, times = np.unique(counts, axis=0, return_counts=True)
    assert (patterns == expected).all()
    assert (multiplicity == times).all()
