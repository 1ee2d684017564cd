import json
import re
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from typing import Any

import html5lib
import numpy as np
import pytest
from synthetic_confidence import LABELS, make_answers

from pipeline.scoring import page
from pipeline.scoring.confidence import Answers, confidence
from pipeline.scoring.confidence_figures import reliability_figure, risk_coverage_figure
from pipeline.scoring.selective import recommend
from pipeline.scoring.temperature import fit_temperature

HOSTILE = ("<script>alert(1)</script>", '"><svg onload=alert(1)>', "{{ 7 * 7 }}\u202e</details></section>")
TEMPLATE = page.environment().get_template("report_confidence.html")


def _render(found: dict[str, Any] | None) -> str:
    figures = {}
    if found is not None:
        figures = {
            "confidence_reliability": page.trusted(reliability_figure(found["calibration"]["equal_width"]["bins"])),
            "confidence_risk": page.trusted(risk_coverage_figure(found["selective"])),
        }
    metrics = {} if found is None else {"confidence": found}
    return TEMPLATE.render(metrics=metrics, figures=figures)


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in _numbers(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _words(html: str) -> str:
    return " ".join("".join(html5lib.parse(html, namespaceHTMLElements=False).itertext()).split())


def _constant(y_true: list[int], predicted: list[int], k: int = 3) -> Answers:
    n = len(y_true)
    return Answers(np.full((n, k), -np.log(k) - 0.1), np.array(y_true), np.array(predicted), np.arange(n))


def _degenerate() -> dict[str, Answers]:
    some = make_answers(40)
    best = some.log_likelihoods.argmax(axis=1)
    return {
        "one row": make_answers(1),
        "two copies of one row": make_answers(1, copies=2),
        "one class only": replace(some, y_true=np.zeros(40, dtype=np.int64)),
        "a class absent": replace(some, y_true=some.y_true.clip(max=1)),
        "all unparsed": replace(some, predicted=np.full(40, 3)),
        "all right": replace(some, y_true=best, predicted=best),
        "all wrong": replace(some, y_true=(best + 1) % 3, predicted=best),
        "constant probabilities": _constant([0, 1, 2, 0], [0, 0, 0, 0]),
        "extreme likelihoods": replace(some, log_likelihoods=some.log_likelihoods * 400 - 0.1),
    }


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    test = make_answers(300, sharpness=1.8, unparsed=0.04)
    return confidence(test, LABELS, validation=make_answers(200, seed=9, sharpness=1.8), target=0.75)


@pytest.mark.parametrize("name", _degenerate())
def test_degenerate_rows_give_plain_json_and_a_page(name: str) -> None:
    answers = _degenerate()[name]
    with np.errstate(all="raise", under="ignore"):
        found = confidence(answers, LABELS, validation=answers)
    json.dumps(found, allow_nan=False)
    words = _words(_render(found))
    assert "nan" not in words.lower().split()
    assert "How far its confidence can be trusted" in words


def test_twenty_classes() -> None:
    labels = [f"class {i}" for i in range(20)]
    found = confidence(make_answers(100, k=20), labels, validation=make_answers(60, k=20, seed=1))
    assert list(found["calibration"]["classes"]) == labels
    words = _words(_render(found))
    assert all(label in words for label in labels)


def test_the_order_of_the_rows_does_not_matter() -> None:
    test, validation = make_answers(150, unparsed=0.1, copies=2), make_answers(80, seed=1)
    dumps = []
    for seed in range(2):
        orders = [np.random.default_rng(seed).permutation(len(a.y_true)) for a in (test, validation)]
        shuffled = [
            Answers(a.log_likelihoods[o], a.y_true[o], a.predicted[o], a.groups[o])
            for a, o in zip((test, validation), orders, strict=True)
        ]
        dumps.append(json.dumps(confidence(shuffled[0], LABELS, validation=shuffled[1])))
    assert len(set(dumps)) == 1
    assert json.dumps(confidence(test, LABELS, validation=validation, seed=1)) not in dumps


def test_temperature_and_threshold_never_see_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    validation = make_answers(200, seed=1, sharpness=1.8)
    seen: list[Any] = []

    def fit_spy(*arrays: Any) -> Any:
        seen.extend(arrays)
        return fit_temperature(*arrays)

    def choose_spy(ranked: Any, target: float) -> Any:
        seen.extend([ranked.confidence, ranked.y_true, ranked.predicted])
        return recommend(ranked, target)

    monkeypatch.setattr("pipeline.scoring.confidence.fit_temperature", fit_spy)
    monkeypatch.setattr("pipeline.scoring.confidence.recommend", choose_spy)
    tests = [make_answers(150), make_answers(90, seed=7, sharpness=0.3), make_answers(30, seed=8, unparsed=1.0)]
    results = [confidence(test, LABELS, validation=validation, target=0.7) for test in tests]
    assert all(len(array) == 200 for array in seen)
    assert len({json.dumps(r["temperature"]["fitted"]) for r in results}) == 1
    assert len({r["selective"]["recommended"]["threshold"] for r in results}) == 1
    assert len({json.dumps(r["selective"]["recommended"]["validation"]) for r in results}) == 1


def test_without_validation_nothing_is_fitted() -> None:
    found = confidence(make_answers(50), LABELS)
    assert found["temperature"] is None
    assert found["selective"]["recommended"] is None
    assert "there is no threshold to recommend" in _words(_render(found))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("y_true", np.array([0])),
        ("y_true", np.array([0, 3])),
        ("predicted", np.array([0, 4])),
        ("log_likelihoods", np.array([[0.0, -1.0, np.nan]] * 2)),
        ("log_likelihoods", np.zeros((0, 3))),
    ],
)
def test_answers_that_do_not_fit_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|must be finite"):
        replace(make_answers(2), **{field: value})


