import copy
import json
from typing import Any

import html5lib
import pytest

from pipeline.scoring import page
from pipeline.scoring.leakage_sheet import STATUSES, leakage_sheet

KINDS = (
    "no_test_set", "preprocessing", "feature_selection", "duplicates", "illegitimate_features", "temporal",
    "independence", "sampling", "pretraining",
)  # fmt: skip
HOSTILE = "</bdi></dl><script>x</script>\u202e"
_SCORE = {"value": 0.61, "low": 0.55, "high": 0.66}
_LIST = {"agreement": 0.832, "low": 0.815, "high": 0.848, "n": 2_000, "machine_made": False}
# A best case: everything is known, and nothing speaks against the test.
DATA: dict[str, Any] = {
    "source": {"files": [{"label": None}]},
    "rows": {"read": 1_000, "dropped": {"duplicate": 12, "retweet": 8}},
    "duplicates": {"groups": 950},
    "splits": {"by": "column", "column": "author", "boundaries": None, "own_files": []},
    "labels": {"lexicons": {"vader": _LIST}, "overrides": None},
    "dates": {"first": "2018-03-23T00:00:00+00:00", "last": "2018-03-24T10:00:00+00:00"},
    "classes": {"train": {"a": 600, "b": 40}, "val": {"a": 90, "b": 10}, "test": {"a": 230, "b": 10}},
    "leakage": {
        "made": {"exact": 0.0, "template": 0.0, "near": 0.0},
        "random_split": {"exact": 0.2, "template": 0.47, "near": 0.495},
    },
    "alarms": [],
}
RUN: dict[str, Any] = {
    "base_model": {"name": "smollm2-135m"},
    "max_length": 256,
    "config": {"lora": {"r": 16}},
    "result": {"best_step": 266, "best_score": 0.605},
}
METRICS: dict[str, Any] = {
    "candidate": "tuned",
    "picked_from": 1,
    "rows": {"n": 240},
    "systems": {"tuned": {"macro_f1": _SCORE}, "untuned": {"macro_f1": {"value": 0.321, "low": 0.3, "high": 0.35}}},
    "drift": {"level": "alike", "brief": "No difference between test and train tweets was found."},
}
BY_TIME = {
    "by": "time", "boundaries": {"val": "2018-03-24T00:00:00+00:00", "test": "2018-03-24T08:00:00+00:00"},
    "later_copies": {"train": 3, "val": 4}, "own_files": [],
}  # fmt: skip


