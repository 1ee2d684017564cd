import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from pipeline.scoring.parts import Answers
from pipeline.scoring.similarity import by_similarity, nearest_in_train, trends
from pipeline.text import template_of

WORDS = "bitcoin moon dump buy sell hodl market crash rally coin wallet price fear greed".split()  # noqa: SIM905
Array = np.ndarray[Any, Any]


def _answers(right: Array, groups: Array | None = None) -> Answers:
    n = len(right)
    return Answers(
        np.zeros(n, dtype=np.int64), 1 - right.astype(np.int64), np.arange(n) if groups is None else groups, 2
    )


def _tweet(rng: np.random.Generator, words: int = 12) -> str:
    return " ".join(rng.choice(WORDS, size=words))


def _jaccard(a: str, b: str) -> float:
    one, two = ({t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in (template_of(a), template_of(b)))
    return len(one & two) / len(one | two)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(*[st.lists(st.text(st.sampled_from("ab @🚀1я\n"), max_size=12), min_size=1, max_size=8)] * 2)
def test_nearest_agrees_with_sets(train: list[str], test: list[str]) -> None:
    expected = [max(_jaccard(text, other) for other in train) for text in test]
    assert nearest_in_train(train, test) == pytest.approx(expected, abs=0.5e-4)


def test_nearest_agrees_with_sets_over_several_blocks() -> None:
    rng = np.random.default_rng(0)
    train, test = [_tweet(rng) for _ in range(30)], [_tweet(rng, 6) for _ in range(230)]
    expected = [max(_jaccard(text, other) for other in train) for text in test]
    assert nearest_in_train(train, test) == pytest.approx(expected, abs=0.5e-4)


def test_a_copy_is_1_whatever_its_links_and_names_and_a_stranger_is_0() -> None:
    train = ["@joe BTC hits $9,000! https://t.co/a", "ok", "🚀"]
    assert nearest_in_train(train, ["@ann btc hits $8,500 https://t.co/b", "OK", "🚀", "привет", ""]).tolist() == [
        1, 1, 1, 0, 0,
    ]  # fmt: skip
    assert nearest_in_train([], ["a"]).tolist() == [0]
    assert nearest_in_train(["a"], []).tolist() == []


def test_trend_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    similarity = rng.random(120).round(2)
    right = (rng.random(120) < 0.4 + 0.3 * similarity).astype(int)
    found = trends(similarity, [right], np.arange(120), seed=0)[0]
    assert found is not None
    oracle = stats.spearmanr(similarity, right)
    assert found["value"] == pytest.approx(oracle.statistic)
    assert found["p_value"] == pytest.approx(oracle.pvalue, abs=0.03)
    # Bonett and Wright 2000, worked by hand.
    reach = 1.959964 * ((1 + oracle.statistic**2 / 2) / 117) ** 0.5
    assert np.arctanh([found["low"], found["high"]]) == pytest.approx(
        np.arctanh(oracle.statistic) + np.array([-reach, reach]), abs=1e-6
    )


def test_a_group_counts_once() -> None:
    rng = np.random.default_rng(2)
    similarity, right = rng.random(50).round(2), rng.integers(0, 2, 50)
    alone = trends(similarity, [right], np.arange(50), seed=0)
    copied = trends(np.repeat(similarity, 7), [np.repeat(right, 7)], np.repeat(np.arange(50), 7), seed=0)
    assert copied == alone
    assert alone[0] is not None
    assert alone[0]["n"] == 50


def test_trend_seldom_rejects_what_is_true_and_its_interval_covers() -> None:
    rng = np.random.default_rng(3)
    rejected, covered = np.zeros(2), 0
    for world in range(150):
        sizes = rng.geometric(0.6, 60)
        groups = np.repeat(np.arange(60), sizes)
        # Larger groups are more like the training texts, and no better for it.
        similarity = rng.beta(1 + 2 * (sizes > 1), 2)[groups]
        right, other = ((rng.random(len(groups)) < 0.75).astype(int) for _ in range(2))
        found = trends(similarity, [right, right - other], groups, seed=world)
        rejected += [trend is not None and trend["p_value"] < 0.05 for trend in found]
        covered += found[0] is not None and found[0]["low"] <= 0 <= found[0]["high"]
    assert (rejected <= 0.09 * 150).all()
    assert 0.91 <= covered / 150 <= 0.99


def test_tenths_hold_all_rows_in_order_with_their_accuracy() -> None:
    rng = np.random.default_rng(4)
    similarity, right = rng.random(437).round(4), rng.random(437) < 0.6
    result = by_similarity(similarity, {"tuned": _answers(right)}, seed=0)
    bins = result["bins"]
    assert len(bins) == 10
    assert sum(part["n"] for part in bins) == 437
    assert all(40 <= part["n"] <= 48 for part in bins)
    assert all(a["high"] < b["low"] for a, b in itertools.pairwise(bins))
    for part in bins:
        inside = (similarity >= part["low"]) & (similarity <= part["high"])
        assert part["n"] == inside.sum()
        assert part["mean"] == pytest.approx(similarity[inside].mean())
        low, high = proportion_confint(right[inside].sum(), inside.sum(), method="wilson")
        expected = {"value": right[inside].mean(), "low": low, "high": high}
        assert part["accuracy"]["tuned"] == pytest.approx(expected)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), min_size=1, max_size=150), st.booleans())
