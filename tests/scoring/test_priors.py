import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn import metrics as sk
from test_ranking import LABELS, make_world

from pipeline.errors import PipelineError
from pipeline.scoring import metrics
from pipeline.scoring import priors as module
from pipeline.scoring.priors import check_priors, em_step, estimate_priors, likelihood_ratios, priors, reweighted

MATRIX = np.array([[6, 2, 1, 1], [4, 20, 6, 0], [1, 3, 6, 0]])
TRAIN = np.array([0.2, 0.3, 0.5])


def gaussians(n: int, true: Any, *, seed: int = 0) -> tuple[Any, Any]:
    """Classes with shares ``true`` and their exact posteriors under ``TRAIN``: normal distributions two apart."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n, p=true)
    x = rng.normal(2 * y)
    joint = TRAIN * stats.norm.pdf(x[:, None], 2 * np.arange(3))
    return y, joint / joint.sum(axis=1, keepdims=True)


def _log_likelihood(shares: Any, ratios: Any) -> float:
    return float(np.log(ratios @ shares).sum())


def test_known_shares_are_recovered() -> None:
    _, p = gaussians(20_000, [0.5, 0.25, 0.25])
    found = estimate_priors(likelihood_ratios(p, TRAIN), TRAIN, np.ones((20_000, 1)))[0]
    assert found == pytest.approx([0.5, 0.25, 0.25], abs=0.02)


def test_the_estimate_is_the_likeliest() -> None:
    _, p = gaussians(400, [0.6, 0.1, 0.3])
    ratios = likelihood_ratios(p, TRAIN)
    found = estimate_priors(ratios, TRAIN, np.ones((400, 1)), tolerance=1e-10)[0]
    oracle = optimize.minimize(
        lambda shares: -_log_likelihood(shares, ratios), TRAIN, method="SLSQP", bounds=[(1e-9, 1)] * 3,
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1}, options={"ftol": 1e-12},
    )  # fmt: skip
    assert found == pytest.approx(oracle.x, abs=1e-4)


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_likelihood_never_falls(seed: int, weights: list[float]) -> None:
    _, p = gaussians(50, np.array(weights) / sum(weights), seed=seed)
    ratios, shares = likelihood_ratios(p, TRAIN), TRAIN[None]
    for _ in range(30):
        after = em_step(shares, ratios, np.ones((50, 1)))
        assert after.sum() == pytest.approx(1)
        assert _log_likelihood(after[0], ratios) >= _log_likelihood(shares[0], ratios) - 1e-9
        shares = after


def test_weights_are_copies_of_rows() -> None:
    _, p = gaussians(80, [0.3, 0.3, 0.4])
    ratios = likelihood_ratios(p, TRAIN)
    weights = np.random.default_rng(1).integers(0, 4, size=(80, 45))
    ours = estimate_priors(ratios, TRAIN, weights, tolerance=1e-9)
    for b in (0, 19, 20, 44):
        copies = np.repeat(ratios, weights[:, b], axis=0)
        assert ours[b] == pytest.approx(
            estimate_priors(copies, TRAIN, np.ones((len(copies), 1)), tolerance=1e-9)[0], abs=1e-6
        )


def test_the_interval_of_an_estimated_share_covers_the_truth() -> None:
    true, hits = np.array([0.4, 0.3, 0.3]), 0
    for seed in range(40):
        y, p = gaussians(300, true, seed=seed)
        found = module._estimated(p, TRAIN, y, np.arange(300), LABELS, seed)["classes"]["Negative"]["estimated"]
        hits += found["low"] <= 0.4 <= found["high"]
    assert hits >= 34


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=3, max_size=3),
       st.lists(st.floats(0.05, 1), min_size=3, max_size=3))  # fmt: skip
@settings(max_examples=30, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore:.*")
def test_reweighting_is_sample_weights(cells: list[list[int]], weights: list[float]) -> None:
    matrix = np.array(cells)
    if not matrix.sum(axis=1).all():
        return
    shares = np.array(weights) / sum(weights)
    y, answered = np.divmod(np.repeat(np.arange(12), matrix.ravel()), 4)
    weight = (shares / matrix.sum(axis=1))[y]
    ours = reweighted(matrix, shares)
    assert ours.sum() == pytest.approx(1)
    assert metrics.accuracy(ours) == pytest.approx(sk.accuracy_score(y, answered, sample_weight=weight))
    options: dict[str, Any] = {"labels": [0, 1, 2], "sample_weight": weight, "zero_division": 0}
    assert metrics.macro_f1(ours) == pytest.approx(sk.f1_score(y, answered, average="macro", **options))
    assert metrics.precision(ours) == pytest.approx(sk.precision_score(y, answered, average=None, **options))


def test_the_shares_of_the_test_set_change_nothing_and_uniform_accuracy_is_balanced() -> None:
    own = reweighted(MATRIX, MATRIX.sum(axis=1) / MATRIX.sum())
    assert metrics.macro_f1(own) == pytest.approx(metrics.macro_f1(MATRIX))
    uniform = reweighted(MATRIX, np.full(3, 1 / 3))
    assert metrics.accuracy(uniform) == pytest.approx(metrics.balanced_accuracy(MATRIX))
    without = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 1, 4, 0]])
    assert metrics.accuracy(reweighted(without, np.full(3, 1 / 3))) == pytest.approx((0.75 + 0.8) / 2)


def test_an_estimate_of_one_class_alone_is_no_scenario() -> None:
    y = np.repeat([0, 1, 2], 100)
    p = np.tile([0.01, 0.01, 0.98], (300, 1))  # a model that answers one class, and is sure of it
    result = priors(
        y, p.argmax(axis=1), groups=np.arange(300), labels=LABELS, probabilities=p, train=dict.fromkeys(LABELS, 10)
    )
    assert result["estimate"]["single"] == "Positive"
    assert list(result["scenarios"]) == ["uniform"]


def test_the_section_holds_every_scenario() -> None:
    y, p = make_world(300)
    given_shares = check_priors({"Positive": 20, "Negative": 30, "Neutral": 50}, LABELS)
    result = priors(
        y, p.argmax(axis=1), groups=np.arange(300), labels=LABELS, given=given_shares, probabilities=p,
        train={"Negative": 10, "Neutral": 20, "Positive": 30},
    )  # fmt: skip
    assert result["what_if"] is True
    assert list(result["scenarios"]) == ["uniform", "given", "estimated"]
    assert result["scenarios"]["given"]["priors"] == {"Negative": 0.3, "Neutral": 0.5, "Positive": 0.2}
    recalls = [np.mean(p.argmax(axis=1)[y == c] == c) for c in range(3)]
    assert result["scenarios"]["given"]["accuracy"]["value"] == pytest.approx(np.dot(recalls, [0.3, 0.5, 0.2]))
    assert result["estimate"]["single"] is None
    shares = result["estimate"]["classes"]
    assert {label: s["estimated"]["value"] for label, s in shares.items()} == result["scenarios"]["estimated"]["priors"]
    assert [s["true"] for s in shares.values()] == pytest.approx(np.bincount(y) / 300)
    assert list(priors(y, y, groups=np.arange(300), labels=LABELS)["scenarios"]) == ["uniform"]


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"Negative": 1.0}, "expected a share for each of Negative, Neutral, Positive; got Negative"),
        ({"Negative": 1.0, "Neutral": 1, "Positive": 1, "x": 1}, "got Negative, Neutral, Positive, x"),
        ({"Negative": -1.0, "Neutral": 1, "Positive": 1}, "0 or more for Negative, got -1.0"),
        ({"Negative": float("nan"), "Neutral": 1, "Positive": 1}, "got nan"),
        ({"Negative": 0, "Neutral": 0, "Positive": 0}, "got 0 for all"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares: dict[str, float], said: str) -> None:
    with pytest.raises(PipelineError, match="--priors") as refusal:
        check_priors(shares, LABELS)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("k", "n"), [(2, 1), (3, 30), (20, 3)])
@pytest.mark.parametrize("answers", ["right", "wrong", "unparsed"])
@pytest.mark.parametrize("kind", ["constant", "certain"])
def test_degenerate_input_gives_numbers_or_null(
    k: int, n: int, answers: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 20)
    y, p = make_world(n, k, seed=n)
    labels = [str(i) for i in range(k)]
    p = {"constant": np.full((n, k), 1 / k), "certain": np.eye(k)[(y + 1) % k]}[kind]
    answered = {"right": y, "wrong": (y + 1) % k, "unparsed": np.full(n, k)}[answers]
    for groups in (np.arange(n), np.zeros(n, int)):
        result = priors(y, answered, groups=groups, labels=labels, probabilities=p, train={labels[0]: 3, labels[1]: 1},
                        given=check_priors(dict.fromkeys(labels, 1), labels))  # fmt: skip
        json.dumps(result, allow_nan=False)
        for scenario in result["scenarios"].values():
            for score in (scenario["accuracy"], scenario["macro_f1"], *scenario["precision"].values()):
                assert score is None or 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        uniform = result["scenarios"]["uniform"]["accuracy"]
        assert uniform["value"] == pytest.approx(float(answers == "right"))
        assert uniform["high"] - uniform["low"] > 0.05


def test_shares_on_absent_classes_alone_have_no_scores() -> None:
    y = np.array([0, 0, 1, 1])
    given_shares = check_priors({"Negative": 0, "Neutral": 0, "Positive": 1}, LABELS)
    scenario = priors(y, y, groups=np.arange(4), labels=LABELS, given=given_shares)["scenarios"]["given"]
    assert scenario["accuracy"] is scenario["macro_f1"] is None
    assert set(scenario["precision"].values()) == {None}


def test_the_order_of_the_rows_does_not_matter() -> None:
    y, p = make_world(200)
    groups = np.unique(np.random.default_rng(7).integers(0, 90, 200), return_inverse=True)[1]
    mixed = np.random.default_rng(8).permutation(200)
    options: dict[str, Any] = {"labels": LABELS, "train": {"Negative": 1, "Neutral": 1, "Positive": 2}, "seed": 3}
    one = priors(y, p.argmax(axis=1), groups=groups, probabilities=p, **options)
    two = priors(y[mixed], p.argmax(axis=1)[mixed], groups=groups[mixed], probabilities=p[mixed], **options)
    assert json.dumps(one) == json.dumps(two)


def test_ten_thousand_rows_take_no_longer_than_three_seconds() -> None:
    y, p = make_world(10_000)
    started = time.process_time()
    priors(
        y, p.argmax(axis=1), groups=np.arange(10_000), labels=LABELS, probabilities=p, train=dict.fromkeys(LABELS, 1)
    )
    assert time.process_time() - started < 3


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(PipelineError, match=r"expected shares that add up to 1, got 1\.1"):
        check_priors({"Negative": 0.3, "Neutral": 0.4, "Positive": 0.4}, LABELS)
    rounded = check_priors({"Negative": 0.33, "Neutral": 0.33, "Positive": 0.33}, LABELS)
    assert sum(rounded.values()) == pytest.approx(1)
