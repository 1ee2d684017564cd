from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from corpora import LABELS, SHARES, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.records import Example
from pipeline.dataset.timesplit import TimeSplit, drop_undated, split_by_time
from pipeline.errors import PipelineError

START = datetime(2018, 3, 1, tzinfo=UTC)
Rows = list[tuple[int, str, int]]


def build(rows: Rows) -> tuple[list[Example], dict[str, int], dict[str, datetime]]:
    """Examples, groups and dates from triples of group, label and hours since the start."""
    examples, groups = corpus([(group, label) for group, label, _ in rows])
    dates = {e.id: START + timedelta(hours=hours) for e, (_, _, hours) in zip(examples, rows, strict=True)}
    return examples, groups, dates


def divide(rows: Rows) -> TimeSplit:
    examples, groups, dates = build(rows)
    return split_by_time(examples, groups, dates, labels=LABELS, shares=SHARES)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(LABELS), st.integers(0, 50)), min_size=10, max_size=80))
def test_no_text_of_a_later_split_appeared_before_one_of_an_earlier_split(rows: Rows) -> None:
    examples, groups, dates = build(rows)
    try:
        found = divide(rows)
    except PipelineError:
        return
    first: dict[int, datetime] = {}
    for e in examples:
        first[groups[e.id]] = min(dates[e.id], first.get(groups[e.id], dates[e.id]))
    appeared = {name: [first[groups[e.id]] for e in part] for name, part in found.parts.items()}
    val, test = found.boundaries["val"], found.boundaries["test"]
    assert max(appeared["train"]) < val == min(appeared["val"])
    assert max(appeared["val"]) < test == min(appeared["test"])
    # No row is older than the split it is in; younger ones are copies, and counted.
    assert all(dates[e.id] >= val for e in found.parts["val"])
    assert all(dates[e.id] >= test for e in found.parts["test"])
    late = [e for e in found.parts["train"] if dates[e.id] >= val]
    assert found.spanning["train"] == len(late)
    assert found.spanning["val"] == sum(dates[e.id] >= test for e in found.parts["val"])
    assert all(first[groups[e.id]] < dates[e.id] for e in late)
    # Groups are whole, no row is lost.
    assert Counter(e.id for part in found.parts.values() for e in part) == Counter(e.id for e in examples)
    assert not {groups[e.id] for e in found.parts["train"]} & {groups[e.id] for e in found.parts["test"]}
    assert all({e.label for e in part} == set(LABELS) for part in found.parts.values())


def test_shares_are_kept_to_a_moment() -> None:
    found = divide([(i, LABELS[i % 3], i) for i in range(1000)])
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 650, "val": 100, "test": 250}
    assert found.boundaries == {"val": START + timedelta(hours=650), "test": START + timedelta(hours=750)}
    assert found.to_json() == {
        "by": "time",
        "boundaries": {"val": "2018-03-28T02:00:00+00:00", "test": "2018-04-01T06:00:00+00:00"},
        "later_copies": {"train": 0, "val": 0},
    }


def test_a_group_goes_to_its_earliest_row_wherever_that_stands_in_the_file() -> None:
    rows = [(i, LABELS[i % 3], i) for i in range(1000)]
    rows[0] = (999, "Up", 0)  # the last text of all appeared in the first hour already
    found = divide(rows[::-1])
    train = {e.id for e in found.parts["train"]}
    assert {"1", "1000"} <= train
    assert found.spanning == {"train": 1, "val": 0}


def test_moments_are_not_torn_apart() -> None:
    found = divide([(i, LABELS[i % 3], 24 * (i // 100)) for i in range(1000)])
    assert {name: len(part) for name, part in found.parts.items()} in (
        {"train": 600, "val": 200, "test": 200},
        {"train": 600, "val": 100, "test": 300},
        {"train": 700, "val": 100, "test": 200},
    )


def test_one_huge_moment_leaves_a_moment_for_every_split() -> None:
    found = divide(
        [(i, LABELS[i % 3], 5) for i in range(900)] + [(1000 + i, LABELS[i % 3], 6 + i // 3) for i in range(6)]
    )
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 900, "val": 3, "test": 3}


def test_two_splits_for_an_official_test_file() -> None:
    examples, groups, dates = build([(i, LABELS[i % 3], i) for i in range(100)])
    found = split_by_time(examples, groups, dates, labels=LABELS, shares={"train": 0.9, "val": 0.1})
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 90, "val": 10}
    assert list(found.boundaries) == ["val"]


def test_errors_say_what_is_missing() -> None:
    with pytest.raises(PipelineError, match=r"at least 3 different moments .*train, val, test; got 2; split at random"):
        divide([(i, LABELS[i % 3], i % 2) for i in range(60)])
    with pytest.raises(PipelineError, match=r"every class in test, from 2018-03-\S+ \S+ to the last row; Flat did not"):
        divide([(i, LABELS[i % 3] if i < 70 else "Up" if i % 2 else "Down", i) for i in range(100)])


def test_rows_without_a_date_are_left_out_with_the_reason() -> None:
    examples, _, dates = build([(i, "Up", i) for i in range(4)])
    del dates["2"]
    kept, dropped = drop_undated(examples, dates)
    assert [e.id for e in kept] == ["1", "3", "4"]
    assert [(row.id, row.reason) for row in dropped] == [("2", "no date")]
