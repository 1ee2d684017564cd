import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset import duplicates
from pipeline.dataset import grams as gram_module
from pipeline.dataset.duplicates import THRESHOLD, grams, group_duplicates
from pipeline.dataset.grams import Ints, gram_sets, ranges
from pipeline.text import template_of

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


@pytest.mark.parametrize("in_blocks", [1, 40, 1_000])
def test_blocks_chunks_and_classes_do_not_change_the_groups(monkeypatch: pytest.MonkeyPatch, in_blocks: int) -> None:
    texts = corpus(7, 300)
    whole = group_duplicates(texts)
    monkeypatch.setattr(duplicates, "_BLOCK", in_blocks)
    monkeypatch.setattr(duplicates, "_CHUNK", 7)
    monkeypatch.setattr(duplicates, "_SMALLEST_CLASS", 10)
    monkeypatch.setattr(gram_module, "_CHUNK", 90)
    assert group_duplicates(texts) == whole == brute_force(texts, THRESHOLD)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    texts=st.lists(st.one_of(st.text(alphabet="ab", max_size=14), st.text(max_size=12)), max_size=25),
    threshold=st.sampled_from([0.3, 0.6, THRESHOLD]),
)
def test_agrees_on_short_and_strange_texts(texts: list[str], threshold: float) -> None:
    assert group_duplicates(texts, threshold) == brute_force(texts, threshold)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_when_the_search_starts_anew_after_every_posting(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    similar = duplicates._Join._join_similar

    def all_in_vain(join: duplicates._Join, i: Ints, j: Ints) -> int:
        similar(join, i, j)
        return duplicates._BLOCK

    monkeypatch.setattr(duplicates._Join, "_join_similar", all_in_vain)
    monkeypatch.setattr(duplicates, "_BLOCK", 1)
    monkeypatch.setattr(duplicates, "_SMALLEST_CLASS", 20)
    texts = corpus(seed, 150)
    assert group_duplicates(texts) == brute_force(texts, THRESHOLD)


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


@settings(max_examples=100, deadline=None, derandomize=True)
@given(texts=st.lists(st.text(max_size=20) | st.text(alphabet="abc", max_size=40), min_size=1, max_size=12))
def test_sets_in_arrays_are_the_sets(texts: list[str]) -> None:
    sets = gram_sets(texts)
    pairs = np.array([(i, j) for i in range(len(texts)) for j in range(len(texts))]).T
    expected = [[len(grams(texts[k])) for k in both] + [len(grams(texts[both[0]]) & grams(texts[both[1]]))]
                for both in pairs.T.tolist()]  # fmt: skip
    shared = sets.shared(*pairs)
    assert np.column_stack([sets.sizes[pairs[0]], sets.sizes[pairs[1]], shared]).tolist() == expected
    apart = sets.sizes[pairs[0]] + sets.sizes[pairs[1]] - 2 * shared
    folded = np.bitwise_count(sets.folded[pairs[0]] ^ sets.folded[pairs[1]])
    sketched = np.bitwise_count(sets.sketches[pairs[0]] ^ sets.sketches[pairs[1]]).sum(axis=1)
    assert (folded <= sketched).all()
    assert (sketched <= apart).all()
    # Ascending within a text, the grams of one text only first.
    rows = [sets.ids[start : start + size] for start, size in zip(sets.starts, sets.sizes, strict=True)]
    counts = np.bincount(sets.ids)
    for row in rows:
        assert (np.diff(row) > 0).all()
        assert (counts[row[row < sets.lone]] == 1).all()


def test_ranges() -> None:
    assert ranges(np.array([5, 0, 9, 2]), np.array([2, 3, 0, 1])).tolist() == [5, 6, 0, 1, 2, 2]
    assert ranges(np.array([], np.int64), np.array([], np.int64)).tolist() == []


EMOJI = "\U0001f680\U0001f4c8\U0001f525\U0001f602\u2764"


def disturbed(words: list[str], rng: random.Random) -> str:
    """The same tweet with the noise that copies on Twitter differ by, and sometimes another word."""
    words = [word.upper() if rng.random() < 0.1 else word for word in words]
    if rng.random() < 0.3:
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    words = [f"#{word}" if rng.random() < 0.1 else word for word in words]
    at = len(words) // 2
    price = f"${rng.randint(1, 99_999):,}" if rng.random() < 0.5 else f"{rng.random() * 100:.2f}%"
    ticker = "$" + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=3))
    words[at:at] = [f"@user{rng.randint(1, 999)}", ticker, price]
    if rng.random() < 0.5:
        words.append(f"https://t.co/{rng.randint(10**8, 10**9)}")
    if rng.random() < 0.5:
        words.insert(rng.randrange(len(words) + 1), rng.choice(EMOJI) * rng.randint(1, 3))
    prefix = f"RT @user{rng.randint(1, 999)}: " if rng.random() < 0.2 else ""
    return prefix + " ".join(words) + rng.choice(["", "!", "...", " \u2026"])


