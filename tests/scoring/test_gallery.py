import math
import random
from typing import Any

import pytest
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.gallery import ERRORS_SHOWN, ERRORS_UNFOLDED, UNPARSED_SHOWN, gallery, in_order


def _row(
    id: str, label: str, generate: str | None, sure: float = 0.5, labels: tuple[str, ...] = LABELS
) -> dict[str, Any]:
    other = math.log((1 - sure) / (len(labels) - 1) / 2)
    scores = {name: math.log(sure / 2) if name == generate else other for name in labels}
    answer = {"completion": f" {generate}\n", "generate": generate, "log_likelihoods": scores}
    return {"id": id, "label": label, "input": "text", "systems": {"tuned": answer}}


def test_opposites_first_then_the_surest_then_by_id() -> None:
    rows = [
        _row("a", "Neutral", "Positive", 0.99),
        _row("b", "Negative", "Positive", 0.4),
        _row("c", "Positive", "Negative", 0.6),
        _row("d", "Negative", "Neutral", 0.7),
        _row("f", "Neutral", "Negative", 0.7),
        _row("e", "Neutral", "Negative", 0.7),
        _row("g", "Positive", "Positive", 0.9),
        _row("i", "Positive", None),
        _row("h", "Negative", None),
    ]
    wrong, unparsed = in_order(rows, LABELS, "tuned", ordered=True)
    assert [error["id"] for error in wrong] == ["c", "b", "a", "d", "e", "f"]
    assert [error["opposite"] for error in wrong] == [True, True, False, False, False, False]
    assert [error["id"] for error in unparsed] == ["h", "i"]
    assert wrong[0]["confidence"] == pytest.approx(0.6)
    assert wrong[0]["completion"] == " Negative\n"
    assert unparsed[0] | {"predicted": None, "confidence": None, "opposite": False} == unparsed[0]


def test_two_classes_have_no_opposites_but_being_wrong() -> None:
    two = ("bad", "good")
    rows = [_row("a", "bad", "good", 0.6, two), _row("b", "good", "bad", 0.9, two)]
    wrong, _ = in_order(rows, two, "tuned", ordered=True)
    assert [(error["id"], error["opposite"]) for error in wrong] == [("b", False), ("a", False)]


def test_systems_that_only_predict() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "label": "Neutral", "systems": {"x": {"predicted": "Positive"}}},
        {
            "id": "b",
            "label": "Neutral",
            "systems": {"x": {"predicted": "Positive", "probabilities": {"Neutral": 0.6, "Positive": 0.4}}},
        },
    ]
    wrong, unparsed = in_order(rows, LABELS, "x", ordered=True)
    assert [(e["id"], e["confidence"], e["completion"]) for e in wrong] == [("b", 0.4, None), ("a", None, None)]
    assert unparsed == []


def test_the_page_gets_the_first_and_the_totals_whatever_the_order() -> None:
    rows = make_predictions(400, unparsed=0.1)
    found = gallery(rows, LABELS, "tuned", ordered=True)
    wrong, unparsed = in_order(rows, LABELS, "tuned", ordered=True)
    shown = found["wrong"] + found["wrong_folded"]
    assert len(found["wrong"]) == ERRORS_UNFOLDED
    assert shown == wrong[:ERRORS_SHOWN]
    assert found["unparsed"] == unparsed[:UNPARSED_SHOWN]
    assert found["wrong_total"] + found["unparsed_total"] == sum(
        row["systems"]["tuned"]["generate"] != row["label"] for row in rows
    )
    assert found["opposite_total"] == sum(
        {row["label"], row["systems"]["tuned"]["generate"]} == {"Negative", "Positive"} for row in rows
    )
    random.Random(0).shuffle(rows)
    assert gallery(rows, LABELS, "tuned", ordered=True) == found
    assert gallery([], LABELS, "tuned", ordered=True)["wrong_total"] == 0
