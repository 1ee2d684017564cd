from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.labels import canonical, classes_of, find_classes
from pipeline.dataset.reading import Table
from pipeline.errors import PipelineError

HOME = ("Negative", "Neutral", "Positive")


def table(*cells: Any) -> Table:
    return Table(Path("tweets.csv"), {"sentiment": list(cells)}, range(1, len(cells) + 1))


def read(*cells: Any, mapping: str | None = None) -> tuple[tuple[str, ...], list[str | None]]:
    file = table(*cells)
    classes = find_classes([(file, "sentiment")], mapping)
    return classes.labels, classes_of(file, "sentiment", classes)


@pytest.mark.parametrize(
    ("spellings", "value"),
    [
        ([-1, -1.0, "-1", "-1.0", " -1 ", "-01", "['-1']"], "-1"),
        ([0, 0.0, -0.0, "0", "0.0", "-0", "+0.00", "０"], "0"),
        ([1, 1.0, "1", "1.0", "+1", "1.", "01", ["1"], [1]], "1"),
        (
            ["positive", "Positive", "POSITIVE ", "['positive']", '["Positive"]', "[ 'positive' ]", ["positive"]],
            "positive",
        ),
        (["0.5", 0.5, ".5", "0.50"], "0.5"),
        ([None, "", "  ", "\u200b", float("nan"), [None][0]], None),
        (["NA"], "na"),
        (["nan"], "nan"),
        (["1_0"], "1_0"),
        (["['positive', 'negative']"], "['positive', 'negative']"),
        ([True], "true"),
    ],
)
def test_spellings_of_one_value(spellings: list[Any], value: str | None) -> None:
    assert {canonical(spelling) for spelling in spellings} == {value}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text(), max_size=2)))
def test_canonical_takes_any_value_and_is_stable(value: Any) -> None:
    once = canonical(value)
    if once is not None and not once.startswith("["):
        assert canonical(once) == once


def test_home_case() -> None:
    cells = ("-1", 0, 1.0, "Neutral", "['positive']", "NEGATIVE", "")
    assert read(*cells) == (HOME, ["Negative", "Neutral", "Positive", "Neutral", "Positive", "Negative", None])


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (("positive", "negative"), ("Negative", "Positive")),
        ((-1, 1), ("Negative", "Positive")),
        ((-1, 0), ("Negative", "Neutral")),
        (("neutral", 1), ("Neutral", "Positive")),
        (("1", "0", "neutral"), HOME[1:]),
    ],
)
def test_only_classes_that_occur_are_kept(cells: tuple[Any, ...], labels: tuple[str, ...]) -> None:
    assert read(*cells)[0] == labels


def test_other_words_are_the_classes_under_their_usual_spelling() -> None:
    labels, rows = read("bullish", "Bearish", "Bullish", "Bullish", "positive", None)
    assert labels == ("Bearish", "Bullish", "positive")
    assert rows == ["Bullish", "Bearish", "Bullish", "Bullish", "positive", None]


def test_spelling_of_a_class_does_not_depend_on_the_order_of_rows() -> None:
    assert read("Up", "up", "down")[0] == read("down", "up", "Up")[0] == ("down", "Up")


def test_mapping_gives_names_order_and_joins_values() -> None:
    labels, rows = read("0", 2.0, 1, "3", "1.0", None, mapping="0=Bearish, 2.0=Neutral ,1=Bullish,3=Bullish")
    assert labels == ("Bearish", "Neutral", "Bullish")
    assert rows == ["Bearish", "Neutral", "Bullish", "Bullish", "Bullish", None]


def test_mapping_wins_over_the_home_case() -> None:
    assert read("0", "1", mapping="1=Good,0=Bad") == (("Good", "Bad"), ["Bad", "Good"])


@pytest.mark.parametrize(
    "mapping", ["", "0", "1,2,3", "0=", "0=,1=", "=Bad", "0=Bad,", "0=Bad=Worse", "0:Bad,1:Good", "0=Bad;1=Good"]
)
def test_malformed_mapping(mapping: str) -> None:
    with pytest.raises(PipelineError, match="--labels: expected VALUE=Class"):
        read("0", "1", mapping=mapping)


