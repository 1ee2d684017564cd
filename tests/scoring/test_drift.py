import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import html5lib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, ncx2, ttest_ind
from scipy.stats.contingency import association
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import roc_auc_score
from synthetic_tweets import LABELS, make_rows

from pipeline.artifacts import Row
from pipeline.scoring import drift as module
from pipeline.scoring import page
from pipeline.scoring.distances import cramers_interval, cramers_v, jensen_shannon, kolmogorov
from pipeline.scoring.drift import drift, form_of
from pipeline.scoring.drift_sentence import finding

HOSTILE = ("</bdi></section><script>x</script>", "a\u202e\x00\ud800<b>", "$\\frac{$'\" onload=x")


def _drift(train: list[Row], test: list[Row], labels: tuple[str, ...] = LABELS, **options: Any) -> dict[str, Any]:
    found = drift(train, test, labels, **options)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def _named(found: dict[str, Any]) -> dict[str, Any]:
    return {part["name"]: part for part in found["properties"]}


@pytest.fixture(scope="module")
def shifted() -> dict[str, Any]:
    train = make_rows(300, 0)
    return _drift(train, make_rows(200, 1, shares=(0.6, 0.2, 0.2), words=("zork", "plugh"), mean_length=13, first=900))


# The distances, against scipy


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8))
def test_distances_are_those_of_scipy(columns: list[tuple[int, int]]) -> None:
    one, rest = np.array(columns, dtype=float).T
    if not (one.sum() and rest.sum()):
        return
    both = one + rest
    values = [np.repeat(np.arange(len(both)), side.astype(int)) for side in (one, rest)]
    assert kolmogorov(one[None], both) == pytest.approx(ks_2samp(*values).statistic, abs=1e-12)
    assert jensen_shannon(one[None], both) == pytest.approx(jensenshannon(one, rest, base=2), abs=1e-7)
    table = np.array([one, rest])[:, both > 0].astype(int)
    if table.shape[1] > 1:
        assert cramers_v(one[None], both) == pytest.approx(association(table, method="cramer"), abs=1e-12)


def test_a_side_without_words_is_as_far_as_can_be() -> None:
    assert jensen_shannon(np.zeros((1, 3)), np.ones(3)).tolist() == [1.0]


@pytest.mark.parametrize(("value", "df", "n"), [(0.1, 2, 500), (0.3, 1, 90), (0.9, 5, 5_000), (0.08, 19, 5_000)])
def test_interval_of_cramers_v_inverts_noncentral_chi_square(value: float, df: int, n: int) -> None:
    low, high = cramers_interval(value, df, n)
    assert ncx2.cdf(value**2 * n, df, high**2 * n) == pytest.approx(0.025, abs=1e-6)
    if low > 0:
        assert ncx2.cdf(value**2 * n, df, low**2 * n) == pytest.approx(0.975, abs=1e-6)
    assert low <= value <= high


def test_interval_of_cramers_v_covers_the_true_value() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]])
    mean = shares.mean(axis=0)
    truth = np.sqrt((((shares - mean) ** 2) / mean).sum() / 2)
    hits = 0
    for _ in range(400):
        one, rest = (rng.multinomial(300, share).astype(float) for share in shares)
        low, high = cramers_interval(float(cramers_v(one[None], one + rest)[0]), 2, 600)
        hits += low <= truth <= high
    assert 0.93 <= hits / 400 <= 0.98


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_of_cramers_v_at_the_ends(value: float) -> None:
    low, high = cramers_interval(value, 2, 100)
    assert 0 <= low <= value <= high <= 1


# The numbers of a comparison, against scipy and scikit-learn


