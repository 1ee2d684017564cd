"""Logit adjustment by hand, in a world whose Bayes rules are known, and where there is nothing to gain."""

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pipeline.scoring.adjustment import GRID, adjusted, fit_tau, offsets, pair_counts, paired_error
from pipeline.scoring.intervals import bootstrap
from pipeline.scoring.metrics import balanced_accuracy, macro_f1

SHARES = np.array([0.05, 0.15, 0.8])
UNIFORM = np.full(3, 1 / 3)


def world(n: int, true: Any, *, seed: int, distance: float = 1.5, shift: float = 0.0) -> tuple[Any, Any]:
    """Classes with shares ``true``, and their posteriors' logarithms as one knows them who has learnt from ``SHARES``.

    Each class is a normal distribution around a corner of its own, so all of them are alike but for their shares.
    ``shift`` 1 knows the shares twice over, -1 not at all.
    """
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n, p=true)
    x = rng.normal(distance * np.eye(3)[y])
    joint = distance * x + (1 + shift) * np.log(SHARES)
    return joint - np.log(np.exp(joint).sum(axis=1, keepdims=True)), y


def fitted(rows: tuple[Any, Any], **options: Any) -> dict[str, Any]:
    found = fit_tau(*rows, np.arange(len(rows[1])), SHARES, **options)
    assert found is not None
    return found


def test_an_example_by_hand() -> None:
    shares = np.array([0.1, 0.9])
    assert offsets(1.0, shares) == pytest.approx([math.log(10), math.log(10 / 9)])
    assert offsets(0.5, shares)[0] - offsets(0.5, shares)[1] == pytest.approx(math.log(3))
    assert offsets(0.0, shares).tolist() == [0.0, 0.0]
    # The second class is 2, 4 and 20 times as likely; half the adjustment makes up for a factor of 3, all of it for 9.
    rows = np.log([[1 / 3, 2 / 3], [1 / 5, 4 / 5], [1 / 21, 20 / 21]])
    assert [adjusted(rows, offsets(tau, shares)).tolist() for tau in (-1, 0, 0.5, 1, 2)] == [
        [1, 1, 1],
        [1, 1, 1],
        [0, 1, 1],
        [0, 0, 1],
        [0, 0, 0],
    ]
    assert adjusted(np.zeros((1, 3)), np.zeros(3)).tolist() == [0]


def test_equal_shares_change_nothing() -> None:
    rows, _ = world(200, UNIFORM, seed=0)
    for tau in GRID:
        assert (adjusted(rows, offsets(tau, UNIFORM)) == rows.argmax(axis=1)).all()


@pytest.mark.parametrize("distance", [1.0, 1.5, 2.0])
def test_the_fit_finds_the_bayes_rule_for_classes_that_count_alike(distance: float) -> None:
    # Posteriors divided by the shares they were learnt from are those under equal shares: tau = 1. That rule has the
    # greatest macro-recall whatever the shares of the rows, and on rows of equal shares the greatest macro-F1.
    for true, metric in ((UNIFORM, balanced_accuracy), (UNIFORM, macro_f1), (SHARES, balanced_accuracy)):
        assert fitted(world(40_000, true, seed=1, distance=distance), metric=metric)["tau"] == 1


@pytest.mark.parametrize(("distance", "least", "most"), [(1.0, 0.5, 0.5), (1.5, 0.25, 0.25), (3.0, 0.0, 0.25)])
def test_macro_f1_on_rows_like_those_of_training_wants_less(distance: float, least: float, most: float) -> None:
    # A false alarm costs the rare class's precision, which macro-recall does not see. The optimum lies between the
    # rule of accuracy, 0, and that of macro-recall, 1; where classes are told apart easily, near 0.
    assert least <= fitted(world(40_000, SHARES, seed=1, distance=distance))["best"] <= most


def test_a_model_that_was_taught_to_prefer_rare_classes_wants_a_tau_below_0() -> None:
    assert fitted(world(40_000, SHARES, seed=1, shift=-1.5), metric=balanced_accuracy)["tau"] == -0.5


def test_scores_are_those_of_sklearn_and_the_best_is_the_first_nearest_to_0() -> None:
    rows, y = world(150, SHARES, seed=3)
    found = fitted((rows, y))
    taus = [one["tau"] for one in found["grid"]]
    assert taus == sorted(GRID)
    scores = [
        f1_score(y, (rows - tau * np.log(SHARES)).argmax(axis=1), average="macro", labels=[0, 1, 2], zero_division=0)
        for tau in taus
    ]
    assert [one["score"] for one in found["grid"]] == pytest.approx(scores, abs=1e-12)
    greatest = [tau for tau, score in zip(taus, scores, strict=True) if score > max(scores) - 1e-12]
    assert found["best"] == min(greatest, key=lambda tau: (abs(tau), -tau))
    assert found["gain"] == pytest.approx(max(scores) - scores[taus.index(0)], abs=1e-11)