def test_mapping_with_two_classes_for_a_value() -> None:
    with pytest.raises(PipelineError, match="--labels: '0' is Bad and Good"):
        read("0", mapping="0=Bad,0.0=Good")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("-1", "1", "2.0", "2"), r"tweets\.csv, row 3: expected -1, 0 or 1.* got '2'; .*2 \(2\), -1 \(1\), 1 \(1\)"),
        ((0, 1, 2), r"row 3: .*got '2'; .*0 \(1\), 1 \(1\), 2 \(1\); .*--labels 0=Bearish"),
        (("positive", "negative", "3"), r"row 3: .*got '3'"),
        (("up", "down", "1"), r"row 1: .*got 'up'"),
        (("3\n1", "3"), r"got '3\\n1'; the labels in the file are 3 1 \(1\), 3 \(1\); say"),
        ((0, 1, 1), r"0 and 1 without -1 can mean two things; got 1 \(2\), 0 \(1\)"),
        (("positive", 1, "1.0"), r"expected 2 to 20 different labels, got 1 \(2\), positive \(1\); .*FILE=LABEL"),
        ((None, ""), "got only empty cells"),
        (tuple(f"word {i}" for i in range(21)), r"expected 2 to 20 different labels, got 21: word 0 \(1\).*and 1 more"),
    ],
)
def test_labels_that_do_not_speak_for_themselves(cells: tuple[Any, ...], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        read(*cells)


def test_value_outside_the_mapping_names_row_expected_and_got() -> None:
    message = (
        r"tweets\.csv, row 3: expected 'sentiment' to be one of 0, 1; got 'two'; correct it, or add it to --labels"
    )
    with pytest.raises(PipelineError, match=message):
        read("0", "1", "two", mapping="0=Bad,1=Good")


def test_classes_of_two_files_are_found_together() -> None:
    first, second = table("up", "down"), table("flat", "up")
    classes = find_classes([(first, "sentiment"), (second, "sentiment")])
    assert classes.labels == ("down", "flat", "up")
    assert classes_of(second, "sentiment", classes) == ["flat", "up"]


def test_what_is_written_for_nothing_is_no_label() -> None:
    cells = ["up", "NULL", "down", "nan", "<NA>", r"\N", "", None, float("nan"), "NA", "N/A", "#N/A", "-", "?"]
    cells += ["unlabelled", "Unlabeled"]
    assert read(*cells) == (("down", "up"), ["up", None, "down", *[None] * 13])
    # Words may be classes; a person can say otherwise of both.
    words = ["up", "none", "down", "NULL"]
    assert read(*words) == (("down", "none", "up"), ["up", "none", "down", None])
    assert read(*words, mapping="down,up,none=") == (("down", "up"), ["up", None, "down", None])
    assert read(*words, mapping="down,null=flat,up,none=") == (("down", "flat", "up"), ["up", None, "down", "flat"])


@pytest.mark.parametrize(
    ("mapping", "cells", "advice"),
    [
        ("pesimo,bueno", ("bueno", "pésimo"), "did you mean 'pésimo' for 'pesimo' in --labels?"),
        ("malo,buenno", ("malo", "bueno"), "did you mean 'bueno' for 'buenno' in --labels?"),
        # The right word is there: the cell is wrong.
        ("malo,bueno", ("malo", "buemo", "bueno"), "correct it, or add it to --labels (as buemo=bueno)"),
        ("malo,bueno", ("malo", "bueno", "x"), "correct it, or add it to --labels (as x= if it is no label)"),
        ("malo,bueno,17=x", ("malo", "bueno", 7), "correct it, or add it to --labels (as 7= if it is no label)"),
    ],
)
def test_a_value_that_is_not_named_says_which_of_two_is_misspelt(
    mapping: str, cells: tuple[object, ...], advice: str
) -> None:
    with pytest.raises(PipelineError) as error:
        read(*cells, mapping=mapping)
    assert str(error.value).endswith(f"; {advice}")
