from collections import Counter, defaultdict
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.copies import cap_groups, find_conflicts, resolve_copies
from pipeline.dataset.records import Example
from pipeline.errors import PipelineError


def examples(*pairs: tuple[str, str]) -> list[Example]:
    return [Example(str(i), text, label) for i, (text, label) in enumerate(pairs, start=1)]


def told(text: str, policy: str = "one") -> tuple[str, list[tuple[str, str, str]]]:
    """Resolves texts given as ``Up:a Down:b``; who stays, and who goes why."""
    rows = examples(*((word.split(":")[1], word.split(":")[0]) for word in text.split()))
    kept, dropped = resolve_copies(rows, "one" if policy == "one" else "all")
    return " ".join(example.id for example in kept), [(row.id, row.reason, row.detail) for row in dropped]


def test_first_copy_stays_and_the_others_name_it() -> None:
    assert told("Up:moon Up:crash Up:MOON! Up:moon") == (
        "1 2",
        [("3", "duplicate", "of 1"), ("4", "duplicate", "of 1")],
    )


def test_all_copies_stay_if_told_so() -> None:
    assert told("Up:moon Up:crash Up:moon", "all") == ("1 2 3", [])


def test_label_of_most_copies_holds() -> None:
    assert told("Down:moon Up:moon Up:moon") == (
        "2",
        [("1", "conflicting label", "most copies say Up: Down 1, Up 2"), ("3", "duplicate", "of 2")],
    )
    assert told("Down:moon Up:moon Up:moon", "all") == (
        "2 3",
        [("1", "conflicting label", "most copies say Up: Down 1, Up 2")],
    )


def test_without_a_majority_all_copies_go() -> None:
    for policy in ("one", "all"):
        for rows in ("Up:moon Down:moon", "Up:moon Up:moon Down:moon Flat:moon"):
            kept, dropped = told(rows + " Up:stays", policy)
            assert kept == str(len(rows.split()) + 1)
            assert {reason for _, reason, _ in dropped} == {"conflicting label"}
            assert len(dropped) == len(rows.split())
            assert "no majority among copies" in dropped[0][2]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["Up", "Down", "Flat"])), max_size=30))
def test_nothing_is_lost_and_no_text_keeps_two_labels(pairs: list[tuple[str, str]]) -> None:
    rows = examples(*pairs)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for text, label in pairs:
        votes[text][label] += 1
    majority = {t: max(v, key=lambda name: v[name]) for t, v in votes.items() if max(v.values()) * 2 > v.total()}
    one, every = resolve_copies(rows, "one"), resolve_copies(rows, "all")
    for kept, dropped in (one, every):
        assert sorted([*(e.id for e in kept), *(d.id for d in dropped)]) == sorted(e.id for e in rows)
    assert {e.text: e.label for e in one.kept} == majority
    assert len(one.kept) == len(majority)
    assert [e.id for e in every.kept] == [e.id for e in rows if majority.get(e.text) == e.label]


def test_on_demand_all_copies_go_when_labels_differ() -> None:
    rows = examples(("moon", "Up"), ("moon", "Up"), ("MOON!", "Down"), ("crash", "Down"), ("crash", "Down"))
    kept, dropped = resolve_copies(rows, "one", "drop")
    assert [example.id for example in kept] == ["4"]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("1", "conflicting label", "copies differ: Down 1, Up 2"),
        ("2", "conflicting label", "copies differ: Down 1, Up 2"),
        ("3", "conflicting label", "copies differ: Down 1, Up 2"),
        ("5", "duplicate", "of 4"),
    ]


def test_on_demand_conflicts_stop_the_run() -> None:
    agreed = examples(("moon", "Up"), ("moon", "Up"), ("crash", "Down"))
    assert resolve_copies(agreed, "one", "error") == resolve_copies(agreed, "one")
    differing = examples(*[("crash", "Up")] * 2, ("crash", "Down"), *[("moon", "Up")] * 5, ("moon", "Down"))
    with pytest.raises(PipelineError) as error:
        resolve_copies(differing, "one", "error")
    assert str(error.value) == (
        "--conflicts error: expected one label for all copies of a text, got several for 2 texts, the first being "
        "rows 4, 5, 6, 7, 8 and more (Up 5, Down 1); correct the labels, or choose majority or drop"
    )


def test_conflicts_are_listed_with_what_becomes_of_them() -> None:
    rows = examples(
        ("moon", "Up"), ("moon", "Down"), ("Crash!", "Down"), ("crash", "Up"), ("crash", "Down"), ("dip", "Up")
    )
    assert find_conflicts(rows) == [
        {"text": "Crash!", "label_counts": {"Down": 2, "Up": 1}, "outcome": "kept as Down", "ids": ["3", "4", "5"]},
        {"text": "moon", "label_counts": {"Up": 1, "Down": 1}, "outcome": "all dropped", "ids": ["1", "2"]},
    ]
    assert {conflict["outcome"] for conflict in find_conflicts(rows, "drop")} == {"all dropped"}
    assert find_conflicts(examples(("word " * 100, "Up"), ("word " * 100, "Down")))[0]["text"] == "word " * 40


@pytest.mark.parametrize("conflicts", ["majority", "drop"])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["Up", "Down", "Flat"])), max_size=30))
def test_the_list_of_conflicts_agrees_with_the_rows_that_go(
    conflicts: Literal["majority", "drop"], pairs: list[tuple[str, str]]
) -> None:
    rows = examples(*pairs)
    kept, dropped = resolve_copies(rows, "all", conflicts)
    assert sorted([*(e.id for e in kept), *(d.id for d in dropped)]) == sorted(e.id for e in rows)
    listed = find_conflicts(rows, conflicts)
    assert {row.id for row in dropped} <= {i for conflict in listed for i in conflict["ids"]}
    for conflict in listed:
        left = {example.label for example in kept if example.id in conflict["ids"]}
        assert conflict["outcome"] == (f"kept as {left.pop()}" if left else "all dropped")
        assert not left


def test_cap_keeps_different_texts_before_copies() -> None:
    rows = examples(("moon", "Up"), ("Moon!", "Up"), ("moons", "Up"), ("mooons", "Up"), ("crash", "Down"))
    groups = {"1": 7, "2": 7, "3": 7, "4": 7, "5": 8}
    kept, dropped = cap_groups(rows, groups, 2)
    assert [example.id for example in kept] == ["1", "3", "5"]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("2", "duplicate", "more than 2 of group 7"),
        ("4", "duplicate", "more than 2 of group 7"),
    ]
    assert [example.id for example in cap_groups(rows, groups, 1).kept] == ["1", "5"]
    assert [example.id for example in cap_groups(rows, groups, 4).kept] == ["1", "2", "3", "4", "5"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    texts=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 2)), max_size=30),
    most=st.integers(1, 5),
)
def test_cap_holds_and_loses_nothing(texts: list[tuple[str, int]], most: int) -> None:
    rows = examples(*((f"{word} of {'xyz'[group]}", "Up") for word, group in texts))
    groups = {example.id: group for example, (_, group) in zip(rows, texts, strict=True)}
    kept, dropped = cap_groups(rows, groups, most)
    assert sorted([*(e.id for e in kept), *(d.id for d in dropped)]) == sorted(e.id for e in rows)
    sizes, left = Counter(groups.values()), Counter(groups[e.id] for e in kept)
    assert left == {group: min(size, most) for group, size in sizes.items()}
    for group in left:
        different = {e.template for e in rows if groups[e.id] == group}
        assert len({e.template for e in kept if groups[e.id] == group}) == min(len(different), most)
