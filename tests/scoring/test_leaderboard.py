"""The leaderboard: every pair against oracles, what others report in its place, and a page that trusts no name."""

from itertools import combinations
from typing import Any

import pytest
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.leaderboard import leaderboard
from pipeline.scoring.report import render
from pipeline.scoring.sections import Evidence

COST = {
    "parameters": 134_515_008,
    "tuned_parameters": 4_884_480,
    "training_seconds": 364.4,
    "device": "cpu",
    "tweets_per_second": 32.65,
    "precision": "bf16",
}
PUBLISHED = {
    "about": "Some set, its test split",
    "rows": 200,
    "tables": [
        {"metric": "weighted_f1", "source": "https://example.org/<paper>", "results": {"theirs <i>": 0.99, "poor": 0.1}}
    ],
}
SKILL = {"tuned": 0.8, "second": 0.75, "third": 0.3, "tfidf": 0.5}


def scored(published: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = make_predictions(200, skill=SKILL, unparsed=0)
    board = {"costs": {"third": None, "tuned": COST, "second": COST}, "published": published}
    return score(rows, labels=LABELS, evidence=Evidence(board=board)), rows


def test_every_pair_is_compared_once_and_p_is_adjusted_over_them() -> None:
    metrics, rows = scored()
    pairs = metrics["leaderboard"]["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == list(combinations(["tuned", "second", "third"], 2))
    expected = multipletests([pair["p_value"] for pair in pairs], method="holm")[1]
    assert [pair["p_holm"] for pair in pairs] == pytest.approx(list(expected))
    y_true = [row["label"] for row in rows]
    answers = {name: [row["systems"][name] for row in rows] for name in ("tuned", "second", "third")}
    macro = {
        name: f1_score(y_true, [each.get("generate") or each.get("predicted") for each in given], average="macro")
        for name, given in answers.items()
    }
    for pair in pairs:
        assert pair["difference"] == pytest.approx(macro[pair["a"]] - macro[pair["b"]])
        assert pair["low"] <= pair["difference"] <= pair["high"]
    # The pairs with the judged system are those of its own comparison, but for the number of tests.
    own = {each["b"]: each for each in metrics["comparisons"] if each["metric"] == "macro_f1"}
    for pair in pairs[:2]:
        assert {key: pair[key] for key in ("difference", "low", "high", "p_value")} == {
            key: own[pair["b"]][key] for key in ("difference", "low", "high", "p_value")
        }
    assert [pair["distinguishable"] for pair in pairs] == [False, True, True]


def test_standings_go_from_the_best_to_the_worst_with_what_each_took() -> None:
    metrics, _ = scored()
    board = metrics["leaderboard"]
    worth = [metrics["systems"][row["system"]]["macro_f1"]["value"] for row in board["standings"]]
    assert worth == sorted(worth, reverse=True)
    assert {row["system"] for row in board["standings"]} == {*SKILL, "majority"}
    assert {row["system"]: row["cost"] for row in board["standings"] if row["judged"]} == {
        "tuned": COST,
        "second": COST,
        "third": None,
    }
    assert board["published"] is None


def test_what_others_report_stands_among_what_was_measured() -> None:
    metrics, rows = scored(PUBLISHED)
    published = metrics["leaderboard"]["published"]
    assert published["same_rows"]
    [table] = published["tables"]
    values = [row["value"] for row in table["standings"]]
    assert values == sorted(values, reverse=True)
    assert [row["system"] for row in table["standings"] if row["published"]] == ["theirs <i>", "poor"]
    tfidf = next(row for row in table["standings"] if row["system"] == "tfidf")
    given = [row["systems"]["tfidf"]["predicted"] for row in rows]
    assert tfidf["value"] == pytest.approx(f1_score([row["label"] for row in rows], given, average="weighted"))
    assert tfidf["low"] < tfidf["value"] < tfidf["high"]
    other = leaderboard({"costs": {}, "published": {**PUBLISHED, "rows": 199}}, metrics["systems"], [], rows=200)
    assert not other["published"]["same_rows"]


def test_the_page_begins_with_it_and_trusts_no_name() -> None:
    metrics, rows = scored({**PUBLISHED, "rows": 199})
    page = render(metrics, rows, {})
    section = page.partition('<section id="leaderboard">')[2].partition("</section>")[0]
    assert page.index('id="leaderboard"') < page.index('id="comparison"')
    assert "theirs &lt;i&gt;" in section
    assert "https://example.org/&lt;paper&gt;" in section
    assert "These are other rows than the" in section
    assert "134,515,008" in section
    assert '<data value="32.65">' in section
    assert "Of 3 pairs of judged systems, 2 can be told apart" in section
    assert '<section id="leaderboard">' not in render(score(rows, labels=LABELS), rows, {})
