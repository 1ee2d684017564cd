import copy
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_content import LABELS, TOPICS, make_content, make_context
from test_report import XSS

from pipeline.scoring.data_page import render_data_page, title_of
from pipeline.scoring.data_sections import LISTED, SECTIONS, DataContext

TEMPLATES = Path(__file__).parents[2] / "pipeline/scoring/templates"
CONTENT, CONTEXT = make_content(), make_context()


@pytest.fixture(scope="module")
def page() -> str:
    return render_data_page(CONTENT, CONTEXT)


@cache
def _dom(html: str) -> Any:
    return html5lib.parse(html, namespaceHTMLElements=False)


def _tags(html: str) -> Counter[str]:
    return Counter(str(element.tag) for element in _dom(html).iter())


def _text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def _section(html: str, name: str) -> Any:
    return next((s for s in _dom(html).iter("section") if s.get("id") == name), None)


def _table(html: str, caption: str) -> list[list[str]]:
    table = next(t for t in _dom(html).iter("table") if _text(t.find("caption")).startswith(caption))
    return [[_text(cell) for cell in row] for row in table.find("tbody")]


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list | tuple):
        return [n for inner in value for n in _numbers(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _derived() -> set[float]:
    """What the page may show although the manifest lacks it: sums, shares of sums, how many are listed."""
    rows, classes = CONTENT["rows"], CONTENT["classes"]
    left_out = [rows["rejected"], *rows["dropped"].values(), rows["kept"]]
    by_class = [sum(row[label] for row in classes.values()) for label in LABELS]
    return {
        *(n / rows["read"] for n in left_out),
        *by_class,
        *(n / rows["kept"] for n in by_class),
        *(sum(row.values()) for row in classes.values()),
        *(sum(counts.values()) for _, counts in CONTENT["timeline"]["bins"]),
        *(float(rate) for rate in CONTENT["power"]["smallest_difference_accuracy"]),
        *(len(LABELS), len(CONTENT["alarms"])),
        *(len(CONTEXT["conflicts"]), len(CONTEXT["conflicts"]) - 5, len(CONTEXT["suspects"]) - 20),
        *(len(CONTEXT["rejected"]) - 5, len(CONTENT["duplicates"]["campaigns"]) - 5),
    }


def test_synthetic_rows_are_in_the_sums() -> None:
    content = copy.deepcopy(CONTENT)
    content["synthetic"] = {"rows": 266, "classes": {LABELS[0]: 266}}
    content["classes"]["train"][LABELS[0]] += 266
    page, kept = render_data_page(content, CONTEXT), CONTENT["rows"]["kept"]
    assert f"{kept:,} kept, 266 synthetic added, 3 classes" in _text(next(_dom(page).iter("header")))
    assert next(_text(dd) for dd in _dom(page).iter("dd")).endswith("; 266 synthetic added")
    assert _table(page, "Rows by reason")[-2:] == [["synthetic, added", "266", ""], ["all", f"{kept + 266:,}", ""]]
    assert _table(page, "Rows by class and split")[-1][1] == f"{kept + 266:,}"
    assert "synthetic" not in _text(_section(render_data_page(CONTENT, CONTEXT), "rows"))


def test_every_number_is_one_of_the_facts_to_displayed_precision(page: str) -> None:
    known = {*_numbers(CONTENT), *_numbers(CONTEXT), *_derived()}
    elements = list(_dom(page).iter("data"))
    assert len(elements) > 500
    for element in elements:
        value, text = float(element.get("value")), _text(element)
        assert value in known, text
        if text in ("< 0.1 %", "< 0.001"):
            assert 0 < value < 0.001
        elif "%" in text:
            assert text == f"{100 * value:.1f} %"
        else:
            shown = float(text.replace("−", "-").replace(",", ""))
            assert abs(shown - value) <= (0.05 if value > 1 else 0.0005) + 1e-9
            assert "." in text or shown == value


@pytest.mark.parametrize("key", [key for key in CONTENT if key not in ("splits", "alarms")])
def test_every_number_of_the_manifest_is_on_the_page(page: str, key: str) -> None:
    shown = {float(e.get("value")) for e in _dom(page).iter("data")}
    told = {_text(e) for e in _dom(page).iter("dd")}
    missing = [n for n in _numbers(CONTENT[key]) if n not in shown and not {f"{n:,.10g}", f"{n:.10g}"} & told]
    assert missing == []


def test_numbers_stand_in_the_right_place(page: str) -> None:
    rows, classes = CONTENT["rows"], CONTENT["classes"]
    read, kept = rows["read"], rows["kept"]

    def percent(n: float) -> str:
        return f"{100 * n:.1f} %" if n >= 0.0005 or not n else "< 0.1 %"

    steps = {"rejected": rows["rejected"], **rows["dropped"]}
    assert _table(page, "Rows by reason") == [
        ["read", f"{read:,}", ""],
        *([reason, f"{n:,}", percent(n / read)] for reason, n in steps.items()),
        ["kept", f"{kept:,}", percent(kept / read)],
    ]
    assert read == kept + sum(steps.values())
    table = _table(page, "Rows by class and split")
    for cells, label in zip(table, LABELS, strict=False):
        counts = [row[label] for row in classes.values()]
        assert cells == [label, f"{sum(counts):,}", percent(sum(counts) / kept), *(f"{n:,}" for n in counts)]
    assert table[-1] == ["All", f"{kept:,}", "", *(f"{sum(row.values()):,}" for row in classes.values())]
    names = {"made": "this split", "official_split": "your files as they are", "random_split": "random split"}
    assert _table(page, "Test tweets with a copy in train") == [
        [name, *(percent(found[kind]) for kind in ("exact", "template", "near")), f"{found['test_rows']:,}"]
        for key, name in names.items()
        if (found := CONTENT["leakage"][key])
    ]
    against = {"test": CONTENT["leakage"]["against"], "train": CONTENT["leakage"]["against_train"]}
    assert _table(page, "Rows with a copy in the other file") == [
        [split, *(percent(found[kind]) for kind in ("exact", "template", "near")), f"{found['test_rows']:,}"]
        for split, found in against.items()
    ]
    lexicons = CONTENT["labels"]["lexicons"]
    assert _table(page, "Agreement of the labels") == [
        [
            name,
            f"{found['agreement']:.3f}{found['low']:.3f} to {found['high']:.3f}",
            f"{found['kappa']:.3f}",
            f"{found['n']:,}",
        ]
        for name, found in (("TextBlob", lexicons["textblob"]), ("VADER", lexicons["vader"]))
    ]
    assert _table(page, "What each lever") == [
        [each["lever"], f"{each['rows_per_epoch']:,}", f"{each['steps_per_epoch']:,}", each["note"]]
        for each in CONTENT["imbalance"]["effective"]
    ]
    assert _table(page, "Smallest difference in accuracy") == [
        [percent(float(rate)), f"{found:.3f}"]
        for rate, found in CONTENT["power"]["smallest_difference_accuracy"].items()
    ]
    assert _table(page, "How well the recall") == [
        [label, f"{found['support']:,}", f"{found['groups']:,}", f"{found['recall_half_width']:.3f}"]
        for label, found in CONTENT["power"]["per_class"].items()
    ]
    assert _table(page, "Rows by day and class") == [
        [start[:10], *(f"{counts[label]:,}" for label in LABELS), f"{sum(counts.values()):,}"]
        for start, counts in CONTENT["timeline"]["bins"]
    ]
    for unit in ("characters", "tokens"):
        expected = [[f"{n:,}" for n in each] for each in CONTENT["lengths"][unit]["histogram"]]
        assert _table(page, f"Rows by length in {unit}") == expected


def test_options_are_not_broken_behind_their_dashes() -> None:
    alarm = {"kind": "few_test_rows", "text": "Give <i>it</i> more (--test), or ask for --folds."}
    made = render_data_page({**CONTENT, "alarms": [alarm]}, CONTEXT)
    whole = [_text(each) for each in _dom(made).iter("span") if each.get("class") == "option"]
    assert whole == ["--test", "--folds", "--overrides"]
    assert "Give <i>it</i> more (--test), or ask for --folds." in _text(next(_dom(made).iter("ol")))
    assert ".option { white-space: nowrap; }" in made


def test_sentences_tell_the_numbers(page: str) -> None:
    tokens = CONTENT["lengths"]["tokens"]
    assert f"{tokens['shortened']:,} are longer than the limit of 64 and would be shortened." in _text(
        _section(page, "lengths")
    )
    assert "is also in benchmark_test.csv." in _text(_section(page, "contamination"))
    labels = _text(_section(page, "labels"))
    assert "reaches a macro-F1 of 0.841 on 24,111 texts, one of each group of near-duplicates that was kept." in labels
    assert "at random, 100 times, reach 0.331 (p = 0.010). A lift of 0.013 over chance" in labels
    assert (
        "It doubts 911 of the 25,001 rows that it judged; the 312 that it doubts most stand in suspects.csv" in labels
    )
    assert "macro-F1 0.772 (95 % interval 0.760 to 0.783), accuracy 0.802" in labels
    assert "41 labels were changed and 7 rows dropped by labels.csv; 2 of its lines met no row." in labels
    assert "25 rows could not be read, 0.1 % of all." in _text(_section(page, "rejected"))


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"n_listed": 0, "n_found": 0, "searched": 40}, "It doubts none of the 40 rows that it judged."),
        ({"n_listed": 7, "n_found": 7, "searched": 40}, "It doubts 7 of the 40 rows that it judged; all of them stand"),
        ({"n_listed": 7}, "A person decides. The 7 that it doubts most stand in suspects.csv"),
    ],
)
def test_what_the_number_of_suspects_means(found: dict[str, int], sentence: str) -> None:
    page = render_data_page({"labels": {"suspects": {**found, "file": "suspects.csv"}}}, {})
    assert sentence in _text(_section(page, "labels"))
    assert ("no error rate" in page) == bool(found["n_listed"])


