import itertools
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.page import visible
from pipeline.scoring.report import Context, render

TEMPLATES = Path(__file__).parents[2] / "pipeline/scoring/templates"
SOURCE = Path(__file__).parents[2] / "pipeline/scoring"
CONTEXT: Context = {
    "title": "a run",
    "run": {"base_model": {"name": "small", "sha256": "ab" * 32}, "config": {"seed": 0, "learning_rate": 2e-4}},
    "data": {
        "classes": {"train": {"Negative": 10, "Neutral": 20, "Positive": 1500}, "test": {"Negative": 3}},
        "rows": {"read": 1897, "kept": 1533, "dropped": {"empty text": 3, "copy": 361}},
        "leakage": {
            "made": {"test_rows": 400, "exact": 0.0, "template": 0.0, "near": 0.0},
            "random_split": {"test_rows": 475, "exact": 0.2174, "template": 0.3, "near": 0.4},
        },
        "duplicates": {"largest_groups": [{"group": 3, "size": 312}]},
        "source": {"path": "data/raw/tweets.csv"},
    },
    "provenance": {
        "created_at": "2026-03-01T10:00:00+00:00",
        "argv": ["evaluate", "--out", "a b"],
        "wall_seconds": 12.5,
    },
}
XSS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "<iframe src=javascript:alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "]]><script>alert(1)</script>",
    "<!--",
    "--><script>alert(1)</script>",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<details open ontoggle=alert(1)>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<form action=javascript:alert(1)><button>x",
    "</bdi></p></li></ol></section><h1>gone",
    "<plaintext>",
    "<textarea>",
    "<table><td>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#x3c;script&#x3e;",
    "{{ 7 * 7 }}{% for x in y %}",
    "\x00<scr\x00ipt>alert(1)",
    "＜script＞alert(1)＜/script＞",
    "\ud800\udfff<b>",
]  # fmt: skip
NUMBER = re.compile(r"−?\+?[\d,]*\.?\d+")


def _dom(html: str) -> Any:
    return html5lib.parse(html, namespaceHTMLElements=False)


def _tags(html: str) -> Counter[str]:
    return Counter(str(element.tag) for element in _dom(html).iter())


