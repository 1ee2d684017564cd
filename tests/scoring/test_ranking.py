import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.contingency_tables import SquareTable
from torchmetrics.functional import classification as tm

from pipeline.scoring import ranking as module
from pipeline.scoring.intervals import group_counts
from pipeline.scoring.ranking import group_weights, marginal_bias, precision_recall_curve, ranking, ranking_scores

LABELS = ("Negative", "Neutral", "Positive")
ROWS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60)


def make_world(n: int, k: int = 3, *, seed: int = 0, skill: float = 1.0) -> tuple[Any, Any]:
    """True classes and probabilities of a made-up system; the first class is the rarest."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, k + 1) / np.arange(1, k + 1).sum()
    y = rng.choice(k, size=n, p=weights)
    scores = rng.normal(size=(n, k))
    scores[np.arange(n), y] += skill
    return y, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def _once(scores: Any, positive: Any) -> tuple[float, float]:
    n = len(scores)
    average, area = ranking_scores(scores, positive, np.arange(n), np.ones((n, 1)))[:, 0].tolist()
    return average, area


@given(ROWS)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_scores_with_ties_agree_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([r[0] for r in rows], dtype=float), np.array([r[1] for r in rows])
    average, area = _once(scores, positive)
    if not positive.any():
        assert np.isnan(average)
    else:
        assert average == pytest.approx(sk.average_precision_score(positive, scores), abs=1e-12)
    if positive.all() or not positive.any():
        assert np.isnan(area)
    else:
        assert area == pytest.approx(sk.roc_auc_score(positive, scores), abs=1e-12)
        u = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
        assert area == pytest.approx(u / (positive.sum() * (~positive).sum()), abs=1e-12)


def test_macro_scores_agree_with_scikit_learn_and_torchmetrics() -> None:
    y, p = make_world(400)
    macro = ranking(y, p.argmax(axis=1), {"tuned": p}, groups=np.arange(400), labels=LABELS)["systems"]["tuned"][
        "macro"
    ]
    assert macro["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
    assert macro["average_precision"]["value"] == pytest.approx(
        sk.average_precision_score(np.eye(3)[y], p, average="macro"), abs=1e-12
    )
    theirs = tm.multiclass_average_precision(torch.tensor(p), torch.tensor(y), num_classes=3)
    assert macro["average_precision"]["value"] == pytest.approx(float(theirs), abs=1e-5)
    theirs = tm.multiclass_auroc(torch.tensor(p), torch.tensor(y), num_classes=3)
    assert macro["roc_auc"]["value"] == pytest.approx(float(theirs), abs=1e-5)


def test_weights_are_copies_of_rows() -> None:
    rng = np.random.default_rng(1)
    scores, positive, groups = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.3, rng.integers(0, 20, 60)
    weights = group_weights(20, resamples=70, seed=2)
    np.testing.assert_array_equal(weights.sum(axis=0), 20)
    ours = ranking_scores(scores, positive, groups, weights)
    for b in range(70):
        times = weights[groups, b].astype(int)
        copies, hits = np.repeat(scores, times), np.repeat(positive, times)
        assert ours[0, b] == pytest.approx(sk.average_precision_score(hits, copies), abs=1e-6)
        assert ours[1, b] == pytest.approx(sk.roc_auc_score(hits, copies), abs=1e-6)


def test_intervals_agree_with_scipy() -> None:
    y, p = make_world(300)
    ours = ranking(y, p.argmax(axis=1), {"tuned": p}, groups=np.arange(300), labels=LABELS)
    ours = ours["systems"]["tuned"]["classes"]["Negative"]
    for i, name in enumerate(("average_precision", "roc_auc")):
        oracle = stats.bootstrap(
            (y == 0, p[:, 0]),
            lambda positive, scores, i=i: _once(scores, positive.astype(bool))[i],
            paired=True,
            vectorized=False,
            n_resamples=500,
            method="percentile",
            rng=np.random.default_rng(3),
        ).confidence_interval
        assert ours[name]["low"] == pytest.approx(oracle.low, abs=0.02)
        assert ours[name]["high"] == pytest.approx(oracle.high, abs=0.02)


def test_copies_of_rows_make_an_interval_no_narrower() -> None:
    y, p = make_world(120)
    alone = ranking(y, y, {"a": p}, groups=np.arange(120), labels=LABELS)
    copied = ranking(np.repeat(y, 4), np.repeat(y, 4), {"a": np.repeat(p, 4, axis=0)},
                     groups=np.repeat(np.arange(120), 4), labels=LABELS)  # fmt: skip
    for name in ("average_precision", "roc_auc"):
        one, four = (r["systems"]["a"]["classes"]["Neutral"][name] for r in (alone, copied))
        assert four == pytest.approx(one, abs=1e-6)


def test_the_interval_of_an_area_covers_the_truth() -> None:
    # Two normal distributions one apart: the area is known.
    truth, hits, rng = stats.norm.cdf(1 / np.sqrt(2)), 0, np.random.default_rng(4)
    weights = group_weights(150, resamples=400, seed=0)
    for _ in range(150):
        positive = rng.random(150) < 0.3
        area = ranking_scores(rng.normal(size=150) + positive, positive, np.arange(150), weights)[1]
        hits += np.quantile(area, 0.025) <= truth <= np.quantile(area, 0.975)
    assert 0.9 <= hits / 150 <= 0.99


@given(ROWS)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_curve_lies_on_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([r[0] for r in rows], dtype=float), np.array([r[1] for r in rows])
    points = precision_recall_curve(scores, positive)
    if not positive.any():
        assert points == []
        return
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    theirs = {(round(float(r), 4), round(float(p), 4)) for r, p in zip(recall, precision, strict=True)}
    assert {(r, p) for r, p in points} <= theirs
    assert points[-1][0] == 1
    # Nothing was thinned out here, so the steps hold the whole area.
    steps = np.diff([0, *(r for r, _ in points)])
    assert steps @ [p for _, p in points] == pytest.approx(_once(scores, positive)[0], abs=3e-3)


def test_a_long_curve_is_thinned_and_keeps_its_area() -> None:
    y, p = make_world(5000)
    points = precision_recall_curve(p[:, 2], y == 2)
    assert len(points) == module.CURVE_POINTS
    area = np.diff([0, *(r for r, _ in points)]) @ [p for _, p in points]
    assert area == pytest.approx(_once(p[:, 2], y == 2)[0], abs=5e-3)


TABLES = st.lists(st.lists(st.integers(1, 30), min_size=3, max_size=3), min_size=3, max_size=3)


def _rows_of(table: Any) -> tuple[Any, Any]:
    table = np.asarray(table)
    cells = np.repeat(np.arange(table.size), table.ravel())
    return cells // table.shape[1], cells % table.shape[1]


@given(TABLES, st.integers(0, 5))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_balance_agrees_with_statsmodels(table: list[list[int]], unparsed: int) -> None:
    y, answered = _rows_of(table)
    y, answered = np.append(y, np.zeros(unparsed, int)), np.append(answered, np.full(unparsed, 3))
    bias = marginal_bias(y, answered, groups=np.arange(len(y)), labels=LABELS)
    theirs = SquareTable(np.array(table), shift_zeros=False)
    for ours, oracle in ((bias["homogeneity"], theirs.homogeneity()), (bias["symmetry"], theirs.symmetry())):
        assert ours["statistic"] == pytest.approx(oracle.statistic, abs=1e-8)
        assert ours["p_value"] == pytest.approx(oracle.pvalue, abs=1e-8)
        assert ours["df"] == oracle.df
    assert (bias["n"], bias["unparsed"]) == (int(np.sum(table)), unparsed)
    assert [c["true"] for c in bias["classes"].values()] == pytest.approx(theirs.marginal_probabilities[0])
    assert [c["predicted"] for c in bias["classes"].values()] == pytest.approx(theirs.marginal_probabilities[1])


def test_balance_worked_by_hand() -> None:
    # Three classes, of which the last is never confused: McNemar's chi-square of the other two.
    y, answered = _rows_of([[20, 12, 0], [4, 30, 0], [0, 0, 9]])
    bias = marginal_bias(y, answered, groups=np.arange(len(y)), labels=LABELS)
    expected = {"statistic": pytest.approx(64 / 16), "df": 1, "p_value": pytest.approx(stats.chi2.sf(4, 1))}
    assert bias["homogeneity"] == expected
    assert bias["symmetry"] == expected
    assert bias["classes"]["Neutral"]["difference"]["value"] == pytest.approx(8 / 75)
    assert bias["largest"] in ("Negative", "Neutral")
    assert bias["distinguishable"]


def test_balance_of_copied_rows_is_that_of_the_rows() -> None:
    rng = np.random.default_rng(5)
    y, answered = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    alone = marginal_bias(y, answered, groups=np.arange(90), labels=LABELS)
    copied = marginal_bias(np.repeat(y, 3), np.repeat(answered, 3), groups=np.repeat(np.arange(90), 3), labels=LABELS)
    for test in ("homogeneity", "symmetry"):
        assert copied[test]["p_value"] == pytest.approx(alone[test]["p_value"], abs=1e-9)


def test_balanced_answers_are_seldom_called_out_of_balance() -> None:
    rng, rejected = np.random.default_rng(6), {"homogeneity": 0, "symmetry": 0}
    for _ in range(400):
        groups = np.sort(rng.integers(0, 100, 200))
        table = np.array([[0.3, 0.06, 0.04], [0.06, 0.2, 0.05], [0.04, 0.05, 0.2]])
        # Rows of one group are alike, so that a test that took them for independent would reject too often.
        cells = rng.choice(9, size=100, p=table.ravel())[groups]
        moves = group_counts(np.unique(groups, return_inverse=True)[1], cells[:, None], 9).reshape(-1, 3, 3)
        rejected["homogeneity"] += module._score_test(moves.sum(2) - moves.sum(1))["p_value"] < 0.05  # type: ignore[index]
        upper = np.triu_indices(3, 1)
        rejected["symmetry"] += module._score_test((moves - moves.transpose(0, 2, 1))[:, *upper])["p_value"] < 0.05  # type: ignore[index]
    assert all(0.02 <= n / 400 <= 0.08 for n in rejected.values()), rejected


def _finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or np.isfinite(value)


def _ordered(value: object) -> bool:
    if isinstance(value, dict):
        if value.keys() == {"value", "low", "high"}:
            return bool(value["low"] <= value["value"] <= value["high"])
        return all(map(_ordered, value.values()))
    return True


@pytest.mark.parametrize(("k", "n"), [(2, 1), (2, 4), (3, 4), (3, 40), (20, 4)])
@pytest.mark.parametrize("answers", ["right", "wrong", "unparsed"])
@pytest.mark.parametrize("kind", ["skilled", "constant", "certain"])
def test_degenerate_input_gives_numbers_or_null(
    k: int, n: int, answers: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 100)
    y, p = make_world(n, k, seed=n)
    labels = [str(i) for i in range(k)]
    p = {"skilled": p, "constant": np.full((n, k), 1 / k), "certain": np.eye(k)[y]}[kind]
    answered = {"right": y, "wrong": (y + 1) % k, "unparsed": np.full(n, k)}[answers]
    for groups in (np.arange(n), np.zeros(n, int)):
        result = ranking(y, answered, {"tuned": p}, groups=groups, labels=labels)
        assert _finite(result)
        assert _ordered(result)
        for c, label in enumerate(labels):
            scores = result["systems"]["tuned"]["classes"][label]
            assert (scores["average_precision"] is None) == (not (y == c).any())
            assert (scores["roc_auc"] is None) == (len({*(y == c).tolist()}) == 1)
            if kind == "certain" and (y == c).any():
                # A perfect ranking of few rows proves little.
                assert scores["average_precision"]["value"] == 1
                assert scores["average_precision"]["low"] < 0.96


def test_answers_that_are_all_right_leave_room_for_doubt() -> None:
    y = np.array([0, 1, 2, 2])
    bias = marginal_bias(y, y, groups=np.arange(4), labels=LABELS)
    assert bias["homogeneity"] is bias["symmetry"] is None
    difference = bias["classes"]["Negative"]["difference"]
    assert difference["value"] == 0
    assert difference["low"] == -difference["high"] == pytest.approx(-0.49, abs=0.01)


def test_the_order_of_the_rows_does_not_matter() -> None:
    y, p = make_world(200)
    p = p.round(2)
    groups = np.random.default_rng(7).integers(0, 90, 200)
    groups = np.unique(groups, return_inverse=True)[1]
    mixed = np.random.default_rng(8).permutation(200)
    one = ranking(y, p.argmax(axis=1), {"a": p}, groups=groups, labels=LABELS, seed=3)
    y_mixed, p_mixed = y[mixed], p[mixed]
    two = ranking(y_mixed, p_mixed.argmax(axis=1), {"a": p_mixed}, groups=groups[mixed], labels=LABELS, seed=3)
    assert one == two
    assert one != ranking(y, p.argmax(axis=1), {"a": p}, groups=groups, labels=LABELS, seed=4)


def test_ten_thousand_rows_take_no_longer_than_three_seconds() -> None:
    y, p = make_world(10_000)
    started = time.process_time()
    ranking(y, p.argmax(axis=1), {"tuned": p}, groups=np.arange(10_000), labels=LABELS)
    assert time.process_time() - started < 3
