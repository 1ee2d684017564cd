import itertools
import random
import shlex
from collections import Counter, defaultdict

import pytest
from corpora import LABELS, SHARES, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.labels import find_classes
from pipeline.dataset.records import Example
from pipeline.dataset.splitting import _Plan, sample, split
from pipeline.errors import PipelineError


def divide(rows: list[tuple[int, str]], seed: int = 42) -> dict[str, list[Example]]:
    examples, groups = corpus(rows)
    labels = sorted({label for _, label in rows})
    return split(examples, groups, labels=labels, shares=SHARES, seed=seed)


def can_be_divided(kinds: list[frozenset[str]], labels: set[str], splits: int) -> bool:
    """Whether any way at all to put groups with these classes into splits gives every split every class."""
    return any(
        all(labels == set().union(*(kind for kind, place in zip(kinds, places, strict=True) if place == split))
            for split in range(splits))
        for places in itertools.product(range(splits), repeat=len(kinds))
    )  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(st.integers(0, 6), st.sampled_from(LABELS)), min_size=3, max_size=25))
def test_every_class_is_in_every_split_whenever_that_can_be_done_at_all(rows: list[tuple[int, str]]) -> None:
    labels_of: dict[int, set[str]] = defaultdict(set)
    for group, label in rows:
        labels_of[group].add(label)
    present = {label for _, label in rows}
    possible = can_be_divided([frozenset(found) for found in labels_of.values()], present, 3)
    try:
        parts = divide(rows)
    except PipelineError:
        assert not possible
    else:
        assert possible
        assert all({e.label for e in part} == present for part in parts.values())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(st.integers(0, 15), st.sampled_from(LABELS)), min_size=1, max_size=60))
def test_groups_stay_whole_and_no_row_is_lost(rows: list[tuple[int, str]]) -> None:
    examples, groups = corpus(rows)
    try:
        parts = divide(rows)
    except PipelineError:
        return
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in examples)
    splits_of_group = defaultdict(set)
    for name, part in parts.items():
        for example in part:
            splits_of_group[groups[example.id]].add(name)
    assert all(len(names) == 1 for names in splits_of_group.values())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 8) | st.integers(1, 200), min_size=20, max_size=60),
    seed=st.integers(0, 1000),
)
def test_sizes_are_near_the_shares_whatever_the_sizes_of_the_groups(sizes: list[int], seed: int) -> None:
    # A class of small groups beside those: no split can miss its share by more than the largest group.
    rng = random.Random(seed)
    mixed = [[label for label in LABELS if rng.random() < 0.5] or ["Up"] for _ in sizes]
    rows = [(g, rng.choice(mixed[g])) for g, size in enumerate(sizes) for _ in range(size)]
    rows += [(1000 + i, LABELS[i % 3]) for i in range(60)]
    parts = divide(rows, seed)
    for name, share in SHARES.items():
        assert abs(len(parts[name]) - share * len(rows)) <= max(sizes) + len(LABELS), name


def test_a_huge_group_leaves_something_for_val_and_test() -> None:
    rows = [(0, "Up")] * 700 + [(i, LABELS[i % 3]) for i in range(1, 301)]
    parts = divide(rows)
    # Train has more than its share of that class already; the others keep theirs.
    found = {name: Counter(e.label for e in part) for name, part in parts.items()}
    assert found["train"]["Up"] <= 701
    assert found["test"]["Up"] == pytest.approx(2.5 * found["val"]["Up"], rel=0.1)
    assert [found[name]["Flat"] for name in SHARES] == pytest.approx([65, 10, 25], abs=1)


def test_mixed_groups_are_not_wasted() -> None:
    # Six groups: val and test need one of the two mixed ones each, or a pair of pure ones.
    rows = [(0, "Up"), (0, "Down"), (1, "Up"), (1, "Down"), (2, "Up"), (3, "Down")]
    parts = divide(rows)
    assert all({e.label for e in part} == {"Up", "Down"} for part in parts.values())


def test_classes_that_share_their_groups_are_told() -> None:
    rows = [(g, label) for g, pair in enumerate(("AB", "BC", "AC")) for label in pair]
    with pytest.raises(PipelineError, match=r"classes 'A', 'B', .* got 2 of 'A', 2 of 'B'"):
        divide(rows)
    rows = [(g, label) for g, pair in enumerate(("AB", "BC", "AC", "A", "BC")) for label in pair]
    with pytest.raises(PipelineError, match=r"classes A, B, C: expected enough groups .* give train, val, test one of"):
        divide(rows)


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_every_class_are_kept_to_a_row_when_groups_are_single_rows(seed: int) -> None:
    labels = ["Up"] * 300 + ["Flat"] * 87 + ["Down"] * 14
    random.Random(seed).shuffle(labels)
    parts = divide(list(enumerate(labels)), seed)
    for label, n in Counter(labels).items():
        for name, share in SHARES.items():
            assert abs(sum(e.label == label for e in parts[name]) - share * n) <= 1, (label, name)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_kept_when_groups_are_larger(seed: int) -> None:
    rng = random.Random(seed)
    rows = [(g, rng.choices(LABELS, [1, 3, 6])[0]) for g in range(200) for _ in range(rng.choice([1, 1, 1, 2, 5, 12]))]
    rows += [(999, "Up")] * 120
    parts = divide(rows, seed)
    for label, n in Counter(label for _, label in rows).items():
        for name, share in SHARES.items():
            assert sum(e.label == label for e in parts[name]) == pytest.approx(share * n, abs=max(2, 0.02 * n))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(order=st.permutations(range(80)), seed=st.integers(0, 3))
