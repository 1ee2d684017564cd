"""Two statistics that have oracles of their own, against the packages that machine-learning papers name."""

import numpy as np
import pytest

from pipeline.scoring import metrics
from pipeline.scoring.comparison import mcnemar


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 3), (5, 5), (7, 19), (31, 12), (120, 150)])
def test_mcnemar_agrees_with_mlxtend(only_a: int, only_b: int) -> None:
    mlxtend = pytest.importorskip("mlxtend.evaluate")
    n = only_a + only_b + 40
    y_true, a, b = np.zeros(n), np.zeros(n), np.zeros(n)
    b[:only_a] = 1
    a[only_a : only_a + only_b] = 1
    _, p = mlxtend.mcnemar(mlxtend.mcnemar_table(y_true, a, b), exact=True)
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, p), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_g_mean_agrees_with_imbalanced_learn(seed: int) -> None:
    imblearn = pytest.importorskip("imblearn.metrics")
    rng = np.random.default_rng(seed)
    y_true = rng.choice(3, 80, p=[0.1, 0.3, 0.6])
    y_pred = np.where(rng.random(80) < 0.6, y_true, rng.integers(0, 4, 80))
    matrix = np.bincount(y_true * 4 + y_pred, minlength=12).reshape(3, 4)
    oracle = imblearn.geometric_mean_score(y_true, y_pred, labels=[0, 1, 2], average="multiclass")
    assert float(metrics.g_mean(matrix)) == pytest.approx(oracle, abs=1e-12)