def test_numbers_are_those_of_the_libraries() -> None:
    train, test = make_rows(150, 0), make_rows(90, 1, shares=(0.5, 0.3, 0.2), first=500)
    found = _drift(train, test)
    counts = np.array([[sum(r.output == label for r in side) for label in LABELS] for side in (train, test)])
    assert found["labels"]["distance"] == pytest.approx(association(counts, method="cramer"))
    for name, part in _named(found).items():
        sides = [[form_of(row.input)[name] for row in side] for side in (test, train)]
        assert part["distance"] == pytest.approx(ks_2samp(*sides).statistic)
        assert (part["test"], part["train"]) == pytest.approx(tuple(np.mean(side) for side in sides))
        if part["difference"] is not None:
            interval = ttest_ind(*sides, equal_var=False).confidence_interval()
            assert [part["difference"][end] for end in ("low", "high")] == pytest.approx(list(interval))
    words = CountVectorizer(token_pattern=r"\w+|[^\w\s]+", min_df=2).fit([r.input for r in train + test])
    sums = [np.asarray(words.transform([r.input for r in side]).sum(axis=0))[0] for side in (train, test)]
    assert found["words"]["distance"] == pytest.approx(jensenshannon(*sums, base=2), abs=1e-6)
    assert found["n"]["train"] == {"rows": 150, "compared": 150, "groups": 150}


def test_p_of_a_form_is_about_that_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(3)
    sides = [[Row(str(i), "", "x" * n, "Neutral", at + i) for i, n in enumerate(rng.integers(1, high, 150))]
             for at, high in ((0, 5_000), (500, 4_700))]  # fmt: skip
    part = _named(_drift(sides[0], sides[1]))["characters"]
    expected = ks_2samp(*([len(row.input) for row in side] for side in sides)).pvalue
    assert part["p_value"] == pytest.approx(expected, rel=0.35)


def test_area_is_that_of_scikit_learn_and_its_interval_is_wider_than_resampling_alone() -> None:
    rows = module._Rows.of({"train": make_rows(80, 0), "test": make_rows(60, 1, first=500)}, 0)
    scores = np.random.default_rng(0).normal(size=140) + rows.is_test
    found = module._area(scores, rows, 0, 5)
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(rows.is_test, scores))
    half = (found["auc"]["high"] - found["auc"]["low"]) / 2
    assert 1.2 * 1.96 * 0.042 < half < 1.6 * 1.96 * 0.045  # Hanley and McNeil's standard error is 0.043


def test_form() -> None:
    assert form_of("Hi @bob, #BTC to $9k ❤️ $ETH https://t.co/x") == {
        "characters": 43, "number of words": 8, "share of capitals": 7 / 23, "digits": 1, "mentions": 1, "hashtags": 1,
        "cashtags": 1, "emoji": 1, "share with a link": 1.0,
    }  # fmt: skip
    assert set(form_of("").values()) == {0}


# What is found, and what is not


def test_halves_of_the_same_tweets_are_not_told_apart() -> None:
    levels: Counter[str] = Counter()
    for seed in range(20):
        rows = make_rows(300, seed)
        found = _drift(rows[:150], rows[150:], seed=seed)
        levels[found["level"]] += 1
    assert levels["alike"] + levels["unknown"] >= 18


def test_larger_halves_are_within_the_bars() -> None:
    rows = make_rows(2_400, 5)
    found = _drift(rows[:1_200], rows[1_200:])
    assert found["labels"]["distance"] < 0.1
    assert 0.45 <= found["classifier"]["auc"]["value"] <= 0.55
    assert found["level"] == "alike"
    assert found["sentence"].startswith(
        "No difference between test and train tweets was found: with 1,200 test and 1,200 train tweets"
    )


@pytest.mark.parametrize(
    ("planted", "part"),
    [({"shares": (0.6, 0.2, 0.2)}, "labels"), ({"words": ("zork",)}, "words"), ({"mean_length": 14}, "characters")],
)
def test_a_planted_shift_is_found_where_it_is(planted: dict[str, Any], part: str) -> None:
    found = _drift(make_rows(300, 0), make_rows(200, 1, first=900, **planted))
    parts = {"labels": found["labels"], "words": found["words"], **_named(found)}
    assert parts[part]["p_holm"] < 0.05
    assert found["level"] == "differ"
    assert found["sentence"].startswith("Test and train tweets (200 test and 300 train tweets) differ: ")
    if part != "labels":
        assert parts["labels"]["p_holm"] > 0.05
    if part == "words":
        assert found["classifier"]["auc"]["low"] > 0.6
        assert found["telling_words"][0]["word"] == "zork"
        assert found["telling_words"][0]["p_adjusted"] < 0.001


