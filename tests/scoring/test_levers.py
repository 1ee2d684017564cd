"""Runs that differ in their settings, beside each other."""

import json
from collections import Counter
from typing import Any

import html5lib
import pytest
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.findings import findings
from pipeline.scoring.gallery import gallery
from pipeline.scoring.report import render
from pipeline.scoring.sections import Evidence

SETTINGS = {
    "plain": {"class_weights": "none", "sampling": "natural"},
    "tuned": {"class_weights": "balanced", "sampling": "natural"},
    "both": {"class_weights": "sqrt", "sampling": "balanced"},
}
SKILL = {"tuned": 0.75, "plain": 0.6, "both": 0.5}


def scored(settings: dict[str, dict[str, str]], labels: tuple[str, ...] = LABELS) -> tuple[dict[str, Any], Any]:
    rows = make_predictions(200, skill=dict.fromkeys(settings, 0.5) | SKILL, labels=labels)
    metrics = score(rows, labels=labels, evidence=Evidence(levers=settings))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    return metrics, rows


def section_of(page: str) -> Any:
    sections = html5lib.parse(page, namespaceHTMLElements=False).iter("section")
    return next((section for section in sections if section.get("id") == "adjustment"), None)


def test_settings_stand_beside_the_scores_of_each_class() -> None:
    metrics, rows = scored(SETTINGS)
    found = metrics["levers"]
    assert found["settings"] == ["class_weights", "sampling"]
    assert {name: run["settings"] for name, run in found["runs"].items()} == SETTINGS
    scores = [run["macro_f1"]["value"] for run in found["runs"].values()]
    assert scores == sorted(scores, reverse=True)
    section = section_of(render(metrics, rows, {}))
    tables = list(section.iter("table"))
    for table, key, mean in zip(tables, ("recall", "f1"), ("balanced_accuracy", "macro_f1"), strict=True):
        shown = {
            "".join(row[0].itertext()): ["".join(cell.itertext()) for cell in row[1:]] for row in table.find("tbody")
        }
        for name, cells in shown.items():
            system = metrics["systems"][name.lower()]
            assert cells[:2] == list(SETTINGS[name.lower()].values())
            estimates = [(c[key], c["intervals"][key]) for c in system["per_class"].values()]
            estimates.append((system[mean]["value"], system[mean]))
            assert cells[2:] == [f"{v:.3f}{i['low']:.3f} to {i['high']:.3f}" for v, i in estimates]
        heads = ["".join(th.itertext()) for th in table.find("thead").iter("th")]
        assert heads[:3] == ["Run", "class_weights", "sampling"]
        assert [head.removesuffix(" tweets") for head in heads[3:-1]] == [
            f"{label}{scores['support']}" for label, scores in metrics["systems"]["tuned"]["per_class"].items()
        ]
    line = findings(metrics, gallery(rows, LABELS, "tuned", ordered=False))["adjustment"]
    assert line == "3 runs beside each other that differ in class_weights, sampling."
    many = {**metrics, "levers": {**found, "settings": ["a", "b", "c", "d", "e"]}}
    line = findings(many, gallery(rows, LABELS, "tuned", ordered=False))["adjustment"]
    assert line == "3 runs beside each other that differ in a, b, c, and 2 more."


def test_without_levers_there_is_no_section() -> None:
    metrics, rows = scored({})
    assert "levers" not in metrics
    assert section_of(render(metrics, rows, {})) is None


@pytest.mark.parametrize("k", [2, 20])
def test_two_and_twenty_classes(k: int) -> None:
    labels = tuple(f"class {c}" for c in range(k))
    metrics, rows = scored(SETTINGS, labels)
    said = "".join(section_of(render(metrics, rows, {})).itertext())
    assert all(label in said for label in labels)


def test_hostile_names_and_settings_add_no_element() -> None:
    hostile = ("<script>alert(1)</script>", "</td></table><svg onload=alert(1)>\u202e")
    pages = []
    for name, value in (hostile, ("harmless", "none")):
        metrics, rows = scored({"tuned": {value: value}, name: {value: name}}, ("Negative", value, "Positive"))
        pages.append(render(metrics, rows, {}))
    found = [Counter(str(e.tag) for e in section_of(page).iter()) for page in pages]
    assert found[0] == found[1]
    assert "script" not in found[0]
