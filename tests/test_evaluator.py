"""Scaled-down simulations of benchmarks/evaluator: they fail when an interval, a test or a finding goes wrong."""

import pytest

from benchmarks.evaluator import faults, folders, nulls
from benchmarks.evaluator.coverage import Setting, covered
from benchmarks.evaluator.faults import FALSE, FOUND, Alarm, Fault
from benchmarks.evaluator.tally import Rate, rates


def test_rates_count_the_worlds_in_which_there_is_something_to_see() -> None:
    found = rates([{"a": True, "b": None}, {"a": False, "b": True}, {"a": True}])
    assert found == {"a": Rate(2, 3), "b": Rate(1, 1)}
    assert str(Rate(95, 100)) == "95.0 [89, 98]"


@pytest.mark.thorough
def test_intervals_hold_the_truth() -> None:
    found = rates(covered(Setting(250, clustered=True), seed) for seed in range(5))
    assert len(found) >= 38
    assert not {name: rate for name, rate in found.items() if rate.hits < rate.n - 2}
    assert sum(rate.hits for rate in found.values()) >= 0.92 * sum(rate.n for rate in found.values())


@pytest.mark.thorough
@pytest.mark.parametrize("clustered", [False, True], ids=["rows", "groups"])
def test_tests_seldom_find_what_is_not_there(clustered: bool) -> None:
    for simulation, worlds in ((nulls.calibrated, 40), (nulls.trend, 40), (nulls.segments, 2)):
        for name, rate in rates(simulation(seed, clustered=clustered) for seed in range(worlds)).items():
            assert rate.share <= 0.12, name


@pytest.mark.thorough
@pytest.mark.parametrize("clustered", [False, True], ids=["rows", "groups"])
def test_equal_systems_are_not_distinguishable(clustered: bool) -> None:
    _, copy = rates(nulls.pair_of_equals(seed, n_groups=100, clustered=clustered) for seed in range(2)).values()
    assert copy.hits == 0
    for name, rate in rates(nulls.paired_tests(seed, clustered=clustered) for seed in range(50, 66)).items():
        assert rate.share <= 0.125, name
    (holm, told) = rates(nulls.equal_systems(seed, n_groups=60, clustered=clustered) for seed in range(2)).values()
    assert holm.hits + told.hits <= 2


def test_labels_unrelated_to_the_texts_are_seldom_called_learnable() -> None:
    (found,) = rates(nulls.unrelated_labels(seed, n=200) for seed in range(10)).values()
    assert found.hits <= 1


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.alarm.__name__)
def test_planted_faults_are_found(fault: Fault) -> None:
    assert fault.outcomes(1) == {FOUND: True, FALSE: False}


@pytest.mark.thorough
@pytest.mark.parametrize("alarm", [folders.leakage, folders.half_of_the_noise, folders.machine_made])
def test_faults_planted_in_files_are_found(alarm: Alarm) -> None:
    assert alarm(1, True)