def test_how_the_splits_were_made_is_told_in_words(page: str) -> None:
    def said(splits: dict[str, Any], **options: str | None) -> str:
        content = {"classes": CONTENT["classes"], "splits": splits, "options": options}
        return _text(_section(render_data_page(content, {}), "classes"))

    time = _text(_section(page, "classes"))
    assert "Divided by time: older texts train, newer ones test. Near-duplicates stay together." in time
    assert "val starts at 2024-03-25 04:00:00; test starts at 2024-04-01 12:00:00." in time
    assert "17 rows of train and 3 rows of val were written after the next split starts" in time
    assert "later copies" not in said({**CONTENT["splits"], "later_copies": {"train": 0, "val": 0}})
    assert "1 row of train was written" in said({**CONTENT["splits"], "later_copies": {"train": 1, "val": 0}})
    random_split = {"by": "random", "column": None, "folds": None, "boundaries": None}
    own = said(random_split, test_source="data/t.csv", val_source=None)
    assert "test is your own file t.csv. Rows of the other files with a copy in it were left out." in own
    assert "The other files were divided at random" in own
    both = said(random_split, test_source="t.csv", val_source="v.csv")
    assert "val is your own file v.csv, test is your own file t.csv. Rows" in both
    assert "at random" not in both
    assert "into 5 folds: every row is in the test of one of them, and this is fold 2." in said(
        {**random_split, "folds": {"n": 5, "fold": 2}}
    )


