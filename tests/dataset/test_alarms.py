from typing import Any

import pytest

from pipeline.dataset.alarms import find_alarms
from pipeline.dataset.power import half_width

LEXICON = {
    "agreement": 1.0,
    "low": 0.9975,
    "high": 1.0,
    "kappa": 1.0,
    "n": 1544,
    "dead_zone": 0.0,
    "machine_made": True,
}
LEARNABLE = {"value": 0.334, "chance": 0.331, "p_value": 0.41, "detectable": 0.04, "n": 900, "folds": 5}
RATERS = {
    **{"items": 100, "krippendorff_alpha": 0.41, "low": 0.33, "high": 0.49},
    "human_ceiling": {"macro_f1": 0.62, "accuracy": 0.7, "low": 0.5, "high": 0.7},
}


def told(content: dict[str, Any]) -> list[tuple[str, str]]:
    return [(alarm["kind"], alarm["text"]) for alarm in find_alarms(content)]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"labels": None, "duplicates": None, "power": None, "classes": {}},
        {"labels": {"lexicons": {}, "learnable": None, "suspects": None, "overrides": None, "raters": None}},
        {"labels": {"lexicons": {"vader": {**LEXICON, "machine_made": False}}}},
        {"labels": {"learnable": {**LEARNABLE, "p_value": 0.001}}},
        # Too few rows to have found a lift: no alarm either way.
        {"labels": {"learnable": {**LEARNABLE, "detectable": 0.2}}},
        {"labels": {"raters": {**RATERS, "krippendorff_alpha": 0.7}}},
        {"labels": {"raters": {**RATERS, "krippendorff_alpha": None}}},
        {"duplicates": {"campaigns": [{"size": 90, "class_shares": {"Up": 0.2}}]}},
        {"duplicates": {"class_shares_in_copies": {"Up": 0.8, "Down": 0.7}}},
        {"duplicates": {"class_shares_in_copies": {"Up": 0.5, "Down": 0.0}}},
        {"classes": {"train": {"Up": 3}, "test": {"Up": 30, "Down": 200}}},
        {"rows": {"read": 100, "dropped": {"no date": 5}}, "dates": {"unread_example": "soon"}},
    ],
)
def test_silence(content: dict[str, Any]) -> None:
    assert find_alarms(content) == []


def test_machine_made_says_what_a_score_measures() -> None:
    ((kind, text),) = told({"labels": {"lexicons": {"textblob": LEXICON}}})
    assert kind == "machine_made"
    assert "TextBlob gives the same label for 100.0 % of 1,544 texts (95 % interval 99.8 % to 100.0 %)" in text
    assert "measures imitation of TextBlob, not sentiment" in text


def test_nearly_all_is_not_all() -> None:
    ((_, text),) = told({"labels": {"lexicons": {"textblob": {**LEXICON, "agreement": 0.9999}}}})
    assert "for 99.9 %" in text


def test_unlearnable_is_careful() -> None:
    ((kind, text),) = told({"labels": {"learnable": LEARNABLE}})
    assert kind == "unlearnable"
    for figure in ("900 texts", "0.334", "0.331", "p = 0.41", "0.040", "no proof"):
        assert figure in text


def test_campaigns_and_copies() -> None:
    duplicates: dict[str, Any] = {
        "campaigns": [
            {"size": 90, "class_shares": {"Up": 0.25, "Down": 0.01}},
            {"size": 300, "class_shares": {"Up": 0.42}},
        ],
        "class_shares_in_copies": {"Up": 0.9, "Flat": 0.6, "Down": 0.2},
    }
    texts = told({"duplicates": duplicates})
    assert [kind for kind, _ in texts] == ["campaign", "campaign", "copies_carry_class", "copies_carry_class"]
    assert "42.0 % of the rows of Up are copies of a single text (300 rows in all)" in texts[0][1]
    assert "90.0 % of the rows of Up" in texts[2][1]
    assert "20.0 % of those of Down" in texts[3][1]
    assert not any("was kept" in text for _, text in texts)
    settled = told({"duplicates": duplicates | {"policy": "one"}})
    assert all(text.endswith("Here one copy of each text was kept.") for _, text in settled)
    capped = told({"duplicates": duplicates | {"policy": 3}})
    assert all(text.endswith("Here at most 3 of each group of near-copies were kept.") for _, text in capped)


