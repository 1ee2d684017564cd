import statistics

import pytest
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.report import render
from pipeline.scoring.sections import Evidence
from pipeline.scoring.seeds import METRICS, seed_spread


def test_the_spread_is_that_of_the_scores_and_every_seed_is_listed() -> None:
    rows = make_predictions(200, skill={"tuned": 0.7, "c": 0.6, "a": 0.7, "b": 0.65})
    metrics = score(rows, labels=LABELS, evidence=Evidence(seeds=[{"c": 9, "a": 1, "b": 5}]))
    [found] = metrics["seeds"]
    assert list(found["seeds"].items()) == [("a", 1), ("b", 5), ("c", 9)]
    for metric in METRICS:
        values = [metrics["systems"][name][metric]["value"] for name in ("a", "b", "c")]
        assert found[metric]["values"] == values
        assert found[metric]["mean"] == pytest.approx(statistics.mean(values))
        assert found[metric]["sd"] == pytest.approx(statistics.stdev(values))
        assert (found[metric]["low"], found[metric]["high"]) == (min(values), max(values))


def test_the_page_lists_every_seed_and_the_mean() -> None:
    rows = make_predictions(100, skill={"tuned": 0.7, "a<b>": 0.6, "b": 0.7})
    metrics = score(rows, labels=LABELS, evidence=Evidence(seeds=[{"b": 7, "a<b>": 3}]))
    page = render(metrics, rows, {})
    [found] = metrics["seeds"]
    section = page.partition('<section id="seeds">')[2].partition("</section>")[0]
    assert "a&lt;b&gt;" in section
    for metric in METRICS:
        for value in (*found[metric]["values"], found[metric]["mean"], found[metric]["sd"]):
            assert f'<data value="{value}">{value:.3f}</data>' in section
    assert "2 seeds of one recipe" in section
    assert '<section id="seeds">' not in render(score(rows, labels=LABELS), rows, {})


def test_recipes_stand_apart() -> None:
    systems = {
        name: {metric: {"value": value} for metric in METRICS} for name, value in zip("abcd", range(4), strict=True)
    }
    found = seed_spread([{"a": 1, "b": 2}, {"d": 1, "c": 2}], systems)
    assert [recipe["macro_f1"]["mean"] for recipe in found] == [0.5, 2.5]
    assert list(found[1]["seeds"]) == ["d", "c"]
