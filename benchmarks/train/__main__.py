"""The command ``python -m benchmarks.train``: what tuning costs, beside other programs and by the size of the data."""

import logging
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import rates, turns
from benchmarks.decoder import Decoder
from benchmarks.jobs import Settings, ask, environment, spawn
from benchmarks.prepare import machine
from benchmarks.train import tables
from benchmarks.train.arithmetic import products, tweets_seen
from benchmarks.train.growth import Size, grown
from benchmarks.train.job import Job
from benchmarks.train.programs import Machine, Program, adapter, lacking, programs, run, trial
from pipeline import cli
from pipeline.artifacts import PreparedDataset, dump_json, provenance, write_text
from pipeline.errors import PipelineError

log = logging.getLogger("pipeline.benchmarks.train")

_SAMPLE = "data/sample/btc_tweets.csv"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "numpy")
_YARDSTICK, _SCORES = "benchmarks.train.yardstick", "benchmarks.train.scores"


@dataclass(frozen=True)
class TrainBenchmarkConfig:
    """What to measure, and how long."""

    dataset: str | None = None
    """Folder written by pipeline.prepare; without one, the sample that comes with the project."""
    base_model: str = "smollm2-135m"
    """Base model, as in pipeline.train; one of the LLaMA family."""
    programs: list[str] = field(default_factory=lambda: ["tutorial", "trl", "llamafactory", "ours"])
    """What to measure: some of tutorial, trl, llamafactory, ours."""
    python: str | None = None
    """Interpreter of an environment that has trl; this one if not given."""
    llamafactory: str | None = None
    """Interpreter of an environment that has llamafactory; without one it is skipped."""
    steps: int = 74
    """Optimizer steps of each training."""
    rounds: int = 3
    """How often every program trains, in turn; the median counts. Every round has a seed of its own."""
    batch_size: int = 8
    """Tweets per optimizer step."""
    trial_steps: int = 6
    """Steps of a trial of each setting of a program that may be the fastest."""
    threads: int | None = None
    """Threads of each program; as many as there are cores for this process if not given."""
    compare: bool = True
    """Measure the programs side by side."""
    growth: bool = False
    """Measure how the time of this project's training grows, with the number of tweets and with their length."""
    growth_sizes: list[int] = field(default_factory=lambda: [1_000, 4_000, 16_000])
    """Numbers of made-up tweets of usual length."""
    growth_lengths: list[int] = field(default_factory=lambda: [16, 64, 256])
    """Lengths in tokens, each of 1,000 made-up tweets."""
    growth_scale: float = 0.1
    """Passes over the made-up tweets; 1 takes hours."""
    seed: int = 42
    """Seed of the first round."""
    out: str = "benchmarks/results"
    """Folder for the file with the raw results, train-DATE.json."""


