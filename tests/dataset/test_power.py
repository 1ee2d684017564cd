from collections.abc import Callable
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
from corpora import corpus
from statsmodels.stats.proportion import proportion_confint

from pipeline.dataset.power import describe_imbalance, describe_power, half_width
from pipeline.model.examples import quotas
from pipeline.scoring.comparison import smallest_detectable
from pipeline.train import TrainConfig


@pytest.mark.parametrize("n", [2, 10, 34, 200, 5000])
def test_half_width_is_that_of_the_wilson_interval(n: int) -> None:
    low, high = proportion_confint(n // 2, n, method="wilson")
    assert half_width(n) == pytest.approx((high - low) / 2)
    # It is widest there.
    low, high = proportion_confint(n // 4, n, method="wilson")
    assert half_width(n) >= (high - low) / 2


def test_nothing_is_known_from_no_row() -> None:
    assert half_width(0) == pytest.approx(0.5)


def test_levers_of_a_hand_worked_table() -> None:
    found = describe_imbalance({"Down": 10, "Flat": 30, "Up": 60}, batch_size=8)
    assert found["class_shares"] == {"Down": 0.1, "Flat": 0.3, "Up": 0.6}
    assert (found["ratio"], found["batch_size"]) == (6, 8)
    rows = {e["lever"]: (e["rows_per_epoch"], e["steps_per_epoch"]) for e in found["effective"]}
    # 100 rows are 13 steps of 8, whatever they are.
    assert rows == {"none": (100, 13), "--class_weights balanced": (100, 13), "--sampling balanced": (100, 13)}
    notes = {e["lever"]: e["note"] for e in found["effective"]}
    assert "10.0 % of what the model sees is Down" in notes["none"]
    # Weights 1/10, 1/30, 1/60: their sum is 3, that of their squares 1/10 + 1/30 + 1/60; 9 / 0.15 = 60.
    assert "a row of Down counts 6.0 times" in notes["--class_weights balanced"]
    assert "worth 60 rows" in notes["--class_weights balanced"]
    # The training itself: 33 or 34 rows of each class.
    seen = quotas({"Down": 10, "Flat": 30, "Up": 60}, "balanced")
    assert sum(seen.values()) == 100
    assert [seen["Down"] / 10, seen["Up"] / 60] == pytest.approx([10 / 3, 5 / 9], abs=0.1)
    assert notes["--sampling balanced"] == (
        "each row of Down is seen 3.3 times an epoch, one of the largest class 0.6 times"
    )


def test_levers_are_options_of_the_training() -> None:
    known = {f.name: get_args(get_type_hints(TrainConfig)[f.name]) for f in fields(TrainConfig)}
    _, *levers = describe_imbalance({"Down": 10, "Up": 60}, batch_size=8)["effective"]
    for lever in levers:
        option, value = lever["lever"].split()
        assert value in known[option.removeprefix("--")]


def test_balanced_classes_need_no_lever() -> None:
    found = describe_imbalance({"Down": 50, "Up": 50}, batch_size=10)
    assert {e["rows_per_epoch"] for e in found["effective"]} == {100}
    assert "worth 100 rows" in found["effective"][1]["note"]


def test_copies_count_once() -> None:
    test, groups = corpus([(i, "Up") for i in range(150)] + [(150 + i // 2, "Down") for i in range(100)])
    asked = []

    def spy(find: Callable[[int, float], float | None]) -> Callable[[int, float], float | None]:
        def call(n: int, rate: float) -> float | None:
            asked.append((n, rate))
            return find(n, rate)

        return call

    found = describe_power(test, groups, ("Down", "Up"), spy(smallest_detectable))
    assert asked == [(200, 0.1), (200, 0.2), (200, 0.3)]
    assert (found["test_rows"], found["groups"]) == (250, 200)
    assert found["per_class"]["Down"] == {"support": 100, "groups": 50, "recall_half_width": half_width(50)}
    # Normal approximation of McNemar's test (Connor 1987): n = (z sqrt(D) + z' sqrt(D - d^2))^2 / d^2.
    for rate, difference in found["smallest_difference_accuracy"].items():
        n = (1.96 * float(rate) ** 0.5 + 0.842 * (float(rate) - difference**2) ** 0.5) ** 2 / difference**2
        assert n == pytest.approx(200, rel=0.2), rate
