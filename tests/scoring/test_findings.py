import re
from typing import Any

import pytest
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.findings import findings
from pipeline.scoring.gallery import gallery
from pipeline.scoring.sections import Evidence


def found_in(rows: list[dict[str, Any]], **options: Any) -> tuple[dict[str, Any], dict[str, str]]:
    metrics = score(rows, labels=LABELS, ordered=True, evidence=Evidence(**options))
    return metrics, findings(metrics, gallery(rows, LABELS, "tuned", ordered=True))


def test_every_line_carries_the_numbers_of_its_section() -> None:
    metrics, found = found_in(make_predictions(300))
    tuned, tfidf = metrics["systems"]["tuned"], metrics["systems"]["tfidf"]
    assert f"{tuned['macro_f1']['value']:.3f}" in found["comparison"]
    assert f"the TF-IDF classifier, reaches {tfidf['macro_f1']['value']:.3f}" in found["comparison"]
    matrix = metrics["confusion"]["matrix"]
    largest = max(n for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j)
    assert f" {largest:,} of " in found["confusion"]
    recalls = {label: scores["recall"] for label, scores in tuned["per_class"].items()}
    worst = min(recalls, key=lambda label: recalls[label])
    assert f"from {100 * recalls[worst]:.1f} % ({worst})" in found["classes"]
    assert f"differ on {100 * tuned['disagreement_rate']:.1f} %" in found["readings"]
    wrong = sum(row["systems"]["tuned"]["generate"] not in (None, row["label"]) for row in make_predictions(300))
    assert found["errors"].startswith(f"{wrong} of 300 got the wrong label, ")
    assert f"{metrics['priors']['scenarios']['uniform']['macro_f1']['value']:.3f}" in found["priors"]
    assert "seeds" not in found
    assert "behaviour" not in found


def test_a_perfect_system_has_no_error() -> None:
    _, found = found_in(make_predictions(90, skill={"tuned": 1.0, "tfidf": 0.5}, unparsed=0))
    assert found["confusion"] == "No error."
    assert found["errors"] == "0 of 90 got the wrong label."
    assert "100.0 %" in found["classes"]


@pytest.mark.parametrize("unparsed", [0.5, 1.0])
def test_answers_that_are_no_label_are_the_commonest_error(unparsed: float) -> None:
    _, found = found_in(make_predictions(200, unparsed=unparsed))
    assert "left unparsed" in found["confusion"]


def test_seeds_are_summed_up() -> None:
    rows = make_predictions(200, skill={"tuned": 0.7, "a": 0.7, "b": 0.6})
    metrics, found = found_in(rows, seeds=[{"a": 1, "b": 2}])
    assert found["seeds"].startswith(f"2 seeds of one recipe: macro-F1 {metrics['seeds'][0]['macro_f1']['mean']:.3f}")


def test_a_system_alone_is_compared_with_nothing() -> None:
    rows = [{**row, "systems": {"tuned": row["systems"]["tuned"]}} for row in make_predictions(60)]
    _, found = found_in(rows)
    assert "nothing to compare it with" in found["comparison"]


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.0, 0.0], "No case fails, in 2 abilities."),
        ([0.1, 0.25], "Fails most: Ability 1, 25.0 % of 12 cases."),
    ],
)
def test_the_worst_ability_is_named(shares: list[float], said: str) -> None:
    metrics, _ = found_in(make_predictions(40))
    cells: list[dict[str, Any]] = [
        {"capability": f"Ability {i}", "failure": {"value": v, "n": 12}} for i, v in enumerate(shares)
    ]
    cells.append({"capability": "not asked", "failure": None})
    errors = gallery(make_predictions(40), LABELS, "tuned", ordered=True)
    assert findings({**metrics, "behaviour": {"cells": cells}}, errors)["behaviour"] == said
    assert "behaviour" not in findings({**metrics, "behaviour": {"cells": cells[2:]}}, errors)


def test_a_label_keeps_its_letters_and_the_pairs_of_a_leaderboard_are_named() -> None:
    labels = ("bad", "fair", "good")
    rows = make_predictions(200, labels=labels, skill={"mine": 0.9, "yours": 0.1, "tfidf": 0.95})
    for row in rows:
        if row["systems"]["mine"]["predicted"] == "fair":
            row["systems"]["mine"] = {"predicted": "bad", "probabilities": {"bad": 1.0, "fair": 0.0, "good": 0.0}}
    evidence = Evidence(board={"costs": {"mine": None, "yours": None}, "published": None})
    metrics = score(rows, labels=labels, candidate="mine", evidence=evidence)
    found = findings(metrics, gallery(rows, labels, "mine", ordered=False))
    assert re.match(r"The answer (fair|bad) comes too (rarely|often): ", found["ranking"])
    [pair] = metrics["leaderboard"]["pairs"]
    apart = int(pair["distinguishable"])
    assert found["leaderboard"].startswith("The TF-IDF classifier comes first with macro-F1 0.")
    assert found["leaderboard"].endswith(
        f". Of 1 pair of judged systems, {apart} can be told apart; the baselines are tested further below."
    )
