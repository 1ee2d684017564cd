from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.labels import Classes, find_classes
from pipeline.dataset.ratings import read_ratings
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError


def table(**columns: list[Any]) -> Table:
    return Table(Path("tweets.csv"), columns, range(1, len(next(iter(columns.values()))) + 1))


HOME = find_classes([(table(label=["-1", "0", "1"]), "label")])


@pytest.mark.parametrize(
    ("cell", "classes"),
    [
        ("[2, 2, -4, 0]", "Positive Positive Negative Neutral"),
        ([1, None, -1.0], "Positive Negative"),
        ("['positive', 'neutral']", "Positive Neutral"),
        ("1;0;-1", "Positive Neutral Negative"),
        ("{a1_id:22;a1_label:1; a2_id:71; a2_label2:-1; a3_id:5;a3_label:0}", "Positive Negative Neutral"),
        ("{a1_id:22;a1_label:1; a2_id:71;a2_label:}", "Positive"),
        ("1", "Positive"),
        (-1, "Negative"),
        ("", ""),
        (None, ""),
        ("[]", ""),
    ],
)
def test_forms_of_a_cell(cell: Any, classes: str) -> None:
    words = find_classes([(table(label=["negative", "neutral", "positive"]), "label")])
    known = Classes(HOME.labels, {**HOME.label_of, **words.label_of})
    # The scale must show both of its ends somewhere.
    assert read_ratings(table(r=[cell, "[-4, 4]"]), ["r"], known)[0] == tuple(classes.split())


def test_one_rater_a_column() -> None:
    found = read_ratings(table(a=["1", "0"], b=[-1, "N/A"], c=["1.0", ""]), ["a", "b", "c"], HOME)
    assert found == [("Positive", "Negative", "Positive"), ("Neutral",)]


def test_own_labels() -> None:
    classes = find_classes([(table(label=["0"]), "label")], "0=Bearish,2=Neutral,1=Bullish")
    assert read_ratings(table(r=["[0, 2, 1]"]), ["r"], classes) == [("Bearish", "Neutral", "Bullish")]


def test_stars_are_no_signs() -> None:
    with pytest.raises(PipelineError, match=r"tweets.csv, row 2: expected a rating among -1, 0, 1; got '5'"):
        read_ratings(table(r=["[1]", "[5, 4]"]), ["r"], HOME)


def test_two_steps_on_one_side_have_no_sign_rule() -> None:
    labels = ("Very negative", "Negative", "Positive")
    classes = Classes(labels, {label.lower(): label for label in labels})
    with pytest.raises(PipelineError, match="expected a rating"):
        read_ratings(table(r=["[-2, 2]"]), ["r"], classes)


def test_missing_column() -> None:
    with pytest.raises(PipelineError, match=r"no column 'x'; the columns are r"):
        read_ratings(table(r=["1"]), ["x"], HOME)