def test_all_shifts_are_told(shifted: dict[str, Any]) -> None:
    for said in ("Negative has", "Cramér's V", "characters", "Jensen-Shannon", "area under the ROC curve"):
        assert said in shifted["sentence"]
    assert shifted["sentence"].endswith("on tweets like these it may do otherwise.")
    assert shifted["brief"] == "Test and train tweets differ, in their classes, form, words."


def test_copies_do_not_count_as_evidence() -> None:
    """With ten copies of each tweet, a test of single rows would find a difference in most divisions."""
    found = 0
    for seed in range(40):
        rows = make_rows(600, seed, per_group=10)
        sides = module._Rows.of({"train": rows[:400], "test": rows[400:]}, seed)
        labels = module._labels(sides, module._divisions(sides, seed), LABELS)
        assert labels is not None
        found += labels["p_value"] < 0.05
        assert labels["low"] < 0.25
    assert found <= 5


def test_copies_on_both_sides_are_in_one_fold() -> None:
    texts = [f"only{i} here{i}" for i in range(60)]
    sides = [[Row(f"{side}{i}", "", text, "Neutral", i) for i, text in enumerate(texts)] for side in "ab"]
    assert 0.4 < _drift(sides[0], sides[1])["classifier"]["auc"]["value"] < 0.6