def test_the_order_of_rows_does_not_change_the_split(order: list[int], seed: int) -> None:
    rows = [(i // 2, LABELS[i % 3]) for i in range(80)]
    examples, groups = corpus(rows)
    options = {"labels": LABELS, "shares": SHARES, "seed": seed}
    straight = split(examples, groups, **options)  # type: ignore[arg-type]
    renumbered = {name: -group for name, group in groups.items()}
    shuffled = split([examples[i] for i in order], renumbered, **options)  # type: ignore[arg-type]
    for name in SHARES:
        assert {e.id for e in straight[name]} == {e.id for e in shuffled[name]}


def test_cost_is_the_change_of_chi_square() -> None:
    wanted, before, counts = {"Up": 8.0, "Down": 2.5}, Counter(Up=5, Down=3), {"Up": 4, "Down": 1}

    def chi_square(reached: Counter[str]) -> float:
        return sum((reached[label] - wanted[label]) ** 2 / wanted[label] for label in wanted)

    cost = _Plan({"val": wanted}, {"val": before}).cost("val", counts)
    assert cost == pytest.approx(chi_square(before + Counter(counts)) - chi_square(before))


def test_another_seed_gives_another_split() -> None:
    rows = [(i, LABELS[i % 3]) for i in range(90)]
    assert [e.id for e in divide(rows, 1)["test"]] != [e.id for e in divide(rows, 2)["test"]]
    assert [e.id for e in divide(rows, 1)["test"]] == [e.id for e in divide(rows, 1)["test"]]


def test_rows_keep_the_order_of_the_file() -> None:
    for part in divide([(i // 3, LABELS[i % 3]) for i in range(90)]).values():
        assert [int(e.id) for e in part] == sorted(int(e.id) for e in part)


def test_all_classes_with_too_few_groups_are_told_with_a_way_to_join_them() -> None:
    rows = [(i, "Up") for i in range(20)] + [(90, "Down"), (91, "Down"), (92, "so so")]
    examples, groups = corpus(rows)
    with pytest.raises(PipelineError) as error:
        split(examples, groups, labels=("Down", "so so", "Up"), shares=SHARES, seed=0)
    said = str(error.value)
    assert said.startswith("classes 'Down', 'so so': expected at least 3 groups of texts ")
    assert "; got 2 of 'Down', 1 of 'so so'; add rows of them, or join them with another class by --labels" in said
    # What is quoted can be given, and joins them.
    labels = find_classes([], shlex.split(said)[-1])
    assert (labels.labels, labels.label_of["so so"]) == (("Up",), "Up")


def test_too_few_groups_are_told_with_class_and_number() -> None:
    rows = [(i, "Up") for i in range(20)] + [(90, "Down")] * 10 + [(91, "Down")] * 10
    with pytest.raises(PipelineError, match=r"class 'Down': expected at least 3 groups .*train, val, test; got 2; add"):
        divide(rows)
    examples, groups = corpus(rows)
    with pytest.raises(PipelineError, match=r"class 'Flat': expected at least 3 .*; got 0;"):
        split(examples, groups, labels=("Flat", "Up"), shares=SHARES, seed=1)


def test_three_groups_are_enough() -> None:
    parts = divide([(i, "Up") for i in range(40)] + [(90, "Down"), (91, "Down"), (92, "Down")])
    assert [sum(e.label == "Down" for e in part) for part in parts.values()] == [1, 1, 1]


def test_two_splits_for_an_official_test_file() -> None:
    examples, groups = corpus([(i, LABELS[i % 3]) for i in range(90)])
    parts = split(examples, groups, labels=LABELS, shares={"train": 0.9, "val": 0.1}, seed=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 81, "val": 9}


def test_sample_keeps_proportions_and_every_class() -> None:
    examples, _ = corpus([(i, "Up") for i in range(700)] + [(i, "Flat") for i in range(298)] + [(0, "Down")] * 2)
    for size in (3, 10, 101, 500, 999, 1000):
        kept, dropped = sample(examples, size, seed=1)
        assert len(kept) == size
        assert len(kept) + len(dropped) == 1000
        assert {row.reason for row in dropped} <= {"not sampled"}
        counts = Counter(e.label for e in kept)
        for label, n in (("Up", 700), ("Flat", 298), ("Down", 2)):
            assert counts[label] >= 1
            assert counts[label] == pytest.approx(n * size / 1000, abs=1.5), (label, size)


def test_sample_depends_on_texts_and_seed_not_on_order() -> None:
    examples, _ = corpus([(i, LABELS[i % 3]) for i in range(99)])
    kept = {e.id for e in sample(examples, 30, seed=1).kept}
    assert {e.id for e in sample(examples[::-1], 30, seed=1).kept} == kept
    assert {e.id for e in sample(examples, 30, seed=2).kept} != kept
    assert kept < {e.id for e in sample(examples, 60, seed=1).kept}


@pytest.mark.parametrize("size", [-1, 0, 2, 100])
def test_sample_of_an_impossible_size(size: int) -> None:
    examples, _ = corpus([(i, LABELS[i % 3]) for i in range(99)])
    with pytest.raises(PipelineError, match=rf"--train_rows: expected 3 .* to 99 .*, got {size}"):
        sample(examples, size, seed=1)