def _text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def _displayed(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").removeprefix("< ").removesuffix("%"))


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in _numbers(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return make_predictions(200)


@pytest.fixture(scope="module")
def metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return score(rows, labels=LABELS)


@pytest.fixture(scope="module")
def page(metrics: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    return render(metrics, rows, CONTEXT)


def test_what_knows_other_classes_only_is_said_to_be_left_out(page: str) -> None:
    said = "Left out, because they know only positive, neutral and negative: "
    labels = ("good", "so-so", "very good")
    skill = {"tuned": 0.7, "untuned": 0.4, "tfidf": 0.5}
    assert said not in page
    for more, named in (({}, "word lists, tests of behaviour."), ({"vader": 0.3}, "tests of behaviour.")):
        rows = make_predictions(60, labels=labels, skill=skill | more)
        assert said + named in render(score(rows, labels=labels), rows, CONTEXT)


def _table(page: str, caption: str) -> list[list[str]]:
    """Cells of a table's body, only the ``<data>`` texts in cells that hold some."""
    table = next(t for t in _dom(page).iter("table") if _text(t.find("caption")).startswith(caption))
    return [[_text(cell) for cell in row] for row in table.find("tbody")]


def test_every_number_is_one_of_the_metrics_to_displayed_precision(page: str, metrics: dict[str, Any]) -> None:
    known = set(_numbers(metrics)) | {
        float(sum(row)) for s in metrics["systems"].values() for row in s["confusion"]["matrix"]
    }
    elements = list(_dom(page).iter("data"))
    assert len(elements) > 150
    for element in elements:
        value, text = float(element.get("value")), _text(element)
        assert value in known
        if "%" in text:
            assert text == f"{100 * value:.1f} %"
        elif text == "< 0.001":
            assert value < 0.001
        elif "." in text:
            assert abs(_displayed(text) - value) <= 0.0005 + 1e-9
        else:
            assert _displayed(text) == value


def test_the_tables_hold_the_right_number_in_the_right_place(page: str, metrics: dict[str, Any]) -> None:
    def estimate(s: dict[str, float]) -> str:
        return f"{s['value']:.3f}{s['low']:.3f} to {s['high']:.3f}".replace("-", "−")

    order = ("macro_f1", "balanced_accuracy", "accuracy", "mcc")
    for cells, scores in zip(_table(page, "Scores of each system"), metrics["systems"].values(), strict=True):
        assert cells[1:] == [estimate(scores[m]) for m in order]
    tuned = metrics["systems"]["tuned"]
    for cells, (label, scores) in zip(_table(page, "Tuned model, class"), tuned["per_class"].items(), strict=True):
        assert cells[:2] == [label, str(scores["support"])]
        assert cells[2:] == [
            estimate({"value": scores[m], **scores["intervals"][m]}) for m in ("precision", "recall", "f1", "f2")
        ]
    matrix = [
        [label, *map(str, row), str(sum(row))]
        for label, row in zip(LABELS, metrics["confusion"]["matrix"], strict=True)
    ]
    assert _table(page, "Counts of the tuned model") == matrix
    readings = [s["readings"][r] for s in metrics["systems"].values() if "readings" in s for r in s["readings"]]
    for cells, scores in zip(_table(page, "Scores by reading"), readings, strict=True):
        assert cells[2:] == [estimate(scores[m]) for m in order]
    differences = {(c["b"], c["metric"]): c for c in metrics["comparisons"]}
    for cells, (b, metric) in zip(
        _table(page, "Tuned model minus"),
        [(b, m) for b in list(metrics["systems"])[1:] for m in ("macro_f1", "accuracy")],
        strict=True,
    ):
        assert cells[2].startswith(f"{differences[b, metric]['difference']:+.3f}".replace("-", "−"))


def test_the_verdict_leads(page: str, metrics: dict[str, Any]) -> None:
    section = next(s for s in _dom(page).iter("section"))
    text = _text(section).replace("\u00a0", " ")
    for sentence in metrics["verdict"]:
        assert " ".join(sentence.split()) in text
    assert f"{metrics['systems']['tuned']['macro_f1']['value']:.3f}" in text


def test_the_verdict_carries_no_number_that_the_metrics_lack(metrics: dict[str, Any]) -> None:
    known = _numbers({k: v for k, v in metrics.items() if k != "verdict"})
    known += [float(sum(row[-1] for row in metrics["confusion"]["matrix"]))]
    shown = (
        {f"{abs(n):.3f}" for n in known}
        | {f"{100 * n:.1f}" for n in known}
        | {f"{n:,.0f}" for n in known if n % 1 == 0}
    )
    for sentence in metrics["verdict"]:
        for number in NUMBER.findall(re.sub(r"macro-F1|95 %|p < 0\.001", "", sentence)):
            assert number.strip("+−") in shown, (number, sentence)


def test_the_same_input_gives_the_same_bytes(page: str, metrics: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    assert render(metrics, rows, CONTEXT) == page
    assert render(metrics, rows[::-1], CONTEXT) == page


def test_the_page_asks_for_nothing_and_runs_nothing(page: str) -> None:
    dom = _dom(page)
    first = dom.find("head")[0]
    assert first.get("http-equiv") == "Content-Security-Policy"
    assert "script-src 'none'" in first.get("content")
    for element in dom.iter():
        assert element.tag not in ("script", "iframe", "object", "link", "base", "form")
        for name, value in element.attrib.items():
            assert not str(name).startswith("on")
            assert name != "style"
            if name in ("src", "href", "action"):
                assert value.startswith("#")
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?https?:", page)


def test_tables_and_figures_can_be_heard(page: str) -> None:
    dom = _dom(page)
    for table in dom.iter("table"):
        assert _text(table.find("caption"))
        assert all(th.get("scope") for th in table.iter("th"))
    figures = [svg for svg in dom.iter() if str(svg.tag).endswith("svg")]
    assert len(figures) == 3
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in figures)
    levels = [int(e.tag[1]) for e in dom.iter() if str(e.tag) in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [e.get("id") for e in dom.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def _attacked(inputs: list[str], facts: list[str], title: str) -> str:
    """The page with foreign text wherever it comes from outside."""
    rows = make_predictions(len(inputs), unparsed=0)
    for i, (row, text) in enumerate(zip(rows, inputs, strict=True)):
        wrong = next(c for c in LABELS if c != row["label"])
        row["input"] = text
        row["systems"]["tuned"].update(completion=text, generate=None if i % 5 == 0 else wrong)
    context: Context = {"title": title}
    if facts:
        context |= {
            "run": {"name": list(facts), **{fact: fact for fact in facts}},
            "data": {
                "classes": {fact: {"Negative": 1} for fact in facts[-2:]},
                "rows": {"read": 2, "kept": 1, "dropped": dict.fromkeys(facts, 1)},
                "leakage": {fact: {"exact": 0.1} for fact in facts},
                "options": {fact: [{fact: fact}] for fact in facts},
            },
            "provenance": {"argv": list(facts), "created_at": facts[0]},
        }
    return render(METRICS, rows, context)


METRICS = score(make_predictions(12), labels=LABELS)


def test_hostile_text_adds_no_element() -> None:
    attacked = _attacked(XSS, XSS, XSS[0])
    benign = _attacked(["harmless"] * len(XSS), [f"harmless {i}" for i in range(len(XSS))], "harmless")
    assert _tags(attacked) == _tags(benign)
    for element in _dom(attacked).iter():
        assert not any(str(name).startswith("on") for name in element.attrib)


@pytest.mark.parametrize("title", ["</title><script>alert(1)</script>", "</h1><svg onload=alert(1)>", "\x00<b>\ud800"])
def test_a_hostile_title_adds_no_element(title: str, bare_tags: Counter[str]) -> None:
    assert _tags(_attacked(["harmless"] * 50, [], title)) == bare_tags


@pytest.fixture(scope="module")
def bare_tags() -> Counter[str]:
    return _tags(_attacked(["harmless"] * 50, [], "harmless"))


@given(texts=st.lists(st.text(max_size=40), min_size=50, max_size=50))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_any_text_adds_no_element(texts: list[str], bare_tags: Counter[str]) -> None:
    assert _tags(_attacked(texts, [], "harmless")) == bare_tags


@pytest.mark.parametrize("label", ["<b>", "</title><script>", "a&b", "\u202eevil"])
def test_hostile_labels_add_no_element(label: str) -> None:
    pages = []
    for labels in (("Negative", label), ("Negative", "harmless")):
        rows = make_predictions(30, labels=labels)
        pages.append(render(score(rows, labels=labels), rows, {"data": {"classes": {"train": {labels[1]: 4}}}}))
    assert _tags(pages[0]) == _tags(pages[1])


def test_hidden_characters_are_shown_by_their_code() -> None:
    assert visible("a\x07b\u202ec\u200bd\ud800", 50) == "a⟨U+0007⟩b⟨U+202E⟩c⟨U+200B⟩d\ufffd"
    assert visible("tab\tline\nend 👩\u200d💻", 50) == "tab\tline\nend 👩\u200d💻"
    assert visible("x" * 60, 50) == "x" * 50 + " …"


def test_the_gallery_shows_the_surest_errors_first_and_tells_the_total() -> None:
    rows = make_predictions(300, skill={"tuned": 0.4, "tfidf": 0.4})
    page = render(score(rows, labels=LABELS, ordered=True), rows, {})
    wrong = [r for r in rows if r["systems"]["tuned"]["generate"] not in (None, r["label"])]
    section = next(s for s in _dom(page).iter("section") if s.get("id") == "errors")
    ends = {LABELS[0], LABELS[-1]}
    opposite = sum({r["label"], r["systems"]["tuned"]["generate"]} == ends for r in wrong)
    told = f"{len(wrong)} tweets got the wrong label; here are 40, the {opposite} with the opposite class first, then"
    assert told in _text(section)
    shown = re.findall(r"true (\w+) predicted (\w+) ([\d.]+) %", _text(section))
    assert len(shown) == 40
    order = [({true, predicted} != ends, -float(share)) for true, predicted, share in shown]
    assert order == sorted(order)


def test_missing_context_leaves_its_section_short(metrics: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    page = render(metrics, rows, {})
    assert "holds no counts" in page
    assert render(metrics, rows, {"data": {"classes": "none", "rows": None, "leakage": []}})
    assert "--out &#39;a b&#39;" in render(metrics, rows, CONTEXT)


def test_the_section_on_the_data_shows_the_prepared_manifest(page: str) -> None:
    section = next(s for s in _dom(page).iter("section") if s.get("id") == "data")
    assert "1,897 rows were read and 1,533 kept." in _text(section)
    facts = {
        _text(row.find("dt")): _text(row.find("dd")) for row in _dom(page).iter("div") if row.find("dt") is not None
    }
    assert (facts["empty text"], facts["copy"]) == ("3", "361")
    assert _table(page, "Rows by split and class") == [
        ["train", "10", "20", "1,500", "1,530"],
        ["test", "3", "0", "0", "3"],
    ]
    assert _table(page, "Test tweets with a copy") == [
        ["this split", "0.0 %", "0.0 %", "0.0 %"],
        ["random split", "21.7 %", "30.0 %", "40.0 %"],
    ]
    assert facts["argv"] == "evaluate --out 'a b'"


def test_alarms_about_the_data_stand_before_the_verdict(metrics: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    alarms = [{"kind": "machine_made", "text": "These labels <b>are</b> the output of a word list."}]
    page = render(metrics, rows, {"data": {"alarms": alarms}})
    first, second = list(_dom(page).iter("section"))[:2]
    assert "Machine-made labels These labels <b>are</b> the output of a word list." in _text(first)
    assert "verdict" in str(second.get("aria-labelledby"))
    assert "First, about the data" not in render(metrics, rows, {"data": {"alarms": []}})


def test_one_function_marks_text_as_html() -> None:
    template = (TEMPLATES / "report.html").read_text(encoding="utf-8")
    assert "safe" not in re.findall(r"\|\s*(\w+)", template)
    assert "autoescape" not in template
    sources = "".join(path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py"))
    assert sources.count("Markup(") == 1
    assert "select_autoescape" not in sources


def test_a_large_evaluation_makes_a_small_page() -> None:
    rows = make_predictions(2400, text="a tweet about bitcoin & friends <3 " * 8)
    metrics = score(rows, labels=LABELS)
    start = time.process_time()
    page = render(metrics, rows, CONTEXT)
    assert time.process_time() - start < 10
    assert len(page.encode()) <= 3_000_000
