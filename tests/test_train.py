"""What the training command measures on validation."""

import pytest

from pipeline.scoring.validation import validation_score
from pipeline.task import Task


def test_a_validation_has_the_recall_of_each_class_that_has_tweets() -> None:
    true = ["Negative", "Negative", "Negative", "Negative", "Positive"]
    found = validation_score(Task().labels)(true, ["Negative", "Positive", None, "Neutral", "Positive"])
    # Neutral has no tweet: a recall of 0 would call it missed.
    assert {name: value for name, value in found.items() if "/" in name} == {
        "recall/Negative": 0.25,
        "recall/Positive": 1.0,
    }
    assert found["balanced_accuracy"] == pytest.approx((0.25 + 1) / 2)
    assert found["unparsed_rate"] == 0.2