def test_planted_copies_are_found_under_noise() -> None:
    """Recall and precision, pair by pair, against comparing every pair of templates at Jaccard 0.8."""
    rng = random.Random(11)
    originals = [[rng.choice(WORDS) for _ in range(rng.randint(6, 16))] for _ in range(120)]
    planted = [(number, disturbed(words, rng)) for number, words in enumerate(originals) for _ in range(4)]
    rng.shuffle(planted)
    templates = [template_of(text) for _, text in planted]
    found, truth = group_duplicates(templates), brute_force(templates, THRESHOLD)

    def together(groups: list[int]) -> set[tuple[int, int]]:
        return {(i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j]}

    assert together(found) == together(truth)  # recall and precision 1
    # And not for want of copies: of 720 planted pairs, so many are near.
    sets = [grams(template) for template in templates]
    near = {(i, j) for i, j in together([number for number, _ in planted])
            if len(sets[i] & sets[j]) >= THRESHOLD * len(sets[i] | sets[j])}  # fmt: skip
    assert len(near) > 500
    assert near <= together(found)


def test_noise_alone_leaves_the_template_unchanged() -> None:
    rng = random.Random(5)
    words = ["the", "old", "miners", "sold", "the", "ledger", "before", "noon"]
    noise = {
        template_of(f"{' '.join(words)} {ticker} {number} {link} {emoji}")
        for ticker in ("$btc", "$ETH", "$btc $eth")
        for number in ("$9k", "8,712.32", "5%", "100x", "1.5m", "2 3")
        for link in ("https://t.co/abc", "www.example.org/x?y=1", "")
        for emoji in ("", rng.choice(EMOJI))
    }
    assert noise == {f"{' '.join(words)} $ 0"}


def test_the_variants_of_one_tweet_do_not_cost_every_pair() -> None:
    """Twice as many variants may cost twice as much, not four times; the pairs listed are counted, not the time."""
    listed = {}
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(2_000)]
    base = rng.sample(vocabulary, 20)
    variants = [" ".join([*base[:place], rng.choice(vocabulary), *base[place + 1 :]])
                for place in (rng.randrange(20) for _ in range(8_000))]  # fmt: skip
    similar = duplicates._Join._join_similar
    for size in (4_000, 8_000):
        with pytest.MonkeyPatch.context() as patch:
            pairs: list[int] = []

            def counted(join: duplicates._Join, i: Ints, j: Ints, pairs: list[int] = pairs) -> int:
                pairs.append(len(i))
                return similar(join, i, j)

            patch.setattr(duplicates._Join, "_join_similar", counted)
            assert len(set(group_duplicates(variants[:size]))) < 10
            listed[size] = sum(pairs)
    assert listed[8_000] < 3 * listed[4_000] + duplicates._BLOCK
    assert listed[8_000] < 8_000 * 7_999 / 2 / 10