def _with(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy(base)
    *steps, last = path.split(".")
    at = changed
    for step in steps:
        at = at[step]
    at[last] = value
    return changed


def _rows(data: Any = DATA, run: Any = RUN, metrics: Any = METRICS, looks: Any = None) -> dict[str, dict[str, str]]:
    sheet = leakage_sheet(data, run, metrics, looks)
    assert json.loads(json.dumps(sheet)) == sheet
    assert [row["kind"] for row in sheet["rows"]] == list(KINDS)
    assert sheet["counts"] == {s: sum(row["status"] == s for row in sheet["rows"]) for s in STATUSES}
    for row in sheet["rows"]:
        assert row["status"] in STATUSES
        assert row["evidence"].endswith(".")
        assert len(row["evidence"]) > 30
    return {row["kind"]: row for row in sheet["rows"]}


def test_settings_that_were_searched_are_named_with_what_else_was_chosen() -> None:
    searched = RUN | {"search": {"trials": 12}}
    evidence = _rows(run=searched, looks={"before": 0, "other_systems": 0})["no_test_set"]["evidence"]
    assert "by which alone settings (by 12 trials), checkpoint (step 266, score 0.605)" in evidence


def test_the_best_case() -> None:
    rows = _rows(looks={"before": 2, "other_systems": 0})
    assert {kind: row["status"] for kind, row in rows.items()} == {
        "no_test_set": "checked",
        "preprocessing": "ruled out",
        "feature_selection": "ruled out",
        "duplicates": "checked",
        "illegitimate_features": "checked",
        "temporal": "possible",
        "independence": "checked",
        "sampling": "checked",
        "pretraining": "possible",
    }
    for kind, told in {
        "no_test_set": "240 test rows beside 640 to train on and 100 for validation",
        "preprocessing": "256 tokens",
        "feature_selection": "rank 16",
        "duplicates": "0.0 % a near-copy. In a plain random split of all rows 49.5 %",
        "illegitimate_features": "VADER, gives the same label for 83.2 % of 2,000 texts (81.5 % to 84.8 %)",
        "temporal": "from 2018-03-23 to 2018-03-24 10:00:00",
        "independence": "No value of the column author is on two sides. Near-copies are kept together, in 950 groups",
        "sampling": "No difference between test and train tweets was found; 2.0 % of 1,000 rows were left out before "
        "the split (duplicate 12, retweet 8)",
        "pretraining": "smollm2-135m read; the tweets, up to 2018-03-24 10:00:00, may be in it. Without tuning its "
        "macro-F1 is 0.321 (0.300 to 0.350), with it 0.610 (0.550 to 0.660)",
    }.items():
        assert told in rows[kind]["evidence"], kind
    assert "step 266, score 0.605" in rows["no_test_set"]["evidence"]


@pytest.mark.parametrize(
    ("path", "value", "kind", "status", "told"),
    [
        ("classes", None, "no_test_set", "not known", "other splits"),
        ("labels.overrides", {"changed": 7}, "preprocessing", "possible", "7 labels"),
        ("leakage.made.near", 0.02, "duplicates", "possible", "2.0 % a near-copy"),
        ("leakage.against_train", {"near": 0.125}, "duplicates", "checked", "12.5 % of the train rows"),
        ("leakage", None, "duplicates", "not known", "does not say"),
        ("labels.lexicons.vader.machine_made", True, "illegitimate_features", "possible", "read off the words"),
        ("labels.lexicons", None, "illegitimate_features", "not known", "no word list"),
        ("source.files", [{"label": "a"}, {"label": "b"}], "illegitimate_features", "possible", "alone: 2"),
        ("alarms", [{"kind": "campaign"}], "illegitimate_features", "possible", "carry a class: 1"),
        ("splits", BY_TIME, "temporal", "ruled out", "from 2018-03-24 08:00:00 on. 7 later copies"),
        ("splits", {"by": "random", "own_files": ["test"]}, "temporal", "possible", "a file of its own"),
        ("dates", None, "temporal", "not known", "no dates"),
        ("splits", None, "temporal", "not known", "does not say"),
        ("splits", {"by": "random"}, "independence", "not known", "no author"),
        ("splits.own_files", ["test"], "independence", "possible", "of its own"),
        ("splits.own_files", ["val"], "independence", "checked", "author"),
        ("splits", None, "independence", "not known", "does not say"),
        ("rows.dropped", {"link": 300}, "sampling", "possible", "30.0 % of 1,000 rows"),
        ("splits.own_files", ["test"], "sampling", "checked", "no copy, retweet or link was left out"),
    ],
)
def test_a_row_follows_the_data(path: str, value: Any, kind: str, status: str, told: str) -> None:
    row = _rows(_with(DATA, path, value))[kind]
    assert (row["status"], told in row["evidence"]) == (status, True), row["evidence"]


@pytest.mark.parametrize(
    ("path", "value", "kind", "status", "told"),
    [
        ("picked_from", 5, "no_test_set", "possible", "best of 5"),
        ("drift", {"level": "differ", "brief": "They differ."}, "sampling", "possible", "They differ"),
        ("drift", {"level": "slight", "brief": "They differ a little."}, "sampling", "checked", "a little"),
        ("drift", {"level": "unknown", "brief": "Unknown."}, "sampling", "not known", "Unknown"),
        ("drift", None, "sampling", "not known", "240 test tweets were not compared"),
        ("systems", {"tuned": {"macro_f1": _SCORE}}, "pretraining", "possible", "is not there"),
    ],
)
def test_a_row_follows_the_scores(path: str, value: Any, kind: str, status: str, told: str) -> None:
    row = _rows(metrics=_with(METRICS, path, value))[kind]
    assert (row["status"], told in row["evidence"]) == (status, True), row["evidence"]


def test_looks_at_the_test_rows_count() -> None:
    assert "not counted" in _rows()["no_test_set"]["evidence"]
    assert _rows()["no_test_set"]["status"] == "not known"
    row = _rows(looks={"before": 6, "other_systems": 2})["no_test_set"]
    assert row["status"] == "possible"
    assert "times: 6; other systems: 2" in row["evidence"]


def test_answers_from_a_file_leave_most_unknown() -> None:
    metrics = {**METRICS, "candidate": "roberta", "systems": {"roberta": {"macro_f1": _SCORE}}}
    rows = _rows(run={}, metrics=metrics)
    unknown = {"no_test_set", "preprocessing", "feature_selection", "pretraining"}
    assert {kind for kind, row in rows.items() if row["status"] == "not known"} == unknown
    assert "roberta" in rows["pretraining"]["evidence"]
    assert "the model is given" not in rows["illegitimate_features"]["evidence"].lower()


def test_an_empty_manifest_says_not_known() -> None:
    metrics = {key: value for key, value in METRICS.items() if key != "drift"}
    rows = _rows({}, {}, metrics)
    assert {row["status"] for row in rows.values()} == {"not known"}
    rows = _rows({}, {"base_model": {"name": "x"}}, metrics)
    assert {kind for kind, row in rows.items() if row["status"] == "ruled out"} == {
        "preprocessing",
        "feature_selection",
    }


def test_the_sentence_counts() -> None:
    assert leakage_sheet(DATA, RUN, METRICS)["sentence"] == (
        "Of 9 ways in which a test can flatter, 2 are ruled out, 4 are checked, 2 are possible (temporal leakage, "
        "pre-training) and 1 is not known (no test set)."
    )


def _render(metrics: dict[str, Any]) -> str:
    return page.environment().get_template("report_sheet.html").render(metrics=metrics)


def test_the_section_shows_every_row() -> None:
    sheet = leakage_sheet(DATA, RUN, METRICS)
    html = _render({"leakage_sheet": sheet})
    text = " ".join("".join(html5lib.parse(html, namespaceHTMLElements=False).itertext()).split())
    for row in sheet["rows"]:
        for key in ("name", "meaning", "status", "evidence"):
            assert row[key] in text.replace("\u00a0", " ")
    assert sheet["sentence"] in text
    assert _render({}).strip() == ""


def test_hostile_names_are_text() -> None:
    data = _with(DATA, "splits.column", HOSTILE)
    metrics = {**METRICS, "candidate": HOSTILE, "systems": {HOSTILE: {"macro_f1": _SCORE}, **METRICS["systems"]}}
    for run in ({}, _with(RUN, "base_model.name", HOSTILE)):
        html = _render({"leakage_sheet": leakage_sheet(data, run, metrics)})
        assert "<script" not in html
        assert "\u202e" not in html
        assert len(list(html5lib.parse(html, namespaceHTMLElements=False).iter("dt"))) == 9
