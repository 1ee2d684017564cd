"""The same number has the same interval wherever a page shows it, and what was never answered has no precision."""

import copy
import re
from typing import Any

import html5lib
import numpy as np
import pytest
from synthetic_predictions import make_predictions

from pipeline.scoring import metrics
from pipeline.scoring.adjustment_effect import adjustment
from pipeline.scoring.confidence import Answers
from pipeline.scoring.evaluation import score
from pipeline.scoring.figures import confusion_figure
from pipeline.scoring.intervals import bootstrap, group_counts, percentiles, wilson
from pipeline.scoring.one_interval import take_over
from pipeline.scoring.report import render
from pipeline.scoring.sample import read_sample
from pipeline.scoring.sections import Evidence

LABELS = ("bad", "fair", "good")


def rows_of(n: int = 120, *, group_size: int = 2, silent: str = "") -> list[dict[str, Any]]:
    """Rows whose two readings agree; one class may be no answer at all."""
    rows = make_predictions(n, labels=LABELS, group_size=group_size, unparsed=0)
    for row in rows:
        answer = row["systems"]["tuned"]
        if answer["generate"] == silent:
            answer["log_likelihoods"] |= {silent: -9.0, "good": -0.1}
        answer["generate"] = answer["loglikelihood"] = max(LABELS, key=answer["log_likelihoods"].__getitem__)
    return rows


def scored(rows: list[dict[str, Any]]) -> dict[str, Any]:
    validation = [{**{key: row[key] for key in ("id", "group", "label")}, **row["systems"]["tuned"]} for row in rows]
    likelihoods = {
        "tokens": dict.fromkeys(LABELS, 1),
        "content_free": {"tuned": [dict.fromkeys(LABELS, -1.0)]},
    }
    counts = {"train": dict(zip(LABELS, (10, 30, 90), strict=True)), "test": dict.fromkeys(LABELS, 40)}
    evidence = Evidence(validation=validation, likelihoods=likelihoods, data={"classes": counts})
    return score(rows, labels=LABELS, evidence=evidence)


@pytest.mark.parametrize("group_size", [1, 2])
def test_sections_show_the_interval_of_the_headline(group_size: int) -> None:
    found = scored(rows_of(group_size=group_size))
    tuned = found["systems"]["tuned"]
    before, plain = found["adjustment"]["test"]["before"], found["normalisation"]["tuned"]["methods"]["sum"]
    [whole] = [kept for kept in found["confidence"]["selective"]["at_coverage"] if kept["asked"] == 1]
    for name in ("accuracy", "macro_f1"):
        for section in (plain, whole, before):
            assert {key: section[name][key] for key in ("value", "low", "high")} == tuned[name]
    assert before["balanced_accuracy"] == tuned["balanced_accuracy"]
    uniform = found["priors"]["scenarios"]["uniform"]["accuracy"]
    assert (uniform["low"], uniform["high"]) == tuple(tuned["balanced_accuracy"][key] for key in ("low", "high"))
    for label in LABELS:
        for name in ("recall", "precision", "f1"):
            ends = tuned["per_class"][label]["intervals"][name]
            assert before["classes"][label][name] == {"value": tuned["per_class"][label][name], **ends}


def test_another_number_keeps_its_own_interval() -> None:
    found = scored(rows_of())
    changed = copy.deepcopy(found)
    plain = changed["normalisation"]["tuned"]["methods"]["sum"]
    plain["accuracy"] = {"value": 0.1, "low": 0.05, "high": 0.2}
    plain["macro_f1"] = None
    take_over(changed, changed["systems"], "tuned")
    assert plain["accuracy"] == {"value": 0.1, "low": 0.05, "high": 0.2}
    assert plain["macro_f1"] is None


@pytest.mark.parametrize("group_size", [1, 2])
def test_recall_in_the_section_on_rare_classes_is_resampled_as_in_the_headline(group_size: int) -> None:
    """Against the bootstrap over the groups of all rows, and Wilson's formula where every row is one."""
    rows = rows_of(group_size=group_size)
    sample = read_sample(rows, LABELS)
    answers = Answers(
        sample.log_likelihoods["tuned"], sample.y_true, sample.readings["tuned", "generate"], sample.groups
    )
    found = adjustment(answers, answers, LABELS, shares=np.full(3, 1 / 3))["test"]["before"]["classes"]
    cells = sample.y_true * 4 + answers.predicted
    counts = group_counts(sample.groups, cells[:, None], 12)
    draws = bootstrap(counts, lambda sums: {"recall": metrics.recall(sums.reshape(-1, 3, 4))}, seed=7)["recall"]
    for c, label in enumerate(LABELS):
        of_class = sample.y_true == c
        hits = int((answers.predicted[of_class] == c).sum())
        ends = wilson(hits, int(of_class.sum())) if group_size == 1 else percentiles(draws[:, c])
        shown = found[label]["recall"]
        assert (shown["low"], shown["high"]) == pytest.approx(tuple(map(float, ends)), abs=0.02)


def cells_of(html: str, section: str) -> list[list[str]]:
    """The rows of the first table of a section, each cell's text."""
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    [part] = [e for e in tree.iter("section") if e.get("id") == section]
    table = next(part.iter("table"))
    return [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in table.iter("tr")]


def test_a_class_that_is_never_answered_has_no_precision_on_the_page() -> None:
    rows = rows_of(silent="fair")
    found = scored(rows)
    html = render(found, rows, {})
    [row] = [row for row in cells_of(html, "classes") if row[0] == "fair"]
    assert row[2] == "–never answered"
    assert all("never answered" not in cell for r in cells_of(html, "classes") if r[0] != "fair" for cell in r)
    assert "It comes from a bootstrap over groups, which keeps" in html  # said once: proportions have it too here
    assert ", reading: " not in html
    shown = [row for row in cells_of(html, "adjustment") if row[0] == "fair"]
    assert shown[0][4] == "–never answered"
    assert found["systems"]["tuned"]["per_class"]["fair"]["precision"] == 0  # in metrics.json it stays a number


def test_the_heat_map_has_a_dash_where_there_is_nothing_to_have_a_share_of() -> None:
    svg = confusion_figure([[3, 0, 1, 0], [2, 0, 2, 0], [0, 0, 0, 0]], LABELS)
    texts = re.findall(r">([^<>]+)</text>", svg)
    # Columns fair and unparsed in the panel of precision, row good in that of recall: 3 + 3 + 4.
    assert texts.count("–") == 10
