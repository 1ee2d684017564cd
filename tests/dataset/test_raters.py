import csv
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from pipeline.dataset.labels import find_classes
from pipeline.dataset.raters import Level, RaterAgreement, against_others, alpha, coincidences, rater_agreement
from pipeline.dataset.ratings import read_ratings
from pipeline.dataset.tables import Table

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
NAMES = ("Negative", "Neutral", "Positive")
LEVELS: tuple[Level, ...] = get_args(Level)
# The worked example C of Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": four observers, twelve units,
# five classes; a dot is no rating.
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
UNITS = [[int(rating) - 1 for rating in unit if rating != "."] for unit in zip(*OBSERVERS, strict=True)]


def counted(items: list[list[int]], k: int) -> NDArray[np.float64]:
    return np.array([np.bincount(item, minlength=k) for item in items if len(item) >= 2], dtype=np.float64)


def measured(items: list[list[int]], k: int, level: Level) -> float:
    return float(alpha(coincidences(counted(items, k)).sum(axis=0).reshape(k, k), level))


def by_definition(items: list[list[int]], level: Level) -> float:
    """Alpha from all pairs of ratings: their mean distance within items over that among all."""
    items = [item for item in items if len(item) >= 2]
    values = [value for item in items for value in item]
    n = Counter(values)

    def distance(a: int, b: int) -> float:
        low, high = min(a, b), max(a, b)
        if low == high:
            return 0
        between = sum(n[g] for g in range(low, high + 1)) - (n[low] + n[high]) / 2
        return {"nominal": 1.0, "ordinal": between**2, "interval": (high - low) ** 2}[level]

    within = sum(sum(distance(a, b) for a, b in permutations(item, 2)) / (len(item) - 1) for item in items)
    every = sum(distance(a, b) for a, b in permutations(values, 2))
    return 1 - within / (every / (len(values) - 1)) if every else float("nan")


def agreement(items: list[list[int]], level: Level | None = None, seed: int = 1) -> RaterAgreement:
    found = rater_agreement([[NAMES[c] for c in item] for item in items], NAMES, seed=seed, level=level)
    assert found is not None
    return found


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: Level, published: float) -> None:
    assert measured(UNITS, 5, level) == pytest.approx(published, abs=0.0005)
    assert by_definition(UNITS, level) == pytest.approx(published, abs=0.0005)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=12), st.sampled_from(LEVELS))
def test_alpha_is_its_definition(items: list[list[int]], level: Level) -> None:
    if any(len(item) >= 2 for item in items):
        assert measured(items, 4, level) == pytest.approx(by_definition(items, level), nan_ok=True, abs=1e-9)


def test_a_stack_of_matrices_is_scored_at_once() -> None:
    pairs = coincidences(counted(UNITS, 5)).reshape(-1, 5, 5)
    stack = np.array([pairs.sum(axis=0), pairs[:6].sum(axis=0)])
    for level in LEVELS:
        assert alpha(stack, level).tolist() == pytest.approx([float(alpha(matrix, level)) for matrix in stack])


def test_items_are_what_the_interval_is_about() -> None:
    rng = np.random.default_rng(1)

    def draw(n: int) -> list[list[int]]:
        true = rng.choice(3, n, p=[0.3, 0.4, 0.3])
        return [[int(t) if rng.random() < 0.7 else int(rng.integers(0, 3)) for _ in range(3)] for t in true]

    truth = agreement(draw(30_000)).alpha
    assert truth is not None
    covered = [
        found.low <= truth <= found.high
        for found in (agreement(draw(150), seed=seed) for seed in range(100))
        if found.low is not None and found.high is not None
    ]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_ceiling_by_hand() -> None:
    # Item one: the odd rater faces two Positive and is wrong, the other two face a tie, half right each: 1 of 3.
    # Item two: all agree.
    found = agreement([[2, 2, 0], [1, 1]])
    assert found.human_ceiling.accuracy == pytest.approx((1 / 3 + 1) / 2)
    table = against_others(counted([[2, 2, 0], [1, 1]], 3)).reshape(2, 3, 3)
    assert table[0] == pytest.approx(np.array([[0, 0, 1 / 3], [0, 0, 0], [1 / 3, 0, 1 / 3]]))
    assert table[1] == pytest.approx(np.diag([0, 1, 0]))


