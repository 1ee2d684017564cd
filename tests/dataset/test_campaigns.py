from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.alarms import find_alarms
from pipeline.dataset.campaigns import campaigns, class_shares_in_copies
from pipeline.dataset.records import Example

LABELS = ["Down", "Flat", "Up"]


def rows(*members: tuple[int, str, str]) -> tuple[list[Example], dict[str, int]]:
    """Examples from (group, label, text)."""
    examples = [Example(str(i), text, label) for i, (_, label, text) in enumerate(members)]
    return examples, {str(i): group for i, (group, _, _) in enumerate(members)}


EXAMPLES, GROUPS = rows(
    (5, "Up", "join our channel"),
    (5, "Up", "join our channels"),
    (5, "Up", "join our channels"),
    (5, "Down", "join the channel"),
    (1, "Down", "all alone"),
    (2, "Down", "price alert"),
    (2, "Down", "price alert"),
    (2, "Down", "price alert"),
    (3, "Up", "two say so"),
    (3, "Up", "two say so"),
)


def test_campaigns_of_a_hand_worked_table() -> None:
    assert campaigns(EXAMPLES, GROUPS, LABELS) == [
        {
            "group": 5,
            "size": 4,
            "share_of_rows": 0.4,
            "label_counts": {"Down": 1, "Flat": 0, "Up": 3},
            "class_shares": {"Down": 0.2, "Flat": 0.0, "Up": 0.6},
            "text": "join our channels",
        },
        {
            "group": 2,
            "size": 3,
            "share_of_rows": 0.3,
            "label_counts": {"Down": 3, "Flat": 0, "Up": 0},
            "class_shares": {"Down": 0.6, "Flat": 0.0, "Up": 0.0},
            "text": "price alert",
        },
    ]
    assert campaigns([], {}, LABELS) == []


def test_a_group_that_fills_a_class_is_listed_however_small() -> None:
    examples, groups = rows(
        *[(each // 5, "Up", "up") for each in range(50)],  # ten groups, each a tenth of its class
        *[(10, "Down", "sell")] * 4,
        *[(11, "Flat", "so so")] * 3,
        *[(100 + each, "Down", "alone") for each in range(15)],
        *[(200 + each, "Flat", "alone") for each in range(12)],
    )
    found = campaigns(examples, groups, LABELS, most=2)
    assert [each["group"] for each in found] == [0, 1, 10]  # 4 of 19 are more than a fifth, 3 of 15 are not
    (alarm,) = find_alarms({"duplicates": {"campaigns": found}})
    assert "21.1 % of the rows of Down" in alarm["text"]


def test_example_text_is_cut() -> None:
    examples, groups = rows(*[(0, "Up", "x" * 201)] * 3)
    assert campaigns(examples, groups, LABELS)[0]["text"] == "x" * 200


def test_class_shares_in_copies_of_a_hand_worked_table() -> None:
    assert class_shares_in_copies(EXAMPLES, GROUPS, LABELS) == pytest.approx({"Down": 4 / 5, "Flat": 0.0, "Up": 1.0})
    assert class_shares_in_copies([], {}, LABELS) == {"Down": 0.0, "Flat": 0.0, "Up": 0.0}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(LABELS), st.sampled_from("abc")), max_size=40))
def test_figures_agree_with_each_other(members: list[tuple[int, str, str]]) -> None:
    examples, groups = rows(*members)
    found = campaigns(examples, groups, LABELS)
    assert {c["group"]: c["size"] for c in found} == {g: n for g, n in Counter(groups.values()).items() if n >= 3}
    assert [c["size"] for c in found] == sorted((c["size"] for c in found), reverse=True)
    copies = class_shares_in_copies(examples, groups, LABELS)
    for label in LABELS:
        assert sum(c["class_shares"][label] for c in found) <= copies[label] + 1e-9
    for c in found:
        assert sum(c["label_counts"].values()) == c["size"]
        assert c["share_of_rows"] == c["size"] / len(examples)
