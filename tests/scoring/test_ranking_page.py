"""The sections ``ranking`` and ``priors`` of the page, each rendered by itself."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import cycle
from typing import Any

import html5lib
import numpy as np
import pytest
from synthetic_predictions import LABELS, make_predictions
from test_ranking import make_world

from pipeline.scoring import page
from pipeline.scoring.evaluation import score
from pipeline.scoring.priors import check_priors, priors
from pipeline.scoring.ranking import ranking
from pipeline.scoring.ranking_figures import precision_recall_figure
from pipeline.scoring.verdict import name_of

NAMES = {"tuned": "Tuned model", "tfidf": "TF-IDF classifier"}
N = 200


SCORED = score(make_predictions(60), labels=LABELS)


def make_metrics(labels: tuple[str, ...] = LABELS, *, unparsed: bool = True, systems: bool = True) -> dict[str, Any]:
    """What the two sections read: their own numbers, and scores that were made for other rows."""
    k = len(labels)
    per_class = dict(zip(labels, cycle(SCORED["systems"]["tuned"]["per_class"].values()), strict=False))
    y, p = make_world(N, k)
    answered = np.where(np.arange(N) % 20 == 0, k if unparsed else y, p.argmax(axis=1))
    groups = np.arange(N)
    probabilities = {"tuned": p, "tfidf": make_world(N, k, seed=1)[1]} if systems else {}
    return {
        "candidate": "tuned",
        "smallest_class": labels[0],
        "rows": {"n": N},
        "systems": {"tuned": {**SCORED["systems"]["tuned"], "per_class": per_class}},
        "ranking": ranking(y, answered, probabilities, groups=groups, labels=labels),
        "priors": priors(
            y,
            answered,
            groups=groups,
            labels=labels,
            probabilities=p,
            train=dict.fromkeys(labels, 7),
            given=check_priors({label: i + 1 for i, label in enumerate(labels)}, labels),
        ),
    }


def figure(metrics: dict[str, Any]) -> str:
    """The figure of the section on ranking."""
    names = {name: NAMES[name] for name in metrics["ranking"]["systems"]}
    return precision_recall_figure(metrics["ranking"], list(metrics["ranking"]["prevalence"]), names)


def render(key: str, metrics: dict[str, Any]) -> str:
    """One section as HTML."""
    environment = page.environment()
    svg = figure(metrics) if key == "ranking" and metrics.get(key, {}).get("systems") else ""
    return environment.get_template(f"report_{key}.html").render(
        metrics=metrics, figures={"ranking": page.trusted(svg)}
    )


def _dom(html: str) -> Any:
    return html5lib.parse(html, namespaceHTMLElements=False)


def _text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def _numbers(value: object) -> set[float]:
    if isinstance(value, dict):
        return {n for inner in value.values() for n in _numbers(inner)}
    if isinstance(value, list):
        return {n for inner in value for n in _numbers(inner)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def _table(html: str, caption: str) -> list[list[str]]:
    table = next(t for t in _dom(html).iter("table") if _text(t.find("caption")).startswith(caption))
    return [[_text(cell) for cell in row] for row in table.find("tbody")]


def _estimate(scores: dict[str, float]) -> str:
    return f"{scores['value']:.3f}{scores['low']:.3f} to {scores['high']:.3f}".replace("-", "−")


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return make_metrics()


@pytest.mark.parametrize("key", ["ranking", "priors"])
def test_every_number_is_one_of_the_metrics_to_displayed_precision(key: str, metrics: dict[str, Any]) -> None:
    known = _numbers(metrics)
    elements = list(_dom(render(key, metrics)).iter("data"))
    assert len(elements) > 30
    for element in elements:
        value, text = float(element.get("value")), _text(element)
        assert value in known
        if "%" in text:
            assert text == f"{100 * value:.1f} %"
        elif text == "< 0.001":
            assert value < 0.001
        elif "." in text:
            assert text in {f"{value:.3f}".replace("-", "−"), f"{value:+.3f}".replace("-", "−")}
        else:
            assert float(text.replace(",", "")) == value


def test_the_tables_on_ranking_hold_the_right_number_in_the_right_place(metrics: dict[str, Any]) -> None:
    html, section = render("ranking", metrics), metrics["ranking"]
    for name, system in section["systems"].items():
        rows = _table(html, f"Ranking by {name_of(name)}")
        assert rows[:-1] == [
            [
                label,
                str(s["n"]),
                _estimate(s["average_precision"]),
                f"{section['prevalence'][label]:.3f}",
                _estimate(s["roc_auc"]),
            ]
            for label, s in system["classes"].items()
        ]
        assert rows[-1][2] == _estimate(system["macro"]["average_precision"])
        assert rows[-1][4] == _estimate(system["macro"]["roc_auc"])
    shares = _table(html, "Share of each class among")
    assert [row[:3] for row in shares] == [
        [label, f"{100 * s['true']:.1f} %", f"{100 * s['predicted']:.1f} %"]
        for label, s in section["bias"]["classes"].items()
    ]
    assert "tweets with an unparsed answer are left out" in _text(_dom(html))


def test_the_tables_on_priors_hold_the_right_number_in_the_right_place(metrics: dict[str, Any]) -> None:
    html, section = render("priors", metrics), metrics["priors"]
    measured, *scenarios = _table(html, "What if")
    tuned = metrics["systems"]["tuned"]
    assert measured[:3] == ["measured", _estimate(tuned["accuracy"]), _estimate(tuned["macro_f1"])]
    for row, scenario in zip(scenarios, section["scenarios"].values(), strict=True):
        assert row[0].endswith("what if")
        scores = [scenario["accuracy"], scenario["macro_f1"], *scenario["precision"].values()]
        assert row[1:] == [_estimate(each) for each in scores]
    assert [row[2] for row in _table(html, "Share of each class in training")] == [
        _estimate(shares["estimated"]) for shares in section["estimate"]["classes"].values()
    ]


@pytest.mark.parametrize("key", ["ranking", "priors"])
def test_a_section_without_its_numbers_is_empty(key: str, metrics: dict[str, Any]) -> None:
    assert render(key, {name: value for name, value in metrics.items() if name != key}).strip() == ""


HOSTILE = ("<b>", "</td></table><script>alert(1)</script>", "a&b", "\u202eevil", "{{ 7 * 7 }}", "$\\frac{$", "a\ud800")


def test_hostile_labels_add_no_element() -> None:
    hostile, harmless = make_metrics(HOSTILE), make_metrics(tuple("abcdefg"))
    for key in ("ranking", "priors"):
        attacked, benign = (_dom(render(key, each)) for each in (hostile, harmless))
        assert Counter(str(e.tag) for e in attacked.iter()) == Counter(str(e.tag) for e in benign.iter())
        assert not any(str(name).startswith("on") or name == "style" for e in attacked.iter() for name in e.attrib)


def test_sections_without_probabilities_and_with_nothing_to_test() -> None:
    metrics = make_metrics(systems=False, unparsed=False)
    y = np.array([0, 1, 2])
    for answered, said in ((y, "answered exactly as often"), (np.full(3, 3), "None of the 3 answers could be read")):
        metrics["ranking"] = ranking(y, answered, {}, groups=np.arange(3), labels=LABELS)
        text = _text(_dom(render("ranking", metrics)))
        assert said in text
        assert "Average precision" not in text
    metrics["priors"] = priors(y, np.full(3, 3), groups=np.arange(3), labels=LABELS)
    text = _text(_dom(render("priors", metrics)))
    assert "estimated" not in text
    assert "–" in text


def test_a_class_that_is_answered_too_often_is_named() -> None:
    y = np.repeat([0, 1, 2], 40)
    answered = np.where(np.arange(120) % 4 == 0, 1, y)
    metrics = make_metrics()
    metrics["ranking"] = ranking(y, answered, {}, groups=np.arange(120), labels=LABELS)
    said = "out of balance. The answer Neutral comes too often: 50.0 % of the answers where 33.3 %"
    assert said in _text(_dom(render("ranking", metrics)))


def test_tables_can_be_heard(metrics: dict[str, Any]) -> None:
    for key in ("ranking", "priors"):
        dom = _dom(render(key, metrics))
        assert all(_text(table.find("caption")) for table in dom.iter("table"))
        assert all(th.get("scope") for th in dom.iter("th"))
        assert [e.get("id") for e in dom.iter("section")] == [key]


def _svg_texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


@pytest.mark.parametrize("labels", [("a", "b"), LABELS, tuple(f"class {i}" for i in range(20))])
def test_the_figure_has_a_panel_for_each_class(labels: tuple[str, ...]) -> None:
    y, p = make_world(N, len(labels))
    present = ranking(y, y, {"tuned": p, "tfidf": p}, groups=np.arange(N), labels=labels)
    svg = precision_recall_figure(present, labels, NAMES)
    texts = _svg_texts(svg)
    assert [t for t in texts if t in labels] == list(labels)
    assert {"Tuned model", "TF-IDF classifier", "recall", "precision"} <= set(texts)
    assert "style" not in svg.replace("font-style", "")
    ids, references = re.findall(r' id="([^"]+)"', svg), re.findall(r'(?:url\(#|href="#)([^")]+)', svg)
    assert len(ids) == len(set(ids))
    assert set(references) <= set(ids)


def test_the_same_numbers_give_the_same_figure(metrics: dict[str, Any]) -> None:
    assert figure(metrics) == figure(metrics)


def test_an_absent_class_says_so() -> None:
    y, p = np.array([0, 1, 1]), np.full((3, 3), 1 / 3)
    absent = ranking(y, y, {"tuned": p}, groups=np.arange(3), labels=LABELS)
    assert _svg_texts(precision_recall_figure(absent, LABELS, {"tuned": "Tuned model"})).count("no rows") == 1