def test_rows_without_a_date() -> None:
    ((kind, text),) = told(
        {"rows": {"read": 900, "dropped": {"no date": 600}}, "dates": {"unread_example": "13/01/21"}}
    )
    assert kind == "undated"
    assert "600 of 900 were left out because their date is missing or could not be read, such as '13/01/21'." in text


def test_few_test_rows() -> None:
    classes = {"train": {"Up": 90}, "test": {"Up": 29, "Flat": 30, "Down": 12, "Moon": 0}}
    power = {"per_class": {"Down": {"support": 12, "recall_half_width": 0.246}}}
    texts = told({"classes": classes, "power": power})
    assert [kind for kind, _ in texts] == ["few_test_rows"] * 2
    assert (
        "Moon has none, so nothing can be known of its recall, and the macro-F1 counts what has none as 0"
        in (texts[0][1])
    )
    assert "Down has 12 (recall to within 0.25 at best), Up has 29, so their recall can hardly be known" in texts[1][1]
    assert texts[1][1].startswith("A recall wants 30 test rows or more of a class to be known to within 0.17: Down has")
    ((_, text),) = told({"classes": {"test": {"Up": 0, "Down": 0}}})
    assert text.startswith("No test rows: Up, Down have none, so nothing can be known of their recall")


def test_the_number_of_rows_and_the_precision_that_go_together() -> None:
    assert f"{half_width(30):.2f}" == "0.17"
    assert f"{half_width(29):.2f}" == "0.17"
    assert half_width(30) < 0.17 < half_width(29)


@pytest.mark.parametrize(
    ("splits", "advice"),
    [
        ({}, "larger share (--test), or let every row be tested once (--folds)."),
        ({"by": "random", "own_files": [], "folds": None}, "(--test), or let every row be tested once (--folds)."),
        ({"by": "time"}, "Add such rows, or give the test split a larger share (--test)."),
        ({"by": "random", "folds": {"n": 9}}, "Add such rows, or ask for fewer folds (--folds)."),
        ({"by": "random", "own_files": ["test"]}, "Add such rows to your test file."),
    ],
)
def test_more_test_rows_come_by_options_that_can_be_given(splits: dict[str, Any], advice: str) -> None:
    ((_, text),) = told({"classes": {"test": {"Up": 9, "Down": 90}}, "splits": splits})
    assert text.endswith(advice)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"Up": 14, "Down": 15}, "The validation split has 29 in all, where 30 and 3 of each class are the least"),
        ({"Up": 90, "Down": 2, "Flat": 0}, "The validation split has 92 in all, of Down 2, Flat 0, where"),
        ({"Up": 27, "Down": 3}, None),
        ({}, None),
    ],
)
def test_few_validation_rows(rows: dict[str, int], said: str | None) -> None:
    texts = told({"classes": {"val": rows}})
    assert [kind for kind, _ in texts] == (["few_validation_rows"] if said else [])
    assert not said or texts[0][1].startswith(said)


def test_raters_that_disagree() -> None:
    ((kind, text),) = told({"labels": {"raters": RATERS}})
    assert kind == "low_rater_agreement"
    assert "0.41 [0.33, 0.49] on 100 texts" in text


def test_most_serious_first_and_one_line_each() -> None:
    content = {
        "labels": {"raters": RATERS, "learnable": LEARNABLE, "lexicons": {"vader": LEXICON, "textblob": LEXICON}},
        "duplicates": {"class_shares_in_copies": {"Up": 0.9, "Down": 0.1}},
        "classes": {"test": {"Up": 2}},
    }
    texts = told(content)
    assert [kind for kind, _ in texts] == [
        *("machine_made", "machine_made", "unlearnable", "copies_carry_class", "few_test_rows", "low_rater_agreement"),
    ]
    assert not any("\n" in text for _, text in texts)
