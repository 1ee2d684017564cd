from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss, d2_brier_score, d2_log_loss_score, log_loss
from statsmodels.stats.proportion import proportion_confint
from synthetic_confidence import LABELS, make_answers
from torchmetrics.functional.classification import multiclass_calibration_error

from pipeline.scoring.calibration import (
    calibration_error,
    class_reliability,
    mass_bins,
    proper_scores,
    row_losses,
    share,
    width_bins,
)
from pipeline.scoring.confidence import Answers
from pipeline.scoring.intervals import free_rows
from pipeline.scoring.temperature import fit_temperature, temperature_effect, tempered

Array = np.ndarray[Any, Any]


def _errors(answers: Answers, **options: Any) -> dict[str, Any]:
    return calibration_error(tempered(answers.log_likelihoods), answers.y_true, answers.groups, **options)


def test_scores_and_skills_agree_with_sklearn() -> None:
    answers = make_answers(400, sharpness=1.5)
    p, y = tempered(answers.log_likelihoods), answers.y_true
    found = proper_scores(p, y, answers.groups)
    assert found["log_loss"]["value"] == pytest.approx(log_loss(y, p), abs=1e-12)
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(y, p, scale_by_half=False), abs=1e-12)
    assert found["log_loss"]["skill"]["value"] == pytest.approx(d2_log_loss_score(y, p), abs=1e-12)
    assert found["brier"]["skill"]["value"] == pytest.approx(d2_brier_score(y, p), abs=1e-12)
    assert found["overconfidence"]["value"] == pytest.approx(p.max(axis=1).mean() - (p.argmax(axis=1) == y).mean())
    assert found["constant"] == "test"


def test_a_probability_of_zero_costs_as_much_as_with_sklearn() -> None:
    p, y = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0])
    assert row_losses(p, y)[:, 0].mean() == pytest.approx(log_loss(y, p), abs=1e-12)
    assert row_losses(p, y)[:, 1].tolist() == [2.0, 0.5]


def test_skill_against_given_priors() -> None:
    answers = make_answers(200)
    p, y = tempered(answers.log_likelihoods), answers.y_true
    priors = np.array([0.1, 0.2, 0.7])
    found = proper_scores(p, y, answers.groups, priors=priors)
    assert found["constant"] == "train"
    expected = 1 - log_loss(y, p) / log_loss(y, np.tile(priors, (200, 1)))
    assert found["log_loss"]["skill"]["value"] == pytest.approx(expected)
    assert proper_scores(np.tile(priors, (200, 1)), y, answers.groups, priors=priors)["brier"]["skill"]["value"] == 0


def test_skill_is_null_where_nothing_can_be_compared() -> None:
    p, groups = np.array([[0.6, 0.4]] * 9 + [[0.2, 0.8]]), np.arange(10)
    impossible = proper_scores(p, np.array([0] * 9 + [1]), groups, priors=np.array([1.0, 0.0]))
    assert impossible["log_loss"]["skill"] is None
    assert impossible["brier"]["skill"]["value"] < 0
    one_class = proper_scores(p, np.zeros(10, dtype=np.int64), groups)
    assert one_class["log_loss"]["skill"] is None
    assert one_class["brier"]["skill"] is None


def test_intervals_agree_with_scipy_and_grow_with_groups() -> None:
    answers = make_answers(300, sharpness=1.5)
    p, y = tempered(answers.log_likelihoods), answers.y_true
    found = proper_scores(p, y, answers.groups)["log_loss"]
    oracle = stats.bootstrap((row_losses(p, y)[:, 0],), np.mean, method="percentile", rng=np.random.default_rng(1))
    spread = oracle.confidence_interval.high - oracle.confidence_interval.low
    assert found["low"] == pytest.approx(oracle.confidence_interval.low, abs=0.08 * spread)
    assert found["high"] == pytest.approx(oracle.confidence_interval.high, abs=0.08 * spread)
    # Four copies of each row are no news: the interval stays, and would halve if they were taken for four rows.
    four = make_answers(300, sharpness=1.5, copies=4)
    p, y = tempered(four.log_likelihoods), four.y_true
    grouped, alone = (proper_scores(p, y, g)["log_loss"] for g in (four.groups, np.arange(1200)))
    assert grouped["high"] - grouped["low"] == pytest.approx(spread, rel=0.1)
    assert alone["high"] - alone["low"] == pytest.approx(spread / 2, rel=0.15)


@pytest.mark.parametrize(("n", "k", "seed"), [(7, 2, 0), (200, 3, 1), (1000, 20, 2)])
def test_errors_of_equal_width_agree_with_torchmetrics(n: int, k: int, seed: int) -> None:
    answers = make_answers(n, k=k, seed=seed, sharpness=1.4)
    p, y = torch.tensor(tempered(answers.log_likelihoods)), torch.tensor(answers.y_true)
    found = _errors(answers, resamples=10)["equal_width"]
    for ours, norm in (("ece", "l1"), ("mce", "max")):
        oracle = multiclass_calibration_error(p, y, k, n_bins=15, norm=norm)
        assert found[ours]["value"] == pytest.approx(float(oracle), abs=1e-6)


