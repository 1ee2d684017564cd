"""The command ``python -m benchmarks.evaluator``: how far the evaluation itself can be believed, in tables."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context

from tqdm import tqdm

from benchmarks.evaluator import faults, folders, nulls
from benchmarks.evaluator.coverage import Setting, covered
from benchmarks.evaluator.faults import FALSE, FOUND, Fault
from benchmarks.evaluator.tally import Rate, Simulation, rates
from benchmarks.prepare import machine
from pipeline import cli
from pipeline.errors import PipelineError

# Worlds at scale 1, by what one of them costs.
_COVERED = {Setting(100): 100, Setting(450): 100, Setting(450, clustered=True): 100, Setting(2_000, clustered=True): 40}
_BOTH = (False, True)
_NULLS: Sequence[tuple[Simulation, int]] = (
    *((partial(nulls.paired_tests, clustered=each), 400) for each in _BOTH),
    *((partial(nulls.equal_systems, clustered=each), 40) for each in _BOTH),
    *((partial(nulls.pair_of_equals, clustered=each), 100) for each in _BOTH),
    (nulls.unlike_systems, 150),
    *((partial(nulls.segments, clustered=each), 60) for each in _BOTH),
    *((partial(nulls.calibrated, clustered=each), 300) for each in _BOTH),
    *((partial(nulls.trend, clustered=each), 300) for each in _BOTH),
    (nulls.unrelated_labels, 60),
)
_FAULTS: Sequence[tuple[Fault, int]] = (
    *((fault, 20) for fault in faults.FAULTS),
    *((fault, 4) for fault in folders.FAULTS),
)
_LOW, _HIGH, _MOST = 0.92, 0.98, 0.07


@dataclass(frozen=True)
class EvaluatorConfig:
    """How much to simulate."""

    scale: float = 1.0
    """How many worlds to draw, as a multiple of the usual numbers; 0.1 for a quick look, 5 for surer rates."""
    coverage: bool = True
    """Measure how often the intervals hold the truth."""
    nulls: bool = True
    """Measure how often the tests find something where there is nothing."""
    faults: bool = True
    """Measure how often planted faults are found."""
    processes: int | None = None
    """Number of processes; as many as there are cores if not given."""


def benchmark(config: EvaluatorConfig) -> None:
    """Measures how far the evaluation can be believed, in made-up worlds whose truth is known; prints Markdown tables.

    Three tables: how often each kind of interval holds the truth, how often each test finds something where there is
    nothing, and how often planted faults are found. Needs no model and no data. A few minutes on two cores.
    """
    if config.scale <= 0 or (config.processes is not None and config.processes < 1):
        raise PipelineError(f"--scale, --processes: expected more than 0, got {config.scale} and {config.processes}")
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the processes fill the cores
    processes = config.processes or os.cpu_count()
    # Not forked: a fork inherits the threads of the libraries in an unknown state.
    with ProcessPoolExecutor(processes, get_context("spawn"), logging.disable, (logging.WARNING,)) as executor:
        for line in chain(
            machine(),
            _coverage(config, executor) if config.coverage else (),
            _nulls(config, executor) if config.nulls else (),
            _faults(config, executor) if config.faults else (),
        ):
            print(line, flush=True)


def _coverage(config: EvaluatorConfig, executor: Executor) -> Iterator[str]:
    worlds = {setting: _worlds(config, n) for setting, n in _COVERED.items()}
    found = {setting: _rates(setting.name, partial(covered, setting), n, executor) for setting, n in worlds.items()}
    heads = [f"{setting.name}, {n:,} worlds" for setting, n in worlds.items()]
    yield f"\n| 95 % interval | {' | '.join(heads)} |"
    yield f"|---|{'--:|' * len(heads)}"
    for name in dict.fromkeys(chain.from_iterable(found.values())):
        cells = [_cell(each.get(name), _LOW, _HIGH) for each in found.values()]
        yield f"| {name} | {' | '.join(cells)} |"


def _nulls(config: EvaluatorConfig, executor: Executor) -> Iterator[str]:
    yield "\n| test, at the level of 5 % | worlds | finds what is not there, % |"
    yield "|---|--:|--:|"
    for simulation, n in _NULLS:
        found = _rates("tests", simulation, _worlds(config, n), executor)
        for name, rate in found.items():
            yield f"| {name} | {rate.n:,} | {_cell(rate, 0, _MOST)} |"


def _faults(config: EvaluatorConfig, executor: Executor) -> Iterator[str]:
    yield "\n| fault | how it shows in the report | found | false alarms without it |"
    yield "|---|---|--:|--:|"
    for fault, n in _FAULTS:
        found = _rates("faults", fault.outcomes, _worlds(config, n), executor)
        cells = [f"{rate.hits} of {rate.n}: {rate} %" for rate in (found[FOUND], found[FALSE])]
        yield f"| {fault.name} | {fault.shows} | {' | '.join(cells)} |"


def _rates(title: str, simulation: Simulation, worlds: int, executor: Executor) -> dict[str, Rate]:
    return rates(tqdm(executor.map(simulation, range(worlds)), title, worlds, leave=False, unit="world"))


def _worlds(config: EvaluatorConfig, usual: int) -> int:
    return max(2, round(config.scale * usual))


def _cell(rate: Rate | None, low: float, high: float) -> str:
    """A rate, in italics where it is not between the bounds, in bold where all of its interval is not."""
    if rate is None:
        return "not defined"
    if rate.interval.high < low or rate.interval.low > high:
        return f"**{rate}**"
    return str(rate) if low <= rate.share <= high else f"*{rate}*"


if __name__ == "__main__":
    cli.run(
        EvaluatorConfig,
        benchmark,
        None,
        name="python -m benchmarks.evaluator",
        example="python -m benchmarks.evaluator --scale 0.1",
    )