def test_degenerate_similarities_have_parts_of_20_rows(values: list[float], right: bool) -> None:
    similarity = np.array(values)
    result = by_similarity(similarity, {"tuned": _answers(np.full(len(values), right))}, seed=0)
    sizes = [part["n"] for part in result["bins"]]
    assert sum(sizes) == len(values)
    assert len(sizes) == 1 or min(sizes) >= 20
    assert result["trends"] == {"tuned": None}
    assert result["sentence"].startswith("Whether the tuned model lives on tweets that it has seen cannot be told")


def _world(seed: int, n: int = 300) -> tuple[list[str], list[str], Array]:
    """Training texts, test texts, and which of these have a near twin in training."""
    rng = np.random.default_rng(seed)
    train = [_tweet(rng) for _ in range(n)]
    twin = rng.random(n) < 0.4
    test = [f"@ann {train[i]} now" if twin[i] else _tweet(rng) for i in range(n)]
    return train, test, twin


def test_a_planted_memoriser_is_found_and_one_with_random_errors_is_not() -> None:
    found = {"memoriser": 0, "honest": 0, "lead": 0}
    for seed in range(5):
        train, test, twin = _world(seed)
        rng = np.random.default_rng(100 + seed)
        similarity = nearest_in_train(train, test)
        guessed, honest = rng.random(300) < 1 / 3, _answers(rng.random(300) < 0.7)
        memoriser = by_similarity(similarity, {"tuned": _answers(twin | guessed), "tfidf": honest}, seed=0)
        found["memoriser"] += "rises with the likeness" in memoriser["sentence"]
        found["lead"] += "part of the score is likely memory" in memoriser["sentence"]
        fair = by_similarity(similarity, {"tuned": honest}, seed=0)
        found["honest"] += "nothing here says that it lives on" in fair["sentence"]
    assert found["memoriser"] == found["lead"] == 5
    assert found["honest"] >= 4


def test_the_sentence_follows_the_numbers() -> None:
    rng = np.random.default_rng(7)
    similarity = rng.random(400).round(4)
    chances = (similarity, similarity, 1 - similarity, 0.7)
    rising, as_rising, falling, level = (_answers(rng.random(400) < chance) for chance in chances)

    def told(*systems: Answers) -> str:
        return str(by_similarity(similarity, dict(zip(("tuned", "tfidf"), systems, strict=False)), seed=0)["sentence"])

    assert "rises" in told(rising)
    assert told(rising).endswith("expect the lower figure.")
    assert "The trend of the TF-IDF classifier is not distinguishable from it" in told(rising, as_rising)
    assert "The TF-IDF classifier gains less" in told(rising, level)
    assert "falls with the likeness" in told(falling)
    result = by_similarity(similarity, {"tuned": rising}, seed=0)
    trend, first = result["trends"]["tuned"], result["bins"][0]["accuracy"]["tuned"]
    assert f"rank correlation {trend['value']:+.3f}, 95 % interval" in result["sentence"]
    assert f"from {first['value']:.3f} ({first['low']:.3f} to {first['high']:.3f}) for the least" in result["sentence"]


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    similarity, right, other = rng.random(200).round(4), rng.random(200) < 0.6, rng.random(200) < 0.6
    groups = rng.integers(0, 120, 200)
    order = rng.permutation(200)
    one, two = (
        by_similarity(
            similarity[i], {"tuned": _answers(right[i], groups[i]), "tfidf": _answers(other[i], groups[i])}, seed=0
        )
        for i in (np.arange(200), order)
    )
    assert one == two
