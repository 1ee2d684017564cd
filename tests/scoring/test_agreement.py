import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from pipeline.scoring.agreement import agreement, agreement_lines

LABELS = ("Negative", "Neutral", "Positive")


@pytest.mark.parametrize("seed", range(5))
def test_against_other_implementations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    human = [LABELS[i] for i in rng.integers(0, 3, 80)]
    teacher: list[str | None] = [
        None if rng.random() < 0.1 else label if rng.random() < 0.7 else LABELS[rng.integers(3)] for label in human
    ]
    found = agreement(human, teacher, LABELS)
    said = [label or "none" for label in teacher]
    hits = sum(a == b for a, b in zip(human, teacher, strict=True))
    low, high = proportion_confint(hits, 80, method="wilson")
    assert (found["accuracy"], found["low"], found["high"]) == pytest.approx((hits / 80, low, high))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(human, said))
    expected = confusion_matrix(human, said, labels=[*LABELS, "none"])[:3]
    assert found["confusion"] == expected.tolist()
    assert found["unanswered"] == said.count("none")


def test_lines_tell_the_numbers() -> None:
    lines = agreement_lines(agreement(["Negative", "Positive"], ["Negative", None], LABELS))
    assert lines[0].startswith("teacher against people on 2 tweets: accuracy 0.500 [0.095, 0.905], kappa ")
    assert lines[1].split() == ["people", "/", "teacher", *LABELS, "no", "label"]
    assert lines[2].split() == ["Negative", "1", "0", "0", "0"]
    assert "no tweet" in agreement_lines(agreement([], [], LABELS))[0]