def benchmark(config: TrainBenchmarkConfig) -> Path:
    """Measures what tuning costs, and prints Markdown tables.

    The same LoRA adapter is trained on the same tweets by other programs and by this one, in turn, each in a process of
    its own; then all adapters are decoded and scored alike. Run it alone: the machine's load at the start stands in the
    output. Takes one to two hours on two cores.
    """
    _check(config)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"train-{datetime.now(UTC):%Y-%m-%d-%H%M}.json"
    # Paths are the user's own; the command stands in the provenance.
    paths = ("dataset", "python", "llamafactory", "out")
    record: dict[str, Any] = {"config": {key: value for key, value in asdict(config).items() if key not in paths}}
    print(*machine(_PACKAGES), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for line in _measured(config, Path(name), record):
            record["provenance"] = provenance()
            write_text(path, dump_json(record))  # hours of measuring should not be lost
            if line is not None:
                print(line, flush=True)
    return path


def _check(config: TrainBenchmarkConfig) -> None:
    turns.refuse_unknown(config.programs, programs("", None))
    numbers = (config.steps, config.rounds, config.batch_size, config.trial_steps, config.growth_scale)
    if min(*numbers, *config.growth_sizes, *config.growth_lengths, config.threads or 1) <= 0:
        raise PipelineError("--steps, --rounds, --batch_size, --trial_steps, --threads, --growth_...: expected above 0")
    if config.batch_size % _micro(config):
        raise PipelineError(f"--batch_size: expected a multiple of 4, or less than 4; got {config.batch_size}")


def _micro(config: TrainBenchmarkConfig) -> int:
    return min(4, config.batch_size)  # the tutorial's


def _measured(config: TrainBenchmarkConfig, scratch: Path, record: dict[str, Any]) -> Iterator[str | None]:
    """Lines of the tables; None where there is only something new in the record."""
    variables = environment(scratch, config.threads)
    dataset = config.dataset or str(scratch / "prepared")
    if config.dataset is None:
        prepare = [sys.executable, "-m", "pipeline.prepare", "--source", _SAMPLE, "--out", dataset]
        spawn(prepare, scratch, variables)
    record["dataset"] = PreparedDataset.load(dataset).sha256
    job = Job(
        model="",
        dataset=str(Path(dataset).absolute()),
        out=str(scratch / "run"),
        steps=config.steps,
        batch_size=config.batch_size,
        micro_batch_size=_micro(config),
        learning_rate=5e-4,
        warmup_steps=round(0.06 * config.steps),
        seed=config.seed,
        max_length=256,
        rank=16,
        alpha=32,
    )
    order = {
        "base_model": config.base_model,
        "dataset": job.dataset,
        "max_length": job.max_length,
        "rank": job.rank,
    }
    found, _ = ask(sys.executable, _YARDSTICK, order, scratch, variables)
    job = replace(job, model=found["model"])
    offline = {**variables, "HF_HUB_OFFLINE": "1"}  # everything is there by now
    place = Machine(scratch, offline, config.base_model, found["model"], found["end"])
    record |= {key: found[key] for key in ("fingerprint", "decoder", "rows", "tokens", "work")}
    record["job"] = {key: value for key, value in asdict(job).items() if key not in ("model", "dataset", "out")}
    record["rounds_asked"] = config.rounds
    if config.compare:
        yield from _compared(config, job, place, record)
    if config.growth:
        yield from _growth(config, job, place, record)


def _compared(config: TrainBenchmarkConfig, job: Job, place: Machine, record: dict[str, Any]) -> Iterator[str | None]:
    known = programs(config.python or sys.executable, config.llamafactory)
    where = (place.scratch, place.environment)
    chosen = turns.chosen(config.programs, known, lambda program: lacking(program, place), *where, record)
    record["rates"] = {"before": _rates(config, place, record)}
    yield None

    def tried(name: str, program: Program) -> tuple[Settings, list[dict[str, Any]]]:
        short = replace(job, steps=config.trial_steps, warmup_steps=0, out=f"{job.out}-trial-{name}")
        return trial(program, short, place)

    yield from turns.settle(chosen, tried, record, log)
    adapters: dict[str, list[str]] = {name: [] for name in chosen}
    for number, name in turns.in_turn(list(chosen), config.rounds):
        settings = record["settings"][name]
        its = replace(job, seed=job.seed + number, out=f"{job.out}-{name}-{number}", settings=settings)
        record["rounds"][name].append(_round(chosen[name], its, place, record))
        adapters[name].append(str(adapter(chosen[name], its)))
        yield None
    record["rates"]["after"] = _rates(config, place, record)
    record["machine_rates"] = rates.machine_rates(record["rates"])
    yield None
    order = {
        "base_model": config.base_model,
        "dataset": job.dataset,
        "max_length": job.max_length,
        "adapters": adapters,
        "candidate": tables.OURS,
    }
    record["scores"], _ = ask(sys.executable, _SCORES, order, place.scratch, place.environment)
    for table in (tables.notes, tables.compared, tables.paired):
        yield ""
        yield from table(record)
    yield ""
    yield from rates.table(record["rates"], "times a step")


def _rates(config: TrainBenchmarkConfig, place: Machine, record: dict[str, Any]) -> dict[str, Any]:
    """What the machine multiplies: the products of a step."""
    decoder, tokens = Decoder(**record["decoder"]), record["tokens"]
    places = round(config.batch_size * tokens["completion"])
    read = tokens["scaffold"] + config.batch_size * (tokens["prompt"] + tokens["completion"] - 1)
    return rates.measured(products(decoder, round(read), places), place.scratch, place.environment)


def _round(program: Program, job: Job, place: Machine, record: dict[str, Any]) -> dict[str, Any]:
    outcome = run(program, job, place)
    seen = tweets_seen(record["rows"], job.batch_size, job.steps)
    useful = job.steps * record["work"]["scaffold"] + seen * record["work"]["tweet"]
    log.info("%s, seed %d: %.2f tweets/s, loss %.3f", program.name, job.seed, seen / outcome.seconds, outcome.loss)
    return {
        "seed": job.seed,
        "tweets": seen,
        "seconds": outcome.seconds,
        "tweets_per_second": seen / outcome.seconds,
        "useful_flops_per_second": useful / outcome.seconds,
        "loss": outcome.loss,
        "losses": outcome.losses,
        **asdict(outcome.spent),
        **outcome.details,
    }


def _growth(config: TrainBenchmarkConfig, job: Job, place: Machine, record: dict[str, Any]) -> Iterator[str | None]:
    ours = programs(sys.executable, None)[tables.OURS]
    sizes = [*map(Size, config.growth_sizes), *(Size(1_000, tokens) for tokens in config.growth_lengths)]
    record["growth"] = []
    for line in grown(ours, sizes, config.growth_scale, replace(job, out=str(place.scratch / "growth")), place):
        record["growth"].append(line)
        log.info("%s tweets of %.0f tokens: %.1f s", f"{line['tweets']:,}", line["tokens"], line["seconds"])
        yield None
    yield ""
    yield from tables.growth(record["growth"])


if __name__ == "__main__":
    cli.run(
        TrainBenchmarkConfig,
        benchmark,
        None,
        name="python -m benchmarks.train",
        example="python -m benchmarks.train --llamafactory ../lf/bin/python --steps 30 --rounds 2",
    )
