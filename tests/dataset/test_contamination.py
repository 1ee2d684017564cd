import pytest

from pipeline.dataset.contamination import Match, contamination
from pipeline.dataset.leakage import Leakage
from pipeline.dataset.records import Example

LONG = "the exchange that held our coins has closed its doors for good this morning"


def test_each_kind_of_copy_is_found_with_its_partner() -> None:
    parts = {
        "train": [
            Example("1", "Buy now @ann 5", "Up"),
            Example("2", LONG, "Down"),
            Example("3", "nothing like it", "Down"),
        ],
        "test": [Example("4", "something else again", "Up"), Example("5", "buy NOW @bob 7!", "Up")],
    }
    # 71 of 77 different 5-grams in common.
    other = {"1": "unrelated words here", "2": "Buy now @ann 5", "3": LONG + " again", "4": "Buy now @ann 5"}
    shares, matches = contamination(parts, other)
    assert matches == [
        Match("1", "train", "exact", "2"),
        Match("2", "train", "near", "3"),
        Match("5", "test", "template", "2"),
    ]
    assert shares["test"] == Leakage(2, exact=0, template=0.5, near=0.5)
    found = shares["train"]
    assert (found.test_rows, found.exact, found.template, found.near) == pytest.approx((3, 1 / 3, 1 / 3, 2 / 3))
    assert matches[0].to_json() == {"id": "1", "split": "train", "kind": "exact", "other": "2"}


def test_another_file_altogether_has_nothing_in_common() -> None:
    parts = {"train": [Example("1", "one thing", "Up")], "test": [Example("2", "another thing", "Up")]}
    shares, matches = contamination(parts, {"1": "the weather of Tuesday"})
    assert matches == []
    assert all((found.exact, found.template, found.near) == (0, 0, 0) for found in shares.values())