def test_copies_on_one_side_are_in_one_fold() -> None:
    """Each text occurs four times, so a classifier that had met a copy would know the side."""
    sides = [[Row(f"{i}", "", f"only{i // 4} here{i // 4}", "Neutral", i // 4) for i in range(at, at + 160)]
             for at in (0, 160)]  # fmt: skip
    assert 0.3 < _drift(sides[0], sides[1])["classifier"]["auc"]["value"] < 0.7


def test_a_sure_but_small_difference_is_called_small(shifted: dict[str, Any]) -> None:
    small = json.loads(json.dumps(shifted))
    for part in (small["labels"], *small["properties"]):
        part["distance"] = 0.05
    small["classifier"]["auc"] = {"value": 0.52, "low": 0.51, "high": 0.53}
    assert finding(small)["level"] == "slight"
    small["classifier"]["auc"]["value"] = 0.56
    assert finding(small)["level"] == "differ"
    small["classifier"] = small["labels"] = None
    assert finding(small)["level"] == "slight"


# Properties of the result


def test_it_is_the_same_for_any_order_and_again() -> None:
    train, test = make_rows(90, 0, per_group=2), make_rows(50, 1, first=500)
    one = _drift(train, test, seed=3)
    assert one == _drift(train[::-1], test[::-1], seed=3)
    assert one != _drift(train, test, seed=4)


def test_a_large_side_is_sampled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 70)
    train, test = make_rows(90, 0), make_rows(50, 1, first=500)
    found = _drift(train, test)
    assert found == _drift(train[::-1], test[::-1])
    assert found["n"]["train"] == {"rows": 90, "compared": 70, "groups": 70}
    assert found["n"]["test"]["compared"] == 50


def test_words_of_tweets_stand_under_one_key() -> None:
    sides = [[replace(row, input=f"{row.input} secretword") for row in make_rows(60, at, first=at)] for at in (0, 500)]
    sides[0] = [replace(row, input=f"{row.input} hiddenword") for row in sides[0]]
    found = _drift(sides[0], sides[1])
    assert "hiddenword" in json.dumps(found.pop("telling_words"))
    assert not re.search("secretword|hiddenword", json.dumps(found))


@pytest.mark.parametrize(
    ("train", "test", "labels"),
    [
        (make_rows(1, 0), make_rows(1, 1, first=9), LABELS),
        (make_rows(40, 0), make_rows(1, 1, first=90), LABELS),
        (make_rows(40, 0, per_group=40), make_rows(40, 1, per_group=40, first=90), LABELS),
        (make_rows(40, 0), make_rows(40, 0), LABELS),
        ([Row(str(i), "", "", "Neutral", i) for i in range(40)], [Row("t", "", "", "Neutral", 99)], LABELS),
        ([Row(str(i), "", "same", "Neutral", i) for i in range(40)], [Row("t", "", "same", "Positive", 99)], LABELS),
        (make_rows(60, 0, labels=tuple("abcdefghijklmnopqrst")), make_rows(9, 1, labels=("a",), first=90),
         tuple("abcdefghijklmnopqrst")),
    ],
)  # fmt: skip
def test_degenerate_rows_are_compared(train: list[Row], test: list[Row], labels: tuple[str, ...]) -> None:
    found = _drift(train, test, labels)
    assert found["level"] in ("unknown", "alike", "differ")
    assert "nan" not in _render({"drift": found}).lower()


def test_too_few_tweets_are_not_called_alike() -> None:
    found = _drift(make_rows(100, 0), make_rows(10, 1, first=500))
    assert found["level"] == "unknown"
    assert "too few to rule a difference out" in found["sentence"]
    assert "too few of them to rule one out" in found["brief"]


def test_what_could_have_gone_unseen_is_not_called_alike() -> None:
    result = _drift(make_rows(1_200, 0), make_rows(1_200, 1, first=5_000))
    assert finding(result)["level"] == "alike"
    classifier = {**result["classifier"], "auc": {"value": 0.58, "low": 0.51, "high": 0.66}}
    wider = finding({**result, "classifier": classifier})
    assert wider["level"] == "unknown"
    assert "guesses" not in wider["sentence"]
    assert "no better than luck could" in wider["sentence"]
    assert finding({**result, "labels": {**result["labels"], "high": 0.21}})["level"] == "unknown"


# The section


def _render(metrics: dict[str, Any], template: str = "report_drift.html") -> str:
    return page.environment().get_template(template).render(metrics=metrics, figures={})


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in _numbers(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_number_of_the_section_is_one_of_the_metrics(shifted: dict[str, Any]) -> None:
    known = set(_numbers(shifted))
    elements = list(html5lib.parse(_render({"drift": shifted}), namespaceHTMLElements=False).iter("data"))
    assert len(elements) > 100
    for element in elements:
        value, text = float(element.get("value")), "".join(element.itertext()).replace("−", "-").replace(",", "")
        assert value in known
        if text == "< 0.001":
            assert value < 0.001
        elif text.endswith("%"):
            assert float(text[:-2]) == pytest.approx(100 * value, abs=0.05 + 1e-9)
        else:
            assert float(text) == pytest.approx(value, abs=0.0005 + 1e-9 if "." in text else 0)


def test_the_section_shows_nothing_of_what_is_not_there(shifted: dict[str, Any]) -> None:
    assert _render({}).strip() == ""
    hidden = {key: value for key, value in shifted.items() if key != "telling_words"}
    assert "zork" in _render({"drift": shifted})
    assert "zork" not in _render({"drift": hidden})


def test_hostile_labels_and_words_are_text() -> None:
    words = ("<script>alert(1)</script>", "\u202e\x00evil", "x" * 3_000)
    sides = [make_rows(80, 0, labels=HOSTILE, words=words), make_rows(80, 1, labels=HOSTILE, first=500)]
    html = _render({"drift": _drift(sides[0], sides[1], HOSTILE)})
    assert "<script" not in html
    assert not {"\u202e", "\x00", "\ud800"} & set(html)
    assert "x" * 100 not in html
    tags = {str(e.tag) for e in html5lib.parse(html, namespaceHTMLElements=False).iter()}
    assert not tags & {"script", "b", "frac"}
