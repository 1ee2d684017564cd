from collections import defaultdict

import pytest
from corpora import SHARES, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.grouping import check_merged, drop_shared, merge_groups
from pipeline.errors import PipelineError


def by_hand(groups: dict[str, int], keys: dict[str, str]) -> set[frozenset[str]]:
    """The same components, found by joining sets until nothing is left to join."""
    sets: list[set[str]] = []
    for name in groups:
        mine = {name}
        for other in groups:
            same_value = name in keys and keys.get(other) == keys[name]
            if groups[other] == groups[name] or same_value:
                mine.add(other)
        touching = [each for each in sets if each & mine]
        sets = [each for each in sets if not each & mine] + [mine.union(*touching)]
    return {frozenset(each) for each in sets}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["ann", "bob", "cid", "", None])), max_size=20))
def test_merged_groups_are_the_connected_components(rows: list[tuple[int, str | None]]) -> None:
    groups = {str(i): group for i, (group, _) in enumerate(rows)}
    keys = {str(i): key for i, (_, key) in enumerate(rows) if key is not None}
    merged = merge_groups(groups, keys)
    found = defaultdict(set)
    for name, number in merged.items():
        found[number].add(name)
    assert {frozenset(each) for each in found.values()} == by_hand(groups, keys)
    # Numbered in order of first appearance.
    assert list(dict.fromkeys(merged.values())) == list(range(len(found)))


def test_a_copy_by_two_authors_joins_their_rows() -> None:
    groups = {"1": 0, "2": 1, "3": 1, "4": 2, "5": 3}
    assert merge_groups(groups, {"1": "ann", "2": "ann", "3": "bob", "4": "bob"}) == {
        "1": 0, "2": 0, "3": 0, "4": 0, "5": 1,
    }  # fmt: skip


def test_a_value_that_swallows_the_rows_is_named_with_its_share() -> None:
    examples, groups = corpus([(i, "Up") for i in range(100)])
    keys = {example.id: "bot" if i < 82 else f"user {i}" for i, example in enumerate(examples)}
    check_merged(examples, merge_groups(groups, keys), keys, "author", SHARES)
    keys[examples[90].id] = "bot"
    with pytest.raises(
        PipelineError,
        match=r"column 'author': expected at most 82 % .*, got 83 %: 'bot' has 83 % of the rows; split by",
    ):
        check_merged(examples, merge_groups(groups, keys), keys, "author", SHARES)
    groups[examples[91].id] = groups[examples[0].id]
    with pytest.raises(PipelineError, match=r"got 84 %: 'bot' has 83 % of the rows, and copies join it with 1 other"):
        check_merged(examples, merge_groups(groups, keys), keys, "author", SHARES)


def test_copies_alone_can_swallow_the_rows() -> None:
    examples, groups = corpus([(0, "Up")] * 9 + [(1, "Up")])
    with pytest.raises(PipelineError, match=r"got 90 %: copies of each other; split"):
        check_merged(examples, merge_groups(groups, {}), {}, "author", SHARES)


def test_own_files_are_cleaned_from_the_test_backwards() -> None:
    # Group 1 is in all three, 2 in train and val, 3 in train and test, 4 in val and test.
    numbers = {"train": [1, 2, 3, 9, 9], "val": [1, 2, 4, 8], "test": [1, 3, 4, 4, 7]}
    examples, groups = corpus([(number, "Up") for each in numbers.values() for number in each])
    rows = iter(examples)
    parts = {name: [next(rows) for _ in each] for name, each in numbers.items()}
    kept, dropped = drop_shared(parts, groups)
    assert {name: [groups[e.id] for e in each] for name, each in kept.items()} == {
        "train": [9, 9], "val": [2, 8], "test": [1, 3, 4, 4, 7],
    }  # fmt: skip
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("1", "copy of a test row", "of 10"),
        ("2", "copy of a validation row", "of 7"),
        ("3", "copy of a test row", "of 11"),
        ("6", "copy of a test row", "of 10"),
        ("8", "copy of a test row", "of 12"),
    ]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["train", "val", "test"])), max_size=40))
def test_own_files_share_nothing_afterwards_and_no_row_is_lost(rows: list[tuple[int, str]]) -> None:
    examples, groups = corpus([(group, "Up") for group, _ in rows])
    parts = {
        name: [e for e, (_, part) in zip(examples, rows, strict=True) if part == name]
        for name in ("train", "val", "test")
    }
    kept, dropped = drop_shared(parts, groups)
    numbers = [{groups[e.id] for e in kept[name]} for name in ("train", "val", "test")]
    assert sum(map(len, numbers)) == len(set.union(*numbers))
    assert kept["test"] == parts["test"]
    assert sorted([e.id for each in kept.values() for e in each] + [row.id for row in dropped]) == sorted(
        e.id for e in examples
    )
