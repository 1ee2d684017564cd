import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score
from synthetic_confidence import LABELS, make_answers

from pipeline.scoring.intervals import wilson
from pipeline.scoring.selective import Ranked, areas, at_thresholds, aurc, curve, recommend

BLOCKS = st.lists(st.integers(1, 3).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m))), min_size=1, max_size=3)


def _ranked(n: int = 300, **options: Any) -> Ranked:
    return make_answers(n, **options).ranked()


def _mean_risk(wrong: Any) -> float:
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def test_area_is_the_mean_risk_and_one_minus_the_mean_selective_accuracy() -> None:
    ranked = _ranked(250, unparsed=0)
    wrong = ranked.wrong[np.argsort(-ranked.confidence)]
    found = areas(ranked, resamples=10)
    assert found["aurc"]["value"] == pytest.approx(_mean_risk(wrong), abs=1e-12)
    right = np.cumsum(~wrong) / np.arange(1, 251)
    assert found["aurc"]["value"] + right.mean() == pytest.approx(1)
    assert found["oracle"] == pytest.approx(_mean_risk(np.sort(wrong)))
    assert found["random"]["value"] == pytest.approx(wrong.mean())
    assert found["gain"]["value"] == pytest.approx(wrong.mean() - _mean_risk(wrong))


@given(BLOCKS)
@settings(derandomize=True, max_examples=40, deadline=None)
def test_area_with_ties_is_the_mean_over_their_orders(blocks: list[tuple[int, int]]) -> None:
    orders = [sorted(set(itertools.permutations([1] * e + [0] * (m - e)))) for e, m in blocks]
    mean = np.mean([_mean_risk(list(itertools.chain(*order))) for order in itertools.product(*orders)])
    assert float(aurc(np.array([e for e, _ in blocks]), np.array([m for _, m in blocks]))) == pytest.approx(mean)


def test_area_of_stacks_with_empty_blocks() -> None:
    errors, sizes = np.array([[0, 0, 2], [1, 0, 0]]), np.array([[2, 0, 3], [1, 1, 0]])
    alone = [float(aurc(np.array([0, 2]), np.array([2, 3]))), float(aurc(np.array([1, 0]), np.array([1, 1])))]
    assert aurc(errors, sizes).tolist() == pytest.approx(alone)


def test_constant_confidence_is_as_good_as_chance() -> None:
    ranked = Ranked(np.full(10, 0.5), np.zeros(10, dtype=np.int64), np.array([0] * 7 + [1] * 3), np.arange(10))
    found = areas(ranked)
    assert found["aurc"]["value"] == pytest.approx(0.3)
    assert (found["gain"]["low"], found["gain"]["high"]) == pytest.approx((0, 0), abs=1e-12)
    assert [(p["coverage"], p["risk"]) for p in curve(ranked)] == [(1.0, pytest.approx(0.3))]