def test_error_of_equal_mass_agrees_with_cutting_the_sorted_rows() -> None:
    answers = make_answers(230, sharpness=1.4)
    p = tempered(answers.log_likelihoods)
    order = np.argsort(p.max(axis=1))
    gaps = (p.max(axis=1) - (p.argmax(axis=1) == answers.y_true))[order]
    parts = np.split(gaps, 10)
    found = _errors(answers, resamples=10)["equal_mass"]
    assert found["ece"]["value"] == pytest.approx(sum(abs(part.sum()) for part in parts) / 230)
    assert found["mce"]["value"] == pytest.approx(max(abs(part.mean()) for part in parts))
    assert [one["n"] for one in found["bins"]] == [23] * 10


def test_bins_by_hand() -> None:
    assert width_bins(np.array([0.0, 0.0999, 0.1, 0.95, 1.0]), 10).tolist() == [0, 0, 1, 9, 9]
    assert mass_bins(np.array([0.3, 0.1, 0.2, 0.4]), 2).tolist() == [1, 0, 0, 1]
    assert set(mass_bins(np.full(50, 0.4)).tolist()) == {5}
    tied = mass_bins(np.array([0.1] * 30 + [0.9] * 10), 10)
    assert len(set(tied[:30].tolist())) == len(set(tied[30:].tolist())) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(derandomize=True, max_examples=60)
def test_bins_of_equal_mass_keep_order_and_ties(values: list[float]) -> None:
    confidence = np.array(values)
    bins = mass_bins(confidence)
    order = np.argsort(confidence)
    assert (np.diff(bins[order]) >= 0).all()
    assert all(len(set(bins[confidence == value].tolist())) == 1 for value in values)
    if len(set(values)) == len(values):
        counts = np.bincount(bins, minlength=10)
        assert counts.max() - counts.min() <= 1