def test_what_lives_on_copies_is_counted_before_they_go() -> None:
    for policy, told in (("one", 2), (3, 2), ("all", 0)):
        page = render_data_page({"duplicates": {**CONTENT["duplicates"], "policy": policy}}, {})
        assert page.count("before copies were left out") == told


def test_dates_are_short_and_claim_no_zone(page: str) -> None:
    assert not re.search(r"\d\d:\d\d\+00:00|\d\dT\d\d", _text(_dom(page)))
    assert "2024-01-29 00:48:26" in _text(_section(page, "made"))
    starts = {"hour": "2024-03-01 00:00", "day": "2024-03-01", "week": "2024-03-01", "month": "2024-03", "year": "2024"}
    for unit, start in starts.items():
        timeline = {"unit": unit, "bins": [["2024-03-01T00:00:00+00:00", {"a": 3}]]}
        page = render_data_page({"timeline": timeline, "classes": {"train": {"a": 3}}}, {})
        assert _table(page, f"Rows by {unit}") == [[start, "3", "3"]]


def test_alarms_come_first(page: str) -> None:
    first = next(_dom(page).iter("section"))
    text = _text(first).replace("\u00a0", " ")
    assert text.startswith("2 alarms Machine-made labels 99.7 % of the labels are what")
    assert all(alarm["text"] in text for alarm in CONTENT["alarms"])
    quiet = render_data_page({"alarms": []}, {})
    assert "No check found a reason to distrust" in quiet
    assert "No check" not in render_data_page({}, {})


