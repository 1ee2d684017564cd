from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from pipeline.scoring.parts import Answers, accuracy, difference, macro_f1
from pipeline.scoring.segments import Segment, gap_needed, judge, permutation_p, segments_of

LABELS = ("Negative", "Neutral", "Positive")
Ints = np.ndarray[Any, Any]


def _answers(y_true: Sequence[int] | Ints, y_pred: Sequence[int] | Ints, groups: Ints | None = None) -> Answers:
    y = np.asarray(y_true, dtype=np.int64)
    return Answers(y, np.asarray(y_pred, dtype=np.int64), np.arange(len(y)) if groups is None else groups, 3)


def _from_right(right: Ints, groups: Ints | None = None) -> Answers:
    return _answers(np.zeros(len(right)), 1 - right.astype(np.int64), groups)


def _world(rng: np.random.Generator, n: int, skill: float | Ints = 0.7) -> Answers:
    y = rng.integers(0, 3, n)
    return _answers(y, np.where(rng.random(n) < skill, y, rng.integers(0, 4, n)))


def _row(text: str, **more: object) -> dict[str, Any]:
    return {"input": text, **more}


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("with a link", "see https://t.co/x", "see this"),
        ("with a mention", "thanks @joe!", "mail a@b.c"),
        ("with a cashtag", "buy $BTC", "costs $5 and US$BTC"),
        ("with a hashtag", "buy #bitcoin", "issue# 5"),
        ("with an emoji", "to the 🚀", "to the moon"),
        ("with an emoji", "I ❤️ it", "© ™ → 5"),
        ("with a number", "at $9,000", "see https://t.co/1 or @u2 #3"),
        ("with a line break", "one\ntwo", "one two"),
        ("with a question mark", "why？", "why!"),
        ("with a word in capitals", "HODL now", "BTC to $WAGMI #MOON Hodl"),
        ("with non-Latin letters", "всё пропало", "Über 𝐁𝐨𝐥𝐝 ﬁné ½ €"),
        ("with non-Latin letters", "买比特币", "1️⃣ 🚀"),
    ],
)
def test_what_a_tweet_contains(name: str, yes: str, no: str) -> None:
    segments = segments_of([_row(yes), _row(no)], _answers([0, 0], [0, 0]), LABELS)
    inside = next(s.inside for s in segments if s.name == name)
    assert inside.tolist() == [True, False]


def test_lengths_are_thirds_and_every_row_is_in_one() -> None:
    rows = [_row("x" * length) for length in range(1, 31)]
    short, middle, long = segments_of(rows, _answers([0] * 30, [0] * 30), LABELS)[:3]
    assert (short.name, middle.name, long.name) == (
        "of up to 10 characters",
        "of 11 to 20 characters",
        "of 21 characters or more",
    )
    np.testing.assert_array_equal(short.inside.astype(int) + middle.inside + long.inside, np.ones(30))
    assert short.inside.sum() == middle.inside.sum() == long.inside.sum() == 10


def test_what_is_known_of_a_row() -> None:
    answers = _answers([0, 1, 2, 2], [0, 1, 2, 3], np.array([0, 1, 1, 2]))
    rows = [_row("a", shortened=True), _row("b", shortened=False), _row("c"), _row("d")]
    inside = {s.name: s.inside.tolist() for s in segments_of(rows, answers, LABELS)}
    assert inside["cut to fit the model"] == [True, False, False, False]
    assert inside["with near-copies"] == [False, True, True, False]
    assert inside["labelled Positive"] == [False, False, True, True]


def test_scores_of_a_segment_agree_with_other_libraries() -> None:
    rng = np.random.default_rng(0)
    answers = _world(rng, 500)
    inside = rng.random(500) < 0.3
    segments = [Segment("these", inside), Segment("others", rng.random(500) < 0.5)]
    result = judge(segments, answers, system="tuned", seed=0)
    found = next(found for found in result["judged"] if found["name"] == "these")
    right, n = answers.right[inside], int(inside.sum())
    rest = answers.right[~inside]
    low, high = proportion_confint(right.sum(), n, method="wilson")
    assert found["accuracy"] == pytest.approx({"value": right.mean(), "low": low, "high": high})
    y, predicted = answers.y_true[inside], answers.y_pred[inside]
    assert found["macro_f1"]["value"] == pytest.approx(f1_score(y, predicted, labels=[0, 1, 2], average="macro"))
    assert found["macro_f1"]["low"] < found["macro_f1"]["value"] < found["macro_f1"]["high"]
    low, high = confint_proportions_2indep(right.sum(), n, rest.sum(), len(rest), method="newcomb")
    assert found["difference"] == pytest.approx({"value": right.mean() - rest.mean(), "low": low, "high": high})
    table = [[right.sum(), n - right.sum()], [rest.sum(), len(rest) - rest.sum()]]
    assert found["p_value"] == pytest.approx(stats.fisher_exact(table).pvalue)
    p_values = [found["p_value"] for found in result["judged"]]
    assert [found["q_value"] for found in result["judged"]] == pytest.approx(
        multipletests(p_values, method="fdr_bh")[1]
    )


