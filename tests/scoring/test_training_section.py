"""The section on the training on the page, also in a real browser."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import html5lib
import pytest
from accessibility import CHROMIUM
from playwright.sync_api import Browser
from synthetic_predictions import LABELS, make_predictions
from synthetic_training import make_lines, make_run

from pipeline.scoring import page
from pipeline.scoring.drawing import SPLIT_COLOURS
from pipeline.scoring.evaluation import score
from pipeline.scoring.report import render
from pipeline.scoring.sections import Evidence
from pipeline.scoring.training_curves import training_curves
from pipeline.scoring.training_figures import training_figures
from pipeline.scoring.training_sentence import facts

HOSTILE = ("</bdi></section><script>alert(1)</script>", "a\u202e\x00\ud800<b>", "$\\frac{$'\" onload=alert(2)")
TWENTY = tuple(f"class number {i} with a name too long for an axis" if i % 3 else f"c{i}" for i in range(20))
FIGURES = {"training_score", "training_loss", "training_recall"}


def made(labels: tuple[str, ...] = LABELS, **options: Any) -> dict[str, Any]:
    counts = dict.fromkeys(labels, 40)
    found = training_curves(make_lines(labels=labels, **options), make_run(), labels=labels, counts=counts)
    assert found is not None
    return found


def section(training: dict[str, Any] | None, labels: tuple[str, ...] = LABELS) -> str:
    figures = training_figures(training, labels) if training else {}
    return (
        page.environment()
        .get_template("report_training.html")
        .render(
            metrics={"rows": {"support": dict.fromkeys(labels, 1)}} | ({"training": training} if training else {}),
            figures={name: page.trusted(svg) for name, svg in figures.items()},
            training_facts=facts(training) if training else [],
        )
    )


def whole_page(labels: tuple[str, ...] = LABELS, **options: Any) -> str:
    return render(scored(labels) | {"training": made(labels, **options)}, make_predictions(40, labels=labels), {})


@cache
def scored(labels: tuple[str, ...]) -> dict[str, Any]:
    return score(make_predictions(40, labels=labels), labels=labels)


def text_of(html: str) -> str:
    return " ".join("".join(html5lib.parse(html, namespaceHTMLElements=False).itertext()).split())


def numbers(value: object) -> set[float]:
    if isinstance(value, dict):
        return {n for inner in value.values() for n in numbers(inner)}
    if isinstance(value, list):
        return {n for inner in value for n in numbers(inner)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def texts_in(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_every_number_is_one_of_the_metrics_to_displayed_precision() -> None:
    training = made()
    known = numbers(training)
    elements = list(html5lib.parse(section(training), namespaceHTMLElements=False).iter("data"))
    assert len(elements) == 4 * (5 + len(LABELS)) + 1
    for element in elements:
        value, text = float(element.get("value")), "".join(element.itertext())
        assert value in known
        shown = f"{100 * value:.1f} %" if "%" in text else f"{value:.3f}" if "." in text else f"{value:,.0f}"
        assert text == shown


def test_what_the_curves_say_is_on_the_page() -> None:
    html = whole_page(missed=["Neutral"])
    training = made(missed=["Neutral"])
    text = text_of(html)
    assert "How the training went" in text
    assert "Kept step 300 of 400: macro-F1 0.710 on validation, level at the end. Never found: Neutral." in text
    assert training["sentences"][-1] in text
    for name, value in facts(training):
        assert f'<dt>{name}</dt><dd><bdi dir="auto">{value}</bdi></dd>' in html
    assert html.count('class="ours"') > 1


def test_the_figures_show_the_kept_step_and_each_class() -> None:
    found = training_figures(made(), LABELS)
    assert set(found) == FIGURES
    assert "kept: 0.710" in texts_in(found["training_score"])
    assert {"training", "validation", "loss, logarithmic"} <= set(texts_in(found["training_loss"]))
    kept = made()["kept"]["recall"]
    shown = texts_in(found["training_recall"])
    assert [text for text in shown if text in LABELS] == list(LABELS)
    assert {f"{recall:.2f}" for recall in kept.values()} <= set(shown)


def test_a_loss_that_hardly_moves_has_an_axis_from_0() -> None:
    training = made()
    training["loss"] = [[step, 0.3 + step / 10_000] for step, _ in training["loss"]]
    shown = texts_in(training_figures(training, LABELS)["training_loss"])
    assert "loss" in shown
    assert "loss, logarithmic" not in shown


def test_a_loss_of_0_has_no_logarithm() -> None:
    training = made(losses=(0.5, 0.1, 0.0, 0.0))
    assert "loss" in texts_in(training_figures(training, LABELS)["training_loss"])


def test_a_class_that_was_never_found_has_a_colour_of_its_own() -> None:
    ochre = SPLIT_COLOURS[2]
    assert ochre in training_figures(made(missed=["Neutral"]), LABELS)["training_recall"]
    assert ochre not in training_figures(made(), LABELS)["training_recall"]


def test_the_table_holds_the_right_number_in_the_right_place() -> None:
    training = made(unparsed=0.125)
    table = html5lib.parse(section(training), namespaceHTMLElements=False).find(".//table/tbody")
    cells = [["".join(cell.itertext()) for cell in row] for row in table]
    assert cells == [
        [f"{one['step']}", f"{one['epoch']:.2f}"]
        + [f"{one[name]:.3f}" for name in ("macro_f1", "balanced_accuracy", "loss")]
        + ["12.5 %"]
        + [f"{one['recall'][label]:.3f}" for label in LABELS]
        for one in training["validations"]
    ]
    assert [row.get("class") for row in table] == [None, None, "ours", None]


@pytest.mark.parametrize("labels", [("yes", "no"), LABELS, TWENTY])
def test_all_classes_have_a_strip(labels: tuple[str, ...]) -> None:
    training = made(labels)
    shown = texts_in(training_figures(training, labels)["training_recall"])
    assert len([text for text in shown if re.fullmatch(r"0\.\d\d", text)]) == len(labels)
    html = section(training, labels)
    assert html.count("Recall of <bdi>") == len(labels)


def test_a_class_without_validation_tweets_is_not_called_missed() -> None:
    lines = make_lines()
    for line in lines:
        line.get("eval_recall", {}).pop("Neutral", None)
    training = training_curves(lines, make_run(), labels=LABELS)
    assert training
    assert training["never_found"] == []
    assert "no tweets" in texts_in(training_figures(training, LABELS)["training_recall"])
    assert "–" in section(training)


def test_older_runs_have_a_section_without_recalls() -> None:
    run = make_run()
    del run["result"]["training_seconds"]
    training = training_curves(make_lines(recall=False), run, labels=LABELS)
    assert training
    assert set(training_figures(training, LABELS)) == FIGURES - {"training_recall"}
    html = section(training)
    assert "did not write down the recall" in html
    assert "Recall of" not in html
    assert "training alone" not in html


@pytest.mark.parametrize("scores", [(0.7,), (0.0, 0.0), (1.0, 1.0), tuple(0.01 * i for i in range(40))])
def test_odd_curves_have_a_section(scores: tuple[float, ...]) -> None:
    training = made(scores=scores, losses=(0.0,), unparsed=1.0)
    assert training_figures(training, LABELS)
    assert "nan" not in section(training)
    training["loss"] = []
    assert "<svg" in section(training)


def test_hostile_labels_are_text() -> None:
    html, benign = (section(made(labels, missed=labels), labels) for labels in (HOSTILE, ("x", "y", "z")))
    assert "<script" not in html
    assert "\u202e" not in html
    assert not re.search(r"<[^>]*\sonload", html)

    def tags(html: str) -> Counter[str]:
        outside = re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)
        return Counter(str(e.tag) for e in html5lib.parse(outside, namespaceHTMLElements=False).iter())

    assert tags(html) == tags(benign)
    assert "<script" not in whole_page(HOSTILE, missed=HOSTILE)


def test_the_evaluation_reads_the_lines_with_the_number_of_validation_tweets() -> None:
    evidence = Evidence(training=make_lines(), run=make_run(), data={"classes": {"val": dict.fromkeys(LABELS, 40)}})
    assert score(make_predictions(60), labels=LABELS, evidence=evidence)["training"] == made()


def test_there_is_no_section_where_there_is_no_training() -> None:
    assert section(None).strip() == ""
    rows = make_predictions(20)
    for evidence in (Evidence(training=make_lines()), Evidence(run=make_run())):
        assert "training" not in score(rows, labels=LABELS, evidence=evidence)
    assert 'id="training"' not in render(scored(LABELS), rows, {})


def test_the_same_lines_give_the_same_section() -> None:
    assert section(made()) == section(made())


def _hear(messages: list[str], what: object) -> None:
    messages.append(str(what))


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")
@pytest.mark.parametrize("labels", [("yes", "no"), HOSTILE, TWENTY], ids=["two", "hostile", "twenty"])
def test_the_section_opens_in_silence_and_fits(browser: Browser, tmp_path: Path, labels: tuple[str, ...]) -> None:
    file = tmp_path / "report.html"
    file.write_text(whole_page(labels, missed=labels[:1]), encoding="utf-8", errors="replace")
    for width, scheme in ((360, "dark"), (1280, "light")):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
        )
        opened = context.new_page()
        messages: list[str] = []
        opened.on("console", partial(_hear, messages))
        opened.on("pageerror", partial(_hear, messages))
        opened.goto(file.as_uri())
        training = opened.locator("#training")
        assert training.locator("figure").first.is_visible() is False
        training.locator("summary").first.click()
        training.locator("details details summary").click()
        assert messages == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert training.locator("figure svg").count() == 3
        for box in (figure.bounding_box() for figure in training.locator("figure svg").all()):
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        # Strips that can be read: their names and numbers do not run into each other.
        places = opened.evaluate(
            """() => [...document.querySelectorAll('#training figure:nth-of-type(3) svg text')]
                 .filter(e => /^[01][.][0-9][0-9]$/.test(e.textContent))
                 .map(e => e.getBoundingClientRect()).map(r => [r.top, r.bottom])"""
        )
        assert len(places) == len(labels)
        assert all(above[1] <= below[0] for above, below in pairwise(places))
        context.close()