def test_null_band_is_that_of_labels_drawn_from_the_probabilities() -> None:
    answers = make_answers(150, seed=3)
    p = tempered(answers.log_likelihoods)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(400):
        y = (rng.random((150, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=2)
        drawn.append(float(multiclass_calibration_error(torch.tensor(p), torch.tensor(y), 3, n_bins=15, norm="l1")))
    found = _errors(answers)["equal_width"]["ece"]
    assert found["null_mean"] == pytest.approx(np.mean(drawn), rel=0.05)
    assert found["null_95"] == pytest.approx(np.quantile(drawn, 0.95), rel=0.08)


@pytest.mark.parametrize("copies", [1, 5])
def test_calibrated_models_are_seldom_called_uncalibrated(copies: int) -> None:
    worlds = [make_answers(300 // copies, seed=seed, copies=copies) for seed in range(100)]
    rejected = sum(_errors(world, resamples=100)["distinguishable"] for world in worlds)
    assert rejected / 100 <= 0.08
    if copies > 1:
        # Were the copies taken for independent rows, they would pass for evidence.
        alone = [Answers(w.log_likelihoods, w.y_true, w.predicted, np.arange(300)) for w in worlds[:20]]
        assert sum(_errors(world, resamples=100)["distinguishable"] for world in alone) > 5


@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_planted_miscalibration_is_found_with_its_direction(sharpness: float) -> None:
    worlds = [make_answers(300, seed=seed, sharpness=sharpness) for seed in range(12)]
    assert sum(_errors(world, resamples=200)["distinguishable"] for world in worlds) >= 12
    for world in worlds:
        over = proper_scores(tempered(world.log_likelihoods), world.y_true, world.groups)["overconfidence"]
        assert over["low"] > 0 if sharpness > 1 else over["high"] < 0


def test_reliability_bins_add_up_and_have_wilson_bars() -> None:
    answers = make_answers(500, sharpness=1.5)
    p = tempered(answers.log_likelihoods)
    for bins in (found["bins"] for found in (_errors(answers)[key] for key in ("equal_width", "equal_mass"))):
        assert sum(one["n"] for one in bins) == 500
        for one in bins:
            accuracy = one["accuracy"]
            wilson = proportion_confint(round(accuracy["value"] * one["n"]), one["n"], method="wilson")
            assert (accuracy["low"], accuracy["high"]) == pytest.approx(wilson, abs=1e-9)
            assert one["null_low"] <= one["null_high"]
    for c, bins in enumerate(class_reliability(p, answers.y_true, answers.groups, LABELS).values()):
        true, predicted = calibration_curve(answers.y_true == c, p[:, c], n_bins=10)
        assert [one["accuracy"]["value"] for one in bins] == pytest.approx(true)
        assert [one["confidence"] for one in bins] == pytest.approx(predicted)


def test_copies_in_a_bin_count_once_in_its_interval() -> None:
    one, four = (_errors(make_answers(100, copies=copies))["equal_width"]["bins"] for copies in (1, 4))
    assert [b["n"] * 4 for b in one] == [b["n"] for b in four]
    assert [b["accuracy"] for b in one] == [b["accuracy"] for b in four]


class _Passthrough(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier whose features are its log-likelihoods."""

    classes_ = np.arange(3)

    def fit(self, X: Array, y: Array) -> "_Passthrough":
        return self

    def decision_function(self, X: Array) -> Array:
        return X

    def predict(self, X: Array) -> Array:
        return np.asarray(X.argmax(axis=1))

    def __sklearn_is_fitted__(self) -> bool:
        return True


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 2.5])
def test_temperature_agrees_with_sklearn(sharpness: float) -> None:
    validation = make_answers(400, seed=5, sharpness=sharpness)
    fitted = fit_temperature(validation.log_likelihoods, validation.y_true, validation.groups)
    oracle = CalibratedClassifierCV(FrozenEstimator(_Passthrough()), method="temperature", ensemble=False)
    oracle.fit(validation.log_likelihoods, validation.y_true)
    assert fitted is not None
    np.testing.assert_allclose(
        tempered(validation.log_likelihoods, fitted["value"]),
        oracle.predict_proba(validation.log_likelihoods),
        atol=1e-4,
    )
    assert fitted["value"] == pytest.approx(sharpness, rel=0.3)


@given(st.integers(0, 10_000), st.floats(0.3, 4.0), st.integers(2, 6))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_a_temperature_changes_no_answer_and_never_harms_validation(seed: int, sharpness: float, k: int) -> None:
    validation = make_answers(60, k=k, seed=seed, sharpness=sharpness)
    fitted = fit_temperature(validation.log_likelihoods, validation.y_true, validation.groups)
    if fitted is None:
        return
    before, after = (tempered(validation.log_likelihoods, t) for t in (1.0, fitted["value"]))
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    losses = [row_losses(p, validation.y_true)[:, 0].mean() for p in (before, after)]
    assert losses[1] <= losses[0] + 1e-12
    assert fitted["low"] <= fitted["value"] <= fitted["high"]


@pytest.mark.parametrize("copies", [1, 4])
def test_the_interval_of_the_temperature_covers(copies: int) -> None:
    hits = 0
    for seed in range(100):
        validation = make_answers(120, seed=seed, sharpness=0.6, copies=copies)
        fitted = fit_temperature(validation.log_likelihoods, validation.y_true, validation.groups)
        assert fitted is not None
        hits += fitted["low"] <= 0.6 <= fitted["high"]
    assert 0.89 <= hits / 100 < 1


def test_no_temperature_from_rows_that_determine_none() -> None:
    few, many = make_answers(19), make_answers(100)
    right = many.log_likelihoods.argmax(axis=1)
    cases = [
        (few.log_likelihoods, few.y_true),
        (many.log_likelihoods, np.zeros(100, dtype=np.int64)),
        (many.log_likelihoods, right),
        (many.log_likelihoods, (right + 1) % 3),
        (np.full((100, 3), -1.1), many.y_true),
    ]
    for scores, y in cases[:4]:
        assert fit_temperature(scores, y, np.arange(len(y))) is None
    # Constant probabilities stay what they are at any temperature.
    assert fit_temperature(*cases[4], np.arange(100)) is None


def test_a_temperature_repairs_an_overconfident_model_on_the_test() -> None:
    test, validation = (make_answers(n, seed=seed, sharpness=2.0) for n, seed in ((600, 1), (400, 2)))
    fitted = fit_temperature(validation.log_likelihoods, validation.y_true, validation.groups)
    assert fitted is not None
    then = temperature_effect(test.log_likelihoods, test.y_true, test.groups, fitted["value"])
    before = proper_scores(tempered(test.log_likelihoods), test.y_true, test.groups)["log_loss"]["value"]
    assert then["log_loss_difference"]["high"] < 0
    assert then["log_loss"]["value"] == pytest.approx(before + then["log_loss_difference"]["value"])
    assert _errors(test)["distinguishable"]
    assert not then["distinguishable"]


@pytest.mark.parametrize(
    "sizes", [[1] * 150, [3] * 80, [40] * 4 + [1] * 160, [1, 2, 3, 4, 5] * 30], ids=["rows", "equal", "a few", "mixed"]
)
def test_a_share_of_rows_in_groups_covers_however_unequal_they_are(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    covered = 0
    for _ in range(300):
        hits = int((rng.random(len(sizes)) < 0.8)[groups].sum())
        found = share(hits, len(groups), free_rows(groups))
        covered += found["low"] <= 0.8 <= found["high"]
    assert 0.9 <= covered / 300 <= 0.99
    if len(set(sizes)) == 1:
        assert free_rows(groups) == len(sizes)
