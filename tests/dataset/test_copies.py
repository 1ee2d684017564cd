from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.copies import drop_copies_of, resolve_copies
from pipeline.dataset.records import Example


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


def test_copies_of_test_rows_go_by_group() -> None:
    train = examples(("moon", "Up"), ("moons", "Up"), ("crash", "Down"))
    test = [Example("test:1", "moon", "Up"), Example("test:2", "moon", "Down")]
    groups = {"1": 0, "2": 0, "3": 1, "test:1": 0, "test:2": 0}
    kept, dropped = drop_copies_of(test, train, groups)
    assert [example.id for example in kept] == ["3"]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("1", "copy of a test row", "of test:1"),
        ("2", "copy of a test row", "of test:1"),
    ]