def test_interval_of_the_area_agrees_with_scipy_and_knows_copies() -> None:
    ranked = _ranked(250, sharpness=1.5)
    found = areas(ranked)["aurc"]

    def area(i: Any) -> float:
        return _mean_risk(ranked.wrong[i][np.argsort(-ranked.confidence[i], kind="stable")])

    oracle = stats.bootstrap(
        (np.arange(250),), area, vectorized=False, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    spread = oracle.high - oracle.low
    assert found["low"] == pytest.approx(oracle.low, abs=0.1 * spread)
    assert found["high"] == pytest.approx(oracle.high, abs=0.1 * spread)
    copies = areas(_ranked(250, sharpness=1.5, copies=4))["aurc"]
    assert copies["high"] - copies["low"] == pytest.approx(spread, rel=0.1)


def test_merging_neighbours_in_the_resamples_does_not_move_them() -> None:
    ranked = _ranked(3000, sharpness=1.5)
    found = areas(ranked)["aurc"]
    assert (found["low"] + found["high"]) / 2 == pytest.approx(found["value"], abs=0.003)


def test_the_interval_of_the_area_covers() -> None:
    truth = areas(_ranked(100_000), resamples=2)["aurc"]["value"]
    found = [areas(_ranked(200, seed=seed), resamples=200)["aurc"] for seed in range(1, 101)]
    assert 0.88 <= np.mean([one["low"] <= truth <= one["high"] for one in found]) <= 0.99


def test_the_curve_is_thin_and_ends_with_every_answer() -> None:
    ranked = _ranked(1000, unparsed=0.1)
    points = curve(ranked)
    assert len(points) == 100
    assert points[-1]["coverage"] == 1
    assert points[-1]["threshold"] == 0
    for point in points:
        kept = ranked.confidence >= point["threshold"]
        assert point["n"] == kept.sum()
        assert point["risk"] == pytest.approx(ranked.wrong[kept].mean())
        assert (point["low"], point["high"]) == pytest.approx(wilson(int(ranked.wrong[kept].sum()), int(kept.sum())))


@pytest.mark.parametrize("seed", range(4))
def test_coverage_at_accuracy_by_brute_force(seed: int) -> None:
    ranked = _ranked(60, seed=seed)
    kept = [ranked.confidence >= t for t in np.unique(ranked.confidence)]
    best = max([k.mean() for k in kept if (~ranked.wrong[k]).mean() >= 0.95], default=0)
    assert areas(ranked)["coverage_at_accuracy"]["value"] == pytest.approx(best)


def test_scores_among_the_kept_agree_with_sklearn() -> None:
    ranked = _ranked(400, sharpness=1.4, unparsed=0.05)
    thresholds = [0.0, 0.5, 0.8]
    for threshold, found in zip(thresholds, at_thresholds(ranked, thresholds, LABELS), strict=True):
        kept = ranked.confidence >= threshold
        y, predicted = ranked.y_true[kept], ranked.predicted[kept]
        assert found["n"] == kept.sum()
        assert found["coverage"]["value"] == pytest.approx(kept.mean())
        assert found["accuracy"]["value"] == pytest.approx(accuracy_score(y, predicted))
        macro = f1_score(y, predicted, labels=[0, 1, 2], average="macro", zero_division=0)
        assert found["macro_f1"]["value"] == pytest.approx(macro)
        assert found["macro_f1"]["low"] < macro < found["macro_f1"]["high"]
        for c, label in enumerate(LABELS):
            assert found["classes"][label]["value"] == pytest.approx(kept[ranked.y_true == c].mean())
        least = min(LABELS, key=lambda label: found["classes"][label]["value"])
        assert found["least_kept"] == least


def test_interval_of_macro_f1_agrees_with_scipy() -> None:
    ranked = _ranked(250)
    found = at_thresholds(ranked, [0.6], LABELS)[0]["macro_f1"]
    kept = ranked.confidence >= 0.6

    def macro(i: Any) -> float:
        i = i[kept[i]]
        return float(f1_score(ranked.y_true[i], ranked.predicted[i], labels=[0, 1, 2], average="macro"))

    oracle = stats.bootstrap(
        (np.arange(250),), macro, vectorized=False, n_resamples=200, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found["low"] == pytest.approx(oracle.low, abs=0.015)
    assert found["high"] == pytest.approx(oracle.high, abs=0.015)


def test_a_class_that_is_silently_abstained_away_shows() -> None:
    # The rare class is answered rightly, but never surely.
    y = np.array([0] * 90 + [1] * 10)
    ranked = Ranked(np.where(y == 1, 0.4, 0.9), y, y, np.arange(100))
    half = at_thresholds(ranked, [ranked.threshold(0.5)], ["common", "rare"])[0]
    assert half["accuracy"]["value"] == 1
    assert half["macro_f1"]["value"] == 0.5
    assert half["least_kept"] == "rare"
    assert half["classes"]["rare"]["value"] == 0


def test_nothing_kept_has_no_accuracy() -> None:
    found = at_thresholds(_ranked(50), [2.0], LABELS)[0]
    assert (found["n"], found["accuracy"], found["macro_f1"]) == (0, None, None)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("n", [1, 7, 100])
def test_a_threshold_keeps_the_share_asked_for_and_no_more_than_needed(n: int, coverage: float) -> None:
    ranked = _ranked(n, unparsed=0.02)
    confidence, threshold = ranked.confidence, ranked.threshold(coverage)
    assert (confidence >= threshold).mean() >= coverage - 1e-9
    assert (confidence > threshold).mean() < coverage


def test_unparsed_answers_are_errors_of_confidence_zero() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    ranked = Ranked.of(p, np.array([0, 0, 0]), np.array([2, 0, 0]), np.arange(3))
    assert ranked.confidence.tolist() == [0, 0.6, 0.2]
    assert ranked.wrong.tolist() == [True, False, False]


@given(st.integers(0, 10_000), st.sampled_from([0.4, 0.6, 0.7]), st.integers(1, 3))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_recommended_threshold_by_brute_force(seed: int, target: float, copies: int) -> None:
    ranked = _ranked(50, seed=seed, sharpness=2, unparsed=0.1, copies=copies)
    fit = []
    for threshold in np.unique(ranked.confidence[ranked.confidence > 0]):
        kept = ranked.confidence >= threshold
        free = len(np.unique(ranked.groups[kept]))
        right = (~ranked.wrong[kept]).mean() * free
        assert right == pytest.approx(round(right))
        if wilson(round(right), free).low >= target:
            fit.append(float(threshold))
    assert recommend(ranked, target) == (min(fit) if fit else None)


def test_the_recommended_threshold_keeps_its_promise_on_new_rows() -> None:
    kept_promise = 0
    for seed in range(30):
        validation, test = _ranked(400, seed=seed), _ranked(4000, seed=1000 + seed)
        threshold = recommend(validation, 0.75)
        assert threshold is not None
        kept_promise += (~test.wrong[test.confidence >= threshold]).mean() >= 0.75
    assert kept_promise >= 25
