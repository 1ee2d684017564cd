"""What preparing data costs: near-duplicate finders side by side, and the whole command by number of rows."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from benchmarks.finders import Entrant, agreement, entrants, every_pair
from benchmarks.tweets import tweets, write_csv
from pipeline import cli
from pipeline.artifacts import processor_name
from pipeline.errors import PipelineError
from pipeline.text import template_of

_PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas", "datasketch", "semhash")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    sizes: list[int] = field(default_factory=lambda: [10_000, 20_000, 50_000])
    """Numbers of rows at which the duplicate finders are compared."""
    curve: list[int] = field(default_factory=lambda: [10_000, 50_000, 200_000, 1_000_000])
    """Numbers of rows at which the whole of python -m pipeline.prepare is timed."""
    repeats: int = 3
    """How often every finder runs at every size, in turn; the median counts."""
    pairs_up_to: int = 20_000
    """Up to this many rows every pair is compared for the truth; above, this project's groups stand for it."""
    options: list[str] = field(default_factory=list)
    """Options for python -m pipeline.prepare, such as ["--drop_links=false"]."""
    semhash_model: str | None = None
    """Folder with a model2vec model for semhash; without one, the token vectors of the embedded base model."""
    seed: int = 0
    """Seed of the made-up tweets."""


def benchmark(config: BenchmarkConfig) -> None:
    """Measures what preparing data costs, and prints Markdown tables.

    All tweets are made up by the benchmark. Run it alone: the machine's load at the start stands in the output.
    """
    if config.repeats < 1 or min([*config.sizes, *config.curve], default=1) < 1:
        raise PipelineError("--repeats, --sizes, --curve: expected numbers of 1 or more")
    # The curve first: a process starts with the peak memory of the one that made it, and comparing takes much.
    for line in chain(machine(), [""], _curve(config), [""], _compared(config)):
        print(line, flush=True)


def machine(packages: Sequence[str] = _PACKAGES) -> Iterator[str]:
    """Lines that say on what the numbers were measured, with the versions of these packages."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield f"* {processor_name()} for this process, {memory:.0f} GiB; {platform.platform()}"
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    yield f"* Python {platform.python_version()}, {versions}"
    yield f"* load before the start: {', '.join(f'{load:.2f}' for load in os.getloadavg())} (1, 5, 15 minutes)"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _compared(config: BenchmarkConfig) -> Iterator[str]:
    """A table of finders on the same texts, which run in turn."""
    yield "| rows | templates | finder | median s | CPU s | times ours | groups | pairs | recall | precision | truth |"
    yield "|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|---|"
    field_ = entrants(config.semhash_model)
    for rows in config.sizes:
        texts = list(dict.fromkeys(template_of(text) for text, _ in tweets(rows, config.seed)))
        seconds: dict[str, list[tuple[float, float]]] = {each.name: [] for each in field_}
        groups: dict[str, Sequence[int]] = {}
        for _ in range(config.repeats):
            for each in field_:
                if each.finder is not None:
                    start = time.perf_counter(), time.process_time()
                    groups[each.name] = each.finder(texts)
                    seconds[each.name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
        ours = field_[0].name
        full = rows <= config.pairs_up_to
        truth = every_pair(texts) if full else groups[ours]
        base = statistics.median(wall for wall, _ in seconds[ours])
        for each in field_:
            yield _row(rows, len(texts), each, seconds[each.name], groups, truth, base, "every pair" if full else ours)


def _row(
    rows: int,
    templates: int,
    entrant: Entrant,
    seconds: Sequence[tuple[float, float]],
    groups: dict[str, Sequence[int]],
    truth: Sequence[int],
    base: float,
    source: str,
) -> str:
    head = f"| {rows:,} | {templates:,} | {entrant.name} |"
    if entrant.finder is None:
        return f"{head} skipped: {entrant.lacking} | | | | | | | |"
    wall, cpu = (statistics.median(times) for times in zip(*seconds, strict=True))
    found = groups[entrant.name]
    pairs, recall, precision = agreement(found, truth)
    return (
        f"{head} {wall:.2f} | {cpu:.2f} | {wall / base:.1f} | {len(set(found)):,} | {pairs:,} | {recall:.4f} "
        f"| {precision:.4f} | {source} |"
    )


def _curve(config: BenchmarkConfig) -> Iterator[str]:
    """A table of the whole command, each run in a process of its own."""
    yield "| rows | file MB | seconds | CPU s | microseconds a row | peak MiB |"
    yield "|--:|--:|--:|--:|--:|--:|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in config.curve:
            source = folder / f"{rows}.csv"
            write_csv(source, rows, config.seed)
            command = [sys.executable, "-m", "pipeline.prepare", f"--source={source}", f"--out={folder / str(rows)}"]
            log = folder / "log"
            start = time.perf_counter()
            with log.open("wb") as output:
                process = subprocess.Popen([*command, *config.options], cwd=_ROOT, stdout=output, stderr=output)
                _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            if os.waitstatus_to_exitcode(status) != 0:
                raise PipelineError(f"{' '.join(command)}: failed; it says: {log.read_text(errors='replace')[-500:]}")
            peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
            megabytes = source.stat().st_size / 1e6
            cpu = used.ru_utime + used.ru_stime
            yield f"| {rows:,} | {megabytes:.1f} | {wall:.1f} | {cpu:.1f} | {wall / rows * 1e6:.0f} | {peak:.0f} |"
            source.unlink()


if __name__ == "__main__":
    cli.run(
        BenchmarkConfig,
        benchmark,
        None,
        name="python -m benchmarks.prepare",
        example="python -m benchmarks.prepare --sizes [10000,20000] --curve [10000,50000]",
    )