def test_suspects_are_sorted_and_the_rest_is_folded(page: str) -> None:
    section = _section(page, "labels")
    probabilities = [float(p) for p in re.findall(r"probability ([\d.]+)", _text(section))]
    assert len(probabilities) == 30
    assert probabilities == sorted(probabilities)
    folded = [e for e in section.iter("details") if "10 more" in _text(e.find("summary"))]
    assert len(folded) == 1
    assert len(list(folded[0].iter("li"))) == 10


def test_a_long_list_is_cut_and_says_so() -> None:
    page = render_data_page({}, make_context(n=500))
    assert "80 more; the other 400 only in suspects.csv" in _text(_section(page, "labels"))
    assert "95 more; the other 150 only in rejected.jsonl" in _text(_section(page, "rejected"))
    assert sum(1 for _ in _section(page, "labels").iter("li")) <= 2 * LISTED


def test_the_same_input_gives_the_same_bytes_in_any_order(page: str) -> None:
    context = copy.deepcopy(CONTEXT)
    content = json.loads(json.dumps(CONTENT))
    for rows in (context["samples"], context["suspects"], context["conflicts"], context["rejected"]):
        random.Random(3).shuffle(cast(list[Any], rows))
    content["duplicates"]["campaigns"].reverse()
    assert render_data_page(content, context) == page


def test_the_page_asks_for_nothing_and_runs_nothing(page: str) -> None:
    dom = _dom(page)
    first = dom.find("head")[0]
    assert first.get("http-equiv") == "Content-Security-Policy"
    assert first.get("content").startswith("default-src 'none'")
    assert "script-src 'none'" in first.get("content")
    for element in dom.iter():
        assert element.tag not in ("script", "iframe", "object", "link", "base", "form", "img")
        for name, value in element.attrib.items():
            assert not str(name).startswith("on")
            assert name != "style"
            if name in ("src", "href", "action"):
                assert value.startswith("#")
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?https?:", page)


