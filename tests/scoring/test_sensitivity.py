from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint

from pipeline.scoring.parts import Answers
from pipeline.scoring.sensitivity import beside_people, without_suspects

SCORES = {
    "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8},
    "macro_f1": {"value": 0.65, "low": 0.55, "high": 0.75},
}
RATERS: dict[str, Any] = {
    "items": 4200,
    "krippendorff_alpha": 0.55,
    "low": 0.5,
    "high": 0.6,
    "human_ceiling": {"macro_f1": 0.8, "accuracy": 0.82, "low": 0.79, "high": 0.81},
}


def _answers(n: int = 120) -> Answers:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return Answers(y, np.where(rng.random(n) < 0.7, y, rng.integers(0, 4, n)), np.arange(n), 3)


def _without(suspects: set[str], answers: Answers | None = None) -> dict[str, Any]:
    answers = answers or _answers()
    ids = [str(i) for i in range(len(answers.groups))]
    return without_suspects(ids, suspects, answers, SCORES, system="tuned", seed=0)


def test_scores_without_suspects_agree_with_other_libraries() -> None:
    answers = _answers()
    wrong = {str(i) for i in np.flatnonzero(~answers.right)[:20]}
    found = _without({*wrong, "of another split"})
    kept = np.array([str(i) not in wrong for i in range(120)])
    right = int(answers.right[kept].sum())
    low, high = proportion_confint(right, 100, method="wilson")
    assert (found["n"], found["suspects"], found["without"]["n"]) == (120, 20, 100)
    assert found["without"]["accuracy"] == pytest.approx({"value": right / 100, "low": low, "high": high})
    assert found["without"]["macro_f1"]["value"] == pytest.approx(
        f1_score(answers.y_true[kept], answers.y_pred[kept], labels=[0, 1, 2], average="macro")
    )
    assert found["all"] == SCORES
    assert f"macro-F1 is {found['without']['macro_f1']['value']:.3f} (" in found["sentence"]
    assert "instead of 0.650 (0.550 to 0.750)" in found["sentence"]


def test_no_suspects_or_nothing_else() -> None:
    assert _without({"x"})["without"] is None
    assert _without({"x"})["sentence"] == "The prepared data doubts the label of none of the 120 test tweets."
    everything = _without({str(i) for i in range(120)})
    assert everything["without"] is None
    assert "every test tweet" in everything["sentence"]


def test_what_is_left_may_lack_a_class() -> None:
    answers = Answers(np.array([0, 1, 2]), np.array([0, 3, 2]), np.arange(3), 3)
    found = _without({"0"}, answers)
    assert found["without"]["macro_f1"] is None
    assert "Without them, accuracy is 0.500 (" in found["sentence"]
    assert "macro-F1" not in found["sentence"]


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        (0.65, "is below what one person reaches"),
        (0.78, "is not distinguishable from one person"),
        (0.93, "is above it: one person is less steady"),
    ],
)
def test_beside_people(value: float, finding: str) -> None:
    scores = {"macro_f1": {"value": value, "low": value - 0.05, "high": value + 0.05}}
    found = beside_people(RATERS, scores, system="tuned")
    assert found is not None
    # By hand: the roots of the summed squares of 0.05 and 0.01.
    assert found["difference"] == pytest.approx(
        {"value": value - 0.8, "low": value - 0.8 - 0.0509902, "high": value - 0.8 + 0.0509902}, abs=1e-6
    )
    assert finding in found["sentence"]
    ceiling = "on 4,200 tweets, reaches macro-F1 0.800 (0.790 to 0.810)"
    assert f"{ceiling}; Krippendorff's alpha is 0.550 (0.500 to 0.600)" in found["sentence"]


def test_people_who_are_not_known() -> None:
    assert beside_people(None, SCORES, system="tuned") is None
    assert beside_people({"krippendorff_alpha": 0.5}, SCORES, system="tuned") is None
    found = beside_people({**RATERS, "krippendorff_alpha": None, "low": None}, SCORES, system="tuned")
    assert found is not None
    assert found["krippendorff_alpha"] is None
    assert "alpha" not in found["sentence"]