def test_ceiling_is_what_drawing_raters_gives() -> None:
    rng = np.random.default_rng(2)
    items = [rng.choice(3, rng.integers(2, 7), p=rng.dirichlet([1, 1, 1])).tolist() for _ in range(80)]
    truth, said = [], []
    for _ in range(150):
        for item in items:
            others = list(item)
            one = others.pop(int(rng.integers(len(others))))
            votes = Counter(others)
            truth.append(int(rng.choice([c for c in votes if votes[c] == max(votes.values())])))
            said.append(one)
    found = agreement(items).human_ceiling
    assert found.accuracy == pytest.approx(np.mean(np.array(truth) == said), abs=0.015)
    assert found.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"), abs=0.015)
    assert found.low < found.macro_f1 < found.high


def test_level_follows_from_the_names() -> None:
    ratings = [["Bullish", "Bearish"], ["Neutral", "Neutral"], ["Bullish", "Bullish"], ["Bearish", "Bearish"]]
    sorted_names = rater_agreement(ratings, ("Bearish", "Bullish", "Neutral"), seed=1)
    ordered = rater_agreement(ratings, ("Bearish", "Neutral", "Bullish"), seed=1)
    assert sorted_names is not None
    assert ordered is not None
    assert sorted_names.level == "ordinal"
    assert sorted_names.alpha == ordered.alpha
    topics = rater_agreement([["Sports", "Politics"], ["Sports", "Sports"]], ("Politics", "Sports"), seed=1)
    assert topics is not None
    assert topics.level == "nominal"


def test_what_is_not_defined_is_none() -> None:
    same = agreement([[1, 1], [1, 1, 1]])
    assert (same.alpha, same.low, same.high) == (None, None, None)
    assert same.human_ceiling.accuracy == 1
    assert rater_agreement([["Neutral"], []], NAMES, seed=1) is None


def test_manifest() -> None:
    found = agreement([[0, 0], [1, 1, 1, 2], [2, 2, 2], [1]]).to_json()
    assert found["items"] == 3
    assert found["ratings"] == 9
    assert found["raters_per_item"] == {"min": 2, "median": 3.0, "max": 4}
    assert found.keys() == {
        *("items", "ratings", "raters_per_item", "krippendorff_alpha", "low", "high", "level", "human_ceiling"),
    }
    ceiling = found["human_ceiling"]
    assert isinstance(ceiling, dict)
    assert ceiling.keys() == {"macro_f1", "accuracy", "low", "high"}


def test_tweets_with_twenty_raters_each() -> None:
    path = DATA / "vader_tweets/tweets_anonDataRatings.txt"
    if not path.is_file():
        pytest.skip("the rated tweets are not on this machine")
    cells = [line.split("\t")[3] for line in path.read_text(encoding="utf-8").splitlines()]
    table = Table(path, {"ratings": cells, "label": ["-1", "0", "1"] * (len(cells) // 3)}, range(1, len(cells) + 1))
    found = rater_agreement(read_ratings(table, ["ratings"], find_classes([(table, "label")])), NAMES, seed=1)
    assert found is not None
    assert (found.items, found.raters_per_item["min"]) == (4200, 20)
    # krippendorff 0.9.0 gives 0.75468464918898.
    assert found.alpha == pytest.approx(0.75468464918898)
    assert 0.75 < found.human_ceiling.macro_f1 < 0.85


def test_news_with_three_raters_each() -> None:
    path = DATA / "cryptolin/CryptoLin_IE.csv"
    if not path.is_file():
        pytest.skip("the rated news are not on this machine")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    values = {name: [row[name] for row in rows] for name in ("text_span", "final_manual_labelling")}
    table = Table(path, values, range(1, len(rows) + 1))
    classes = find_classes([(table, "final_manual_labelling")])
    ratings = read_ratings(table, ["text_span"], classes)
    assert {len(given) for given in ratings} == {3}
    majority = [Counter(given).most_common(1)[0][0] for given in ratings]
    same = [classes.label_of[v] == m for v, m in zip(values["final_manual_labelling"], majority, strict=True)]
    assert np.mean(same) > 0.99