@pytest.mark.parametrize("labels", [LABELS, tuple(TOPICS.split())], ids=len)
def test_the_html_is_valid_and_can_be_heard(labels: tuple[str, ...]) -> None:
    page = render_data_page(make_content(labels), make_context(labels))
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    dom = parser.parse(page.lstrip())
    for table in dom.iter("table"):
        assert _text(table.find("caption"))
        assert all(th.get("scope") for th in table.iter("th"))
    figures = [svg for svg in dom.iter() if str(svg.tag).endswith("svg")]
    assert len(figures) == 9
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in figures)
    levels = [int(e.tag[1]) for e in dom.iter() if str(e.tag) in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [e.get("id") for e in dom.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert [a.get("href") for a in dom.iter("a")] == [f"#{name}" for name in (*SECTIONS, "reading")]
    assert len(page.encode()) < 1_000_000


PARTS: dict[str, tuple[str, ...]] = {
    "rows": ("rows",),
    "classes": ("classes",),
    "leakage": ("leakage", "contamination"),
    "splits": (),
    "duplicates": ("duplicates",),
    "labels": ("labels",),
    "lengths": ("lengths",),
    "imbalance": ("power",),
    "power": ("power",),
    "rejected": ("rejected",),
    "timeline": (),
    "source": ("made",),
    "options": ("made",),
    "alarms": (),
}


@pytest.mark.parametrize("key", PARTS)
def test_one_part_alone_makes_its_section_alone(key: str) -> None:
    page = render_data_page({key: CONTENT[key]}, {})
    sections = [s.get("id") for s in _dom(page).iter("section") if s.get("id")]
    assert tuple(sections) == (*PARTS[key], "reading")
    assert [a.get("href") for a in _dom(page).iter("a")] == [f"#{name}" for name in sections]


NEEDED = {("rows", "read"), ("rows", "kept"), ("power", "test_rows"), ("power", "groups")}
OPTIONAL = [
    (key, inner)
    for key in PARTS
    if key not in ("classes", "timeline", "options", "alarms")
    for inner in CONTENT[key]
    if (key, inner) not in NEEDED
]


@pytest.mark.parametrize(("key", "inner"), OPTIONAL)
def test_a_fact_may_be_null_or_missing(key: str, inner: str) -> None:
    part = {k: v for k, v in CONTENT[key].items() if k != inner}
    with_classes = {"classes": CONTENT["classes"]} if key == "splits" else {}
    for value in (part, {**part, inner: None}):
        page = render_data_page({key: value, **with_classes}, {})
        assert "None" not in _text(_dom(page).find("body"))


def test_deeper_facts_may_be_null_too() -> None:
    labels, lengths = CONTENT["labels"], CONTENT["lengths"]
    raters = {**labels["raters"], "human_ceiling": None}
    tokens = {k: v for k, v in lengths["tokens"].items() if k not in ("limit", "shortened", "histogram", "tokenizer")}
    page = render_data_page({"labels": {"raters": raters}, "lengths": {"tokens": {**tokens, "limit": None}}}, {})
    assert "Human ceiling" not in _text(_section(page, "labels")).split("sha256")[0]
    assert "shortened" not in _text(_section(page, "lengths"))
    assert "official" not in _text(
        _section(render_data_page({"leakage": {"made": CONTENT["leakage"]["made"]}}, {}), "leakage")
    )
    assert "None is longer than the limit of 64" in render_data_page(
        {"lengths": {"tokens": {**tokens, "limit": 64, "shortened": 0}}}, {}
    ).replace('<data value="64">64</data>', "64")


def test_what_could_not_be_computed_is_not_shown() -> None:
    labels, power = copy.deepcopy(CONTENT["labels"]), copy.deepcopy(CONTENT["power"])
    labels["lexicons"]["vader"]["kappa"] = None
    labels["raters"].update(krippendorff_alpha=None, low=None, high=None)
    power["smallest_difference_accuracy"] = dict.fromkeys(power["smallest_difference_accuracy"])
    page = render_data_page({"labels": labels, "power": power}, {})
    assert _table(page, "Agreement of the labels")[1][2] == "–"
    assert "not defined: every rating is the same" in page
    assert "their accuracies must differ" not in page
    assert "None" not in _text(_dom(page).find("body"))
    empty = dict.fromkeys(labels)
    assert _section(render_data_page({"labels": {**empty, "lexicons": {}}}, {}), "labels") is None


def _foreign(value: Any, attack: Callable[[str], str]) -> Any:
    """The value with every foreign text replaced: labels among the keys, all texts but dates and words of ours."""
    if isinstance(value, dict):
        renamed = {attack(k) if k in LABELS or "expected" in k else k: v for k, v in value.items()}
        return {k: v if k in ("unit", "by", "kind", "boundaries") else _foreign(v, attack) for k, v in renamed.items()}
    if isinstance(value, list):
        return [_foreign(inner, attack) for inner in value]
    if not isinstance(value, str) or _is_date(value):
        return value
    return attack(value)


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def harmless() -> Counter[str]:
    """Elements of the page whose texts are all replaced by harmless ones."""
    return _tags(render_data_page(*_attacked(lambda text: f"harmless {text[:9]}")))


def _attacked(attack: Callable[[str], str]) -> tuple[dict[str, Any], DataContext]:
    return _foreign(CONTENT, attack), cast(DataContext, _foreign(CONTEXT, attack))


@pytest.mark.parametrize("start", range(0, len(XSS), 15))
def test_hostile_text_adds_no_element_wherever_it_stands(start: int, harmless: Counter[str]) -> None:
    # Which text meets which attack is drawn by its first letters, so that labels stay distinct.
    attacks = XSS[start : start + 15]

    def attack(text: str) -> str:
        return attacks[sum(map(ord, text)) % len(attacks)] + text[:9]

    page = render_data_page(*_attacked(attack))
    assert _tags(page) == harmless
    for element in _dom(page).iter():
        assert not any(str(name).startswith("on") for name in element.attrib)


@given(texts=st.lists(st.text(max_size=60), min_size=5, max_size=5))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_text_adds_no_element(texts: list[str]) -> None:
    pages = []
    for a, b, c, d, e in (texts, ["harmless"] * 5):
        context: DataContext = {
            "title": a,
            "samples": [{"split": "train", "label": "x", "id": b, "text": c}],
            "suspects": [{"id": a, "label": b, "suggested": c, "probability_of_label": 0.1, "text": d}],
            "conflicts": [{"text": e, "label_counts": {a: 2}, "outcome": b}],
            "rejected": [{"file": c, "line": None, "reason": d, "content": e}],
        }
        content = {"source": {"path": a, "more": {"x": b}}, "alarms": [{"kind": "campaign", "text": c}]}
        pages.append(render_data_page(content, context))
    assert _tags(pages[0]) == _tags(pages[1])


def test_hidden_characters_are_shown_and_huge_words_cut() -> None:
    page = render_data_page({}, make_context(text="a\u202eb\x07\u200b" + "w" * 100_000))
    assert "a⟨U+202E⟩b⟨U+0007⟩⟨U+200B⟩www" in page
    assert not re.search("[\x00-\x08\u200b\u202e]", page)
    assert len(page) < 200_000


def test_the_title_names_the_files() -> None:
    def title(*paths: str) -> str:
        return title_of({"source": {"files": [{"path": path} for path in paths]}})

    assert title("data/a.csv", "b.v2.jsonl.gz") == "a, b.v2"
    assert title("a.csv", "b.csv", "c.csv", "d.csv") == "a, b and 2 more"
    assert title_of({"source": {"path": "x/tweets.csv"}}) == "tweets"
    assert title_of({}) == "A prepared data set"
    fold = {"source": {"path": "x/tweets.csv"}, "splits": {"folds": {"n": 5, "fold": 2}}}
    assert title_of(fold) == "tweets, fold 2 of 5"
    assert title_of({**fold, "splits": {"folds": {"n": 5}}}) == "tweets"
    assert "<title>tweets, fold 2 of 5: prepared data</title>" in render_data_page(fold, {})


def test_templates_trust_nothing() -> None:
    for name in ("data.html", "macros.html"):
        template = (TEMPLATES / name).read_text(encoding="utf-8")
        assert "safe" not in re.findall(r"\|\s*(\w+)", template)
        assert "autoescape" not in template
