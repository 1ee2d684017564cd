import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset import duplicates
from pipeline.dataset.duplicates import THRESHOLD, grams, group_duplicates

WORDS = ["market", "coin", "wallet", "chart", "moon", "crash", "rally", "fork", "miner", "block", "ledger", "dip"]


def brute_force(templates: list[str], threshold: float) -> list[int]:
    """Every pair compared, groups joined by relabelling; numbered by first appearance."""
    group = list(range(len(templates)))
    sets = [grams(template) for template in templates]
    for i, j in combinations(range(len(templates)), 2):
        near = len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold
        if (near or templates[i] == templates[j]) and group[i] != group[j]:
            old, new = group[j], group[i]
            group = [new if g == old else g for g in group]
    order: dict[int, int] = {}
    return [order.setdefault(g, len(order)) for g in group]


def corpus(seed: int, size: int) -> list[str]:
    """Families of texts that differ by a word or some letters, so that similarities lie around the threshold."""
    rng = random.Random(seed)
    families = [[rng.choice(WORDS) for _ in range(rng.randint(1, 14))] for _ in range(size // 6)]
    texts = []
    for _ in range(size):
        words = list(rng.choice(families))
        for _ in range(rng.randint(0, 2)):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        text = " ".join(words)
        cut = rng.randrange(len(text))
        texts.append(text[:cut] + rng.choice(["", "x", "xyz"]) + text[cut:])
    return texts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, THRESHOLD, 0.9, 1.0])
def test_agrees_with_comparing_every_pair(seed: int, threshold: float) -> None:
    texts = corpus(seed, 300)
    groups = group_duplicates(texts, threshold)
    assert groups == brute_force(texts, threshold)
    assert len(set(groups)) < len(texts)


def test_blocks_and_chunks_do_not_change_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(7, 300)
    whole = group_duplicates(texts)
    monkeypatch.setattr(duplicates, "_BLOCK", 40)
    monkeypatch.setattr(duplicates, "_CHUNK", 7)
    assert group_duplicates(texts) == whole == brute_force(texts, THRESHOLD)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    texts=st.lists(st.one_of(st.text(alphabet="ab", max_size=14), st.text(max_size=12)), max_size=25),
    threshold=st.sampled_from([0.3, 0.6, THRESHOLD]),
)
def test_agrees_on_short_and_strange_texts(texts: list[str], threshold: float) -> None:
    assert group_duplicates(texts, threshold) == brute_force(texts, threshold)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(order=st.permutations(range(60)))
def test_the_order_of_rows_does_not_change_who_is_together(order: list[int]) -> None:
    texts = corpus(3, 60)
    straight, shuffled = group_duplicates(texts), group_duplicates([texts[i] for i in order])
    together = {(i, j) for i, j in combinations(range(60), 2) if straight[i] == straight[j]}
    assert {
        (min(order[a], order[b]), max(order[a], order[b]))
        for a, b in combinations(range(60), 2)
        if shuffled[a] == shuffled[b]
    } == together


def test_exactly_at_the_threshold_counts_as_near() -> None:
    # 4 of 5 different 5-grams are shared: 0.8. Without one letter more, 3 of 4: 0.75.
    assert group_duplicates(["abcdefgh", "abcdefghi"], 0.8) == [0, 0]
    assert group_duplicates(["abcdefg", "abcdefgh"], 0.8) == [0, 1]


def test_near_copies_of_near_copies_are_in_one_group() -> None:
    chain = ["abcdefghijklmnop"[i : i + 13] for i in range(4)]
    assert group_duplicates(chain) == [0, 0, 0, 0]
    assert group_duplicates([chain[0], chain[3]]) == [0, 1]


def test_groups_are_numbered_by_first_appearance() -> None:
    assert group_duplicates(["one", "two", "one", "", "two", ""]) == [0, 1, 0, 2, 1, 2]
    assert group_duplicates([]) == []
    assert group_duplicates(["alone"]) == [0]


def test_short_texts_have_one_gram() -> None:
    assert grams("moon") == {"moon"}
    assert grams("moons") == {"moons"}
    assert grams("moonss") == {"moons", "oonss"}