def test_of_equals_the_one_nearest_to_0_is_taken_and_above_before_below() -> None:
    # Rows so far from any border that no tau changes an answer.
    y = np.arange(30) % 3
    assert fitted((100 * np.eye(3)[y] - 100, y))["best"] == 0
    # One row of each class that is right only beyond 0.4 on either side.
    shares = np.array([0.2, 0.8])
    gap = 0.4 * math.log(4)
    rows = np.concatenate([np.tile([[0.0, gap]], (20, 1)), np.tile([[gap, 0.0]], (20, 1))])
    found = fit_tau(rows, np.repeat([0, 1], 20), np.arange(40), shares)
    assert found is not None
    scores = {one["tau"]: one["score"] for one in found["grid"]}
    assert scores[0.5] == scores[-0.5] > scores[0.25] == scores[0]
    assert found["best"] == found["tau"] == 0.5
    # Nor does the last bit of a sum tell them apart.
    noise = fitted(world(60, SHARES, seed=0), metric=lambda sums: 0.5 + 1e-15 * sums[..., 0].sum(axis=-1))
    assert (noise["best"], noise["gain"]) == (0, 0)


@pytest.mark.parametrize("copies", [1, 4])
def test_the_error_of_the_difference_is_that_of_the_bootstrap(copies: int) -> None:
    rows, y = (np.repeat(each, copies, axis=0) for each in world(400, SHARES, seed=2))
    before, after = rows.argmax(axis=1), adjusted(rows, offsets(0.5, SHARES))
    counts = pair_counts(y, before, after, np.arange(400 * copies) // copies, 3)

    def difference(sums: Any) -> dict[str, Any]:
        values = macro_f1(sums.reshape(-1, 2, 3, 4))
        return {"difference": values[:, 1] - values[:, 0]}

    draws = bootstrap(counts.reshape(400, -1), difference, seed=0)["difference"]
    error = paired_error(counts, macro_f1)
    assert error == pytest.approx(draws.std(), rel=0.1)
    # And by leaving out one group after another, as the formula is written.
    left = [float(difference(counts.sum(axis=0) - each)["difference"][0]) for each in counts]
    assert error == pytest.approx(math.sqrt(399 / 400 * sum((d - np.mean(left)) ** 2 for d in left)))


def test_a_gain_within_one_error_is_left() -> None:
    rows, y = world(2_000, SHARES, seed=0, distance=1.0)
    for n in (30, 60, 120, 300, 2_000):
        found = fitted((rows[:n], y[:n]))
        assert found["tau"] == (found["best"] if found["gain"] > found["error"] else 0)
    # The same rows four times over, as groups of four, say no more than once.
    once = fitted((rows[:120], y[:120]))
    four = fit_tau(np.repeat(rows[:120], 4, axis=0), np.repeat(y[:120], 4), np.repeat(np.arange(120), 4), SHARES)
    assert four is not None
    assert [four[key] for key in ("tau", "best", "gain", "grid")] == [
        once[key] for key in ("tau", "best", "gain", "grid")
    ]
    assert four["error"] == pytest.approx(once["error"])
    assert fit_tau(rows[:120], y[:120], np.zeros(120, dtype=int), SHARES) == {**once, "tau": 0.0, "error": None}


def test_where_nothing_can_be_gained_the_rule_seldom_finds_something() -> None:
    # Here tau = 0 is best in the long run: what these rows want is in the likelihoods already.
    big = fitted(world(40_000, SHARES, seed=99, distance=2.0, shift=-0.15))
    assert big["best"] == 0
    loss = {one["tau"]: one["score"] - big["grid"][4]["score"] for one in big["grid"]}
    found = [fitted(world(200, SHARES, seed=seed, distance=2.0, shift=-0.15)) for seed in range(60)]
    assert np.mean([one["best"] != 0 for one in found]) > 0.6  # by luck
    assert np.mean([one["tau"] != 0 for one in found]) < 0.35
    assert np.mean([loss[one["tau"]] for one in found]) > -0.006
    assert np.mean([loss[one["best"]] for one in found]) < -0.009


def test_where_much_can_be_gained_the_rule_finds_it() -> None:
    found = [fitted(world(200, SHARES, seed=seed, distance=2.0, shift=1.0)) for seed in range(30)]
    assert np.mean([one["tau"] > 0.5 for one in found]) > 0.8


def test_too_few_rows_or_one_class_settle_nothing() -> None:
    rows, y = world(60, SHARES, seed=0)
    groups = np.arange(60)
    assert fit_tau(rows[:19], y[:19], groups[:19], SHARES) is None
    assert fit_tau(rows[:20], y[:20], groups[:20], SHARES) is not None
    assert fit_tau(rows, np.zeros(60, dtype=int), groups, SHARES) is None


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows, y = world(200, SHARES, seed=5, distance=1.0)
    order = np.random.default_rng(0).permutation(200)
    assert fit_tau(rows, y, np.arange(200) // 2, SHARES) == fit_tau(
        rows[order], y[order], (np.arange(200) // 2)[order], SHARES
    )
