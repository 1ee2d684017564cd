import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring import page
from pipeline.scoring.evaluation import score
from pipeline.scoring.sample import read_sample
from pipeline.scoring.weak import weaknesses
from pipeline.scoring.weak_figures import weak_figures

RATERS = {
    "items": 500,
    "krippendorff_alpha": 0.5,
    "low": 0.4,
    "high": 0.6,
    "human_ceiling": {"macro_f1": 0.8, "accuracy": 0.8, "low": 0.7, "high": 0.9},
}
HOSTILE = ("</bdi></section><script>x</script>", "a\u202e\x00\ud800<b>", "$\\frac{$'\" onload=x")
WORDS = ("bitcoin", "$BTC", "@ann", "#moon", "🚀", "why?", "HODL\n", "9,000", "https://t.co/x", "привет", "WAGMI")


def _rows(labels: tuple[str, ...] = LABELS, n: int = 160, **options: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = make_predictions(n, labels=labels, **options)
    for row in rows:
        row["input"] = " ".join(rng.choice(WORDS, size=rng.integers(1, 12)))
    return rows


def _weak(rows: list[dict[str, Any]], labels: tuple[str, ...] = LABELS, *, all_parts: bool = True) -> dict[str, Any]:
    scores = {name: {"value": 0.6, "low": 0.5, "high": 0.7} for name in ("accuracy", "macro_f1")}
    more: dict[str, Any] = {}
    if all_parts:
        similarity = np.random.default_rng(1).random(len(rows)).round(4)
        more = {"similarity": similarity, "suspects": {row["id"] for row in rows[::9]}, "raters": RATERS}
    return weaknesses(rows, read_sample(rows, labels, "tuned"), scores, **more)


def _render(metrics: dict[str, Any]) -> str:
    figures = weak_figures(metrics["weak"]) if "weak" in metrics else {}
    template = page.environment().get_template("report_weak.html")
    return template.render(metrics=metrics, figures={name: page.trusted(svg) for name, svg in figures.items()})


def _tags(html: str) -> Counter[str]:
    return Counter(str(e.tag) for e in html5lib.parse(html, namespaceHTMLElements=False).iter())


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in _numbers(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.fixture(scope="module")
def weak() -> dict[str, Any]:
    return _weak(_rows())


def test_every_number_is_one_of_the_metrics_to_displayed_precision(weak: dict[str, Any]) -> None:
    known = set(_numbers(weak))
    elements = list(html5lib.parse(_render({"weak": weak}), namespaceHTMLElements=False).iter("data"))
    assert len(elements) > 150
    for element in elements:
        value, text = float(element.get("value")), "".join(element.itertext()).replace("−", "-").replace(",", "")
        assert value in known
        if text == "< 0.001":
            assert value < 0.001
        else:
            assert float(text) == pytest.approx(value, abs=0.0005 + 1e-9 if "." in text else 0)


def test_every_part_is_there(weak: dict[str, Any]) -> None:
    html = _render({"weak": weak})
    text = " ".join("".join(html5lib.parse(html, namespaceHTMLElements=False).itertext()).split())
    for part in ("segments", "similarity", "sensitivity", "people"):
        assert weak[part]["sentence"] in text
    for found in weak["segments"]["judged"]:
        assert found["name"] in text
    assert html.count("<svg") == 2
    assert list(weak["similarity"]["trends"]) == ["tuned", "tfidf"]


def test_nothing_is_shown_of_what_is_not_known() -> None:
    assert _render({}).strip() == ""
    html = _render({"weak": _weak(_rows(), all_parts=False)})
    for heading in ("Memory", "Doubtful", "Beside people"):
        assert heading not in html


def test_hostile_labels_are_text() -> None:
    html, benign = (_render({"weak": _weak(_rows(labels), labels)}) for labels in (HOSTILE, ("x", "y", "z")))
    assert "<script" not in html
    assert "\u202e" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)
    tags, other = _tags(html), _tags(benign)
    # What is drawn has as many tick labels, but the glyphs of one may need another element.
    svg = {tag for tag in tags | other if tag.startswith("{") or tag in ("g", "use", "path", "text", "defs", "tspan")}
    assert {t: n for t, n in tags.items() if t not in svg} == {t: n for t, n in other.items() if t not in svg}
    assert not re.search(r"<[^>]*\sonload", html)


def test_figures_show_numbers_and_kinds_but_no_tweet() -> None:
    rows = _rows()
    for row in rows:
        row["input"] += " secretword"
    for svg in weak_figures(_weak(rows)).values():
        assert svg.startswith("<svg ")
        assert "secretword" not in svg
        assert "style" not in svg.replace("font-style", "")
        assert "currentColor" in svg


def test_weaknesses_are_the_same_for_any_order_of_the_rows_and_plain_json() -> None:
    rows = _rows(group_size=2)
    similarity = np.random.default_rng(2).random(len(rows)).round(4)
    scores = {name: {"value": 0.6, "low": 0.5, "high": 0.7} for name in ("accuracy", "macro_f1")}
    order = np.random.default_rng(3).permutation(len(rows))
    one, two = (
        weaknesses([rows[i] for i in at], read_sample([rows[i] for i in at], LABELS, "tuned"), scores,
                   similarity=similarity[at], suspects={"3", "5"})
        for at in (np.arange(len(rows)), order)
    )  # fmt: skip
    assert one == two
    assert json.loads(json.dumps(one, allow_nan=False)) == one


@pytest.mark.parametrize(
    ("labels", "n", "options"),
    [
        (LABELS, 1, {}),
        (LABELS, 5, {"unparsed": 1.0}),
        (LABELS, 90, {"unparsed": 1.0}),
        (LABELS, 90, {"skill": {"tuned": 1.0, "untuned": 0.0}, "unparsed": 0.0}),
        (LABELS, 90, {"skill": {"tuned": 0.0, "untuned": 0.0}, "group_size": 90}),
        (tuple("abcdefghijklmnopqrst"), 90, {}),
        (("yes", "no"), 90, {"group_size": 3}),
    ],
)
def test_degenerate_predictions_have_a_section(labels: tuple[str, ...], n: int, options: dict[str, Any]) -> None:
    weak = _weak(_rows(labels, n, **options), labels)
    json.dumps(weak, allow_nan=False)
    html = _render({"weak": weak})
    assert "nan" not in html.lower().replace("finan", "")
    assert html.count("<section") == html.count("</section") == 1


def test_one_true_class_alone() -> None:
    rows = _rows()
    for row in rows:
        row["label"] = "Neutral"
    weak = _weak(rows)
    assert weak["segments"]["judged"][0]["macro_f1"] is None
    assert "labelled Neutral" in [found["name"] for found in weak["segments"]["not_judged"]]
    json.dumps(weak, allow_nan=False)
    assert _render({"weak": weak})


def test_it_stands_beside_the_scores_of_the_evaluation() -> None:
    rows = _rows()
    metrics = score(rows, labels=LABELS)
    sample = read_sample(rows, LABELS, "tuned")
    weak = weaknesses(rows, sample, metrics["systems"]["tuned"], suspects={"1"}, raters=RATERS)
    assert weak["sensitivity"]["all"]["macro_f1"] == metrics["systems"]["tuned"]["macro_f1"]
    assert weak["people"]["system"] == metrics["systems"]["tuned"]["macro_f1"]


def test_the_section_has_no_style_of_its_own() -> None:
    template = Path(page.__file__).parent / "templates/report_weak.html"
    assert "style=" not in template.read_text(encoding="utf-8")
