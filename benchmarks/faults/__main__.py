"""The command ``python -m benchmarks.faults``: what a training survives, in a table."""

import errno
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks.faults import faults
from benchmarks.faults.bench import Bench, warm_up
from benchmarks.prepare import machine
from pipeline import cli
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class FaultsConfig:
    """How much to try."""

    scale: float = 1.0
    """How many tries, as a multiple of the usual numbers; 0.1 for a quick look."""
    seed: int = 0
    """Seed of the random moments."""
    folder: str | None = None
    """Where to train; runs that did not come out well stay there. A temporary folder if not given."""


def benchmark(config: FaultsConfig) -> None:
    """Does faults to trainings of a tiny model and counts what they survive; prints a Markdown table.

    Each try is a run of python -m pipeline.train with a fault, then the same command again with --resume. It went well
    if the adapter, the log and the scores have the same bytes as those of a run without faults. Needs no model and no
    data; a quarter of an hour on an idle core.
    """
    if config.scale <= 0:
        raise PipelineError(f"--scale: expected more than 0, got {config.scale}")
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(config.folder or scratch))
        bench.folder.mkdir(parents=True, exist_ok=True)
        warm_up()
        bench.build()
        bench.reference()
        for line in chain(machine(("torch", "transformers", "peft", "safetensors")), _table(bench, config)):
            print(line, flush=True)


def _table(bench: Bench, config: FaultsConfig) -> Iterator[str]:
    yield ""
    yield "| fault | tries | the same bytes in the end | failed | seconds |"
    yield "|---|--:|--:|--:|--:|"
    total = failed = 0
    for name, outcomes in _tries(bench, config):
        began = time.monotonic()
        came = list(outcomes)
        total, failed = total + len(came), failed + came.count(False)
        yield f"| {name} | {len(came)} | {came.count(True)} | {came.count(False)} | {time.monotonic() - began:.0f} |"
    yield f"| all | {total} | {total - failed} | {failed} | |"


def _tries(bench: Bench, config: FaultsConfig) -> Iterator[tuple[str, Iterator[bool]]]:
    def times(usual: int) -> int:
        return max(1, round(usual * config.scale))

    draw = random.Random(config.seed)  # noqa: S311 - no secret
    points = range(1, faults.points(bench) + 1)

    def some(of: Sequence[int], usual: int) -> list[int]:
        return sorted(draw.sample(of, min(times(usual), len(of))))

    # How often a training of the bench comes to each.
    often = {"training": 12, "validating": 2, "saving": 4, "writing": 12}
    moments = [(moment, count) for moment, most in often.items() for count in range(1, most + 1)]

    def at(usual: int) -> list[tuple[str, int]]:
        return sorted(draw.sample(moments, min(times(usual), len(moments))))

    yield "nothing: the same training again", faults.repeats(bench, times(3))
    yield "`kill -9` at a random moment, up to three times", faults.kills(bench, times(50), config.seed)
    yield "death in front of a rename or fsync", faults.kills_between(bench, some(points, 100))
    yield "death behind a rename or fsync", faults.kills_between(bench, some(points, 40), late=True)
    yield "death at each stage behind the last checkpoint", faults.deaths(bench)
    for kind in faults.DAMAGES:
        name = f"last checkpoint: each file {kind}" if kind != "extra" else "last checkpoint: a file more"
        yield name, faults.damages(bench, [kind], None if config.scale >= 1 else ["optimizer.pt", "MANIFEST.json"])
    for number in faults.SIGNALS:
        yield (
            f"{signal.Signals(number).name} while it trains, validates or saves: exit 3",
            faults.signals(bench, at(15), number),
        )
    yield "two signals at once: exit 3", faults.two_signals(bench, at(10))
    for error in faults.SHORTAGES:
        yield f"{errno.errorcode[error]} from a write on: exit 4", faults.full_disks(bench, some(points, 15), error)
    yield "files that cannot grow (RLIMIT_FSIZE): exit 4", faults.small_files(bench, some(range(2_200, 12_000), 10))
    yield "no memory (Python's, PyTorch's under RLIMIT_AS, a GPU's): exit 4", faults.no_memory(bench)
    yield "another option, data set or base model: exit 1; other paths to the same: done", faults.changes(bench)
    yield "finished run resumed: untouched", faults.finished(bench, times(3))
    yield "20 starts at the same time: one trains, 19 exit with 5", faults.crowds(bench, times(3), 20)
    yield "killed holder of the lock: the next one starts", faults.stale_locks(bench, times(10))


if __name__ == "__main__":
    cli.run(
        FaultsConfig,
        benchmark,
        None,
        name="python -m benchmarks.faults",
        example="python -m benchmarks.faults --scale 0.1",
    )