def test_ten_thousand_rows_are_fast() -> None:
    test, validation = make_answers(10_000, unparsed=0.02), make_answers(2_000, seed=1)
    started = time.process_time()
    found = confidence(test, LABELS, validation=validation)
    assert time.process_time() - started < 3
    assert len(json.dumps(found)) < 60_000


def test_the_page_shows_nothing_without_the_section() -> None:
    assert _render(None).strip() == ""


def test_every_number_of_the_page_is_one_of_the_section(found: dict[str, Any]) -> None:
    known = np.array([*_numbers(found), *(len(found["calibration"]["classes"]),)])
    shown = list(html5lib.parse(_render(found), namespaceHTMLElements=False).iter("data"))
    assert len(shown) > 200
    for element in shown:
        value, text = float(element.get("value")), element.text
        assert np.isclose(known, value, rtol=0, atol=1e-12).any(), text
        displayed = float(re.sub(r"[^\d.-]", "", text.replace("−", "-")))
        if "<" not in text:
            scale = 100 if text.endswith("%") else 1
            assert displayed == pytest.approx(value * scale, abs=0.0501 if scale == 100 else 0.000501)


def test_the_page_says_what_was_found(found: dict[str, Any]) -> None:
    words = _words(_render(found))
    assert "Its probabilities are not calibrated" in words
    assert "On average it is too sure" in words
    assert "makes the test's probabilities better" in words
    assert "Withhold answers below a probability of" in words
    calm = _words(_render(confidence(make_answers(100), LABELS)))
    assert "not distinguishable from a calibrated model" in calm
    assert "too sure:" not in calm


def test_hostile_labels_change_no_element() -> None:
    def tags(labels: tuple[str, ...]) -> Counter[str]:
        found = confidence(make_answers(60), labels, validation=make_answers(60, seed=1))
        return Counter(str(e.tag) for e in html5lib.parse(_render(found), namespaceHTMLElements=False).iter())

    hostile = tags(HOSTILE)
    assert hostile == tags(LABELS)
    assert "script" not in hostile


def test_figures_are_the_same_twice_and_need_no_style(found: dict[str, Any]) -> None:
    bins = found["calibration"]["equal_width"]["bins"]
    svgs = [reliability_figure(bins), risk_coverage_figure(found["selective"])]
    assert svgs == [reliability_figure(bins), risk_coverage_figure(found["selective"])]
    ids = [i for svg in svgs for i in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in svgs:
        assert "style" not in svg.replace("font-style", "")
        assert "currentColor" in svg
        assert "#000000" not in svg
        assert len(svg) < 60_000
    texts = [e.text for e in ET.fromstring(svgs[1]).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert {"threshold", "confidence says nothing", "errors all last"} <= set(texts)