def test_scores_of_dependent_rows_are_as_sure_as_their_groups() -> None:
    answers = _world(np.random.default_rng(1), 150)
    y_true, y_pred, groups = (np.repeat(a, 4) for a in (answers.y_true, answers.y_pred, answers.groups))
    copies = Answers(y_true, y_pred, groups, 3)
    once, four = (accuracy(a, seed=0) for a in (answers, copies))
    assert four["value"] == once["value"]
    assert four["high"] - four["low"] == pytest.approx(once["high"] - once["low"], rel=0.08)
    assert macro_f1(copies, seed=0) == pytest.approx(macro_f1(answers, seed=0))


def test_macro_f1_needs_every_class() -> None:
    assert macro_f1(_answers([0, 1, 1], [0, 1, 2]), seed=0) is None
    assert macro_f1(_answers([0, 1, 2], [0, 1, 3]), seed=0) is not None


def test_permutation_agrees_with_fisher_where_rows_are_independent() -> None:
    rng = np.random.default_rng(2)
    for _ in range(8):
        right, inside = rng.random(300) < 0.7, rng.random(300) < 0.4
        table = [[(right & inside).sum(), (~right & inside).sum()], [(right & ~inside).sum(), (~right & ~inside).sum()]]
        ours = permutation_p(_from_right(right), inside, seed=0, permutations=4_000)
        # Twice the smaller tail, where Fisher adds what is less likely than the observed.
        low, high = (stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater"))
        assert ours == pytest.approx(min(1, 2 * min(low, high)), abs=0.03)


def test_copies_are_no_evidence() -> None:
    rng = np.random.default_rng(3)
    right, inside = rng.random(60) < 0.6, np.arange(60) < 30
    right[:30] = rng.random(30) < 0.45
    alone = permutation_p(_from_right(right), inside, seed=0)
    groups = np.repeat(np.arange(60), 10)
    copied = permutation_p(_from_right(np.repeat(right, 10), groups), np.repeat(inside, 10), seed=0)
    assert copied == pytest.approx(alone, abs=0.02)


def _grouped(rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Groups of all sizes whose rows mostly share their fate, and two segments that have nothing to do with it."""
    sizes = rng.geometric(0.5, 150)
    groups = np.repeat(np.arange(150), sizes)
    right = np.where(rng.random(len(groups)) < 0.7, (rng.random(150) < 0.8)[groups], rng.random(len(groups)) < 0.8)
    return groups, right, np.stack([(sizes > 1)[groups], rng.random(len(groups)) < 0.3])


def test_permutation_seldom_rejects_what_is_true() -> None:
    rng = np.random.default_rng(4)
    rejected = np.zeros(2)
    for world in range(150):
        groups, right, segments = _grouped(rng)
        answers = _from_right(right, groups)
        rejected += [permutation_p(answers, inside, seed=world, permutations=300) < 0.05 for inside in segments]
    assert (rejected <= 0.08 * 150).all()


def test_no_false_alarm_where_nothing_is_weak() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(40):
        # Without all three classes there is no macro-F1, whose resampling takes most of the time.
        answers = _from_right(rng.random(300) < 0.7)
        segments = [Segment(str(i), rng.random(300) < rng.uniform(0.15, 0.6)) for i in range(6)]
        result = judge(segments, answers, system="tuned", seed=0)
        alarms += any(found["finding"] == "weak" for found in result["judged"])
    assert alarms <= 0.05 * 40


def test_a_planted_weak_segment_is_found_and_named() -> None:
    rng = np.random.default_rng(6)
    texts = [f"bitcoin {rng.choice(['🚀', 'x'], p=[0.2, 0.8])} {rng.choice(['#btc', 'abtc'])}" for _ in range(600)]
    skill = np.array([0.3 if "🚀" in text else 0.8 for text in texts])
    answers = _world(rng, 600, skill)
    result = judge(segments_of([_row(t) for t in texts], answers, LABELS), answers, system="tuned", seed=0)
    assert result["judged"][0]["name"] == "with an emoji"
    assert result["judged"][0]["finding"] == "weak"
    assert "with a hashtag" not in [found["name"] for found in result["judged"] if found["finding"] != "same"]
    assert "the tuned model is distinguishably worse than elsewhere at" in result["sentence"]
    assert "tweets with an emoji (accuracy 0.4" in result["sentence"]


def test_what_is_too_small_is_counted_and_not_judged() -> None:
    answers = _world(np.random.default_rng(7), 100)
    segments = [Segment(str(n), np.arange(100) < n) for n in (0, 29, 30, 70, 71, 100)]
    result = judge(segments, answers, system="tuned", seed=0)
    assert sorted(found["name"] for found in result["judged"]) == ["30", "70"]
    assert [(found["name"], found["n"]) for found in result["not_judged"]] == [
        ("0", 0),
        ("29", 29),
        ("71", 71),
        ("100", 100),
    ]
    # Sixty rows in thirty pairs: thirty groups are enough, twenty-nine are not.
    pairs = Answers(answers.y_true, answers.y_pred, np.arange(100) // 2, 3)
    assert [f["name"] for f in judge(segments, pairs, system="tuned", seed=0)["judged"]] == []


def test_the_gap_that_would_have_been_found_is_found_four_times_out_of_five() -> None:
    n, rest_right, rest_n, alpha = 60, 320, 400, 0.05 / 15
    gap = gap_needed(n, rest_right, rest_n, alpha)
    assert gap is not None
    right = np.random.default_rng(8).binomial(n, rest_right / rest_n - gap, size=1_000)
    p = {
        r: stats.fisher_exact([[r, n - r], [rest_right, rest_n - rest_right]], alternative="two-sided").pvalue
        for r in set(right.tolist())
    }
    assert np.mean([p[r] < alpha for r in right.tolist()]) == pytest.approx(0.8, abs=0.04)
    assert gap_needed(30, 20, 400, 0.05) is None
    assert gap_needed(30, 0, 400, 0.05) is None


def test_the_sentence_tells_the_gap_where_nothing_is_weak() -> None:
    answers = _from_right(np.arange(200) % 4 > 0)
    result = judge([Segment("here", np.arange(200) < 40)], answers, system="tuned", seed=0)
    gap = gap_needed(40, 120, 160, 0.05)
    assert gap is not None
    assert result["needed"] == {"name": "here", "groups": 40, "gap": pytest.approx(gap)}
    assert (
        f"at none. Among the fewest, tweets here (40 independent ones), accuracy would have had to be {gap:.3f} "
        in (result["sentence"])
    )


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    answers = _world(rng, 240)
    answers = Answers(answers.y_true, answers.y_pred, rng.integers(0, 150, 240), 3)
    rows = [_row("a" * int(length) + "?" * int(length % 2)) for length in rng.integers(1, 90, 240)]
    shuffled = rng.permutation(240)
    other = Answers(answers.y_true[shuffled], answers.y_pred[shuffled], answers.groups[shuffled], 3)
    one = judge(segments_of(rows, answers, LABELS), answers, system="tuned", seed=0)
    two = judge(segments_of([rows[i] for i in shuffled], other, LABELS), other, system="tuned", seed=0)
    assert one == two
    assert one["test"] == "permutation over groups"
    inside = {segment.name: segment.inside for segment in segments_of(rows, answers, LABELS)}
    for found in one["judged"]:
        assert found["p_value"] == permutation_p(answers, inside[found["name"]], seed=0)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(1, 90), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_degenerate_worlds_have_finite_numbers(n: int, predicted: int, per_group: int, one_class: bool) -> None:
    y = np.zeros(n) if one_class else np.arange(n) % 3
    answers = _answers(y, np.full(n, predicted), np.arange(n) // per_group)
    rows = [_row("x" * (i % 3) + "@a" * (i % 2)) for i in range(n)]
    result = judge(segments_of(rows, answers, LABELS), answers, system="tuned", seed=0)
    for found in result["judged"]:
        for name in ("accuracy", "rest_accuracy", "difference"):
            assert np.isfinite(list(found[name].values())).all()
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert 0 < found["p_value"] <= found["q_value"] <= 1


def test_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(10)
    hits = 0
    for a, b in zip(rng.binomial(40, 0.6, 500), rng.binomial(300, 0.8, 500), strict=True):
        small, large = (
            dict(zip(("value", "low", "high"), (x / n, *proportion_confint(x, n, method="wilson")), strict=True))
            for x, n in ((a, 40), (b, 300))
        )
        gap = difference(small, large)
        hits += gap["low"] <= -0.2 <= gap["high"]
    assert 0.92 <= hits / 500 <= 0.98
