"""The command ``python -m benchmarks.classify``: what a label costs, beside other programs and by number and length."""

import logging
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import rates, turns
from benchmarks.classify import tables
from benchmarks.classify.arithmetic import products
from benchmarks.classify.programs import OURS, Program, lacking, programs, spread
from benchmarks.decoder import Decoder
from benchmarks.jobs import Settings, ask, environment, fastest, spawn
from benchmarks.prepare import machine
from benchmarks.tweets import counter, of_length
from pipeline import cli
from pipeline.artifacts import PreparedDataset, Run, dump_json, provenance, write_text
from pipeline.errors import PipelineError
from pipeline.task import Task

log = logging.getLogger("pipeline.benchmarks.classify")

_SAMPLE = "data/sample/btc_tweets.csv"
_PACKAGES = ("torch", "transformers", "peft", "numpy")
_SUBJECT, _LABELLING = "benchmarks.classify.subject", "benchmarks.classify.labelling"
_STEPS = 60  # of a training that is only there to have an adapter
_USUAL = 32  # tokens of a made-up tweet
_ROOM = 128  # tokens for the scaffold, the labels and a little more


@dataclass(frozen=True)
class ClassifyBenchmarkConfig:
    """What to measure, and how long."""

    run: str | None = None
    """Folder written by pipeline.train; without one, a short training makes one."""
    dataset: str | None = None
    """Folder written by pipeline.prepare, whose test split is labelled; without one, the sample of the project."""
    programs: list[str] = field(
        default_factory=lambda: ["tutorial", "generate", "harness", "llamacpp", "vllm", "ours-fp32", "ours"]
    )
    """What to measure: some of tutorial, generate, harness, llamacpp, vllm, ours-fp32, ours."""
    harness: str | None = None
    """Interpreter of an environment that has lm_eval; without one it is skipped."""
    llamacpp: str | None = None
    """Interpreter of an environment that has llama-cpp-python or xllamacpp; without one it is skipped."""
    gguf: str | None = None
    """File of the run's merged model for llama.cpp."""
    vllm: str | None = None
    """Interpreter of an environment that has vLLM for a CPU; without one it is skipped."""
    tweets: int = 512
    """Tweets to label, or all of the test split if it has fewer."""
    slow_tweets: int = 32
    """Tweets of these for the tutorial's way."""
    trial_tweets: int = 64
    """Tweets of a trial of each setting of a program that may be the fastest."""
    rounds: int = 3
    """How often every program labels the tweets, in turn; the median counts."""
    threads: int | None = None
    """Threads of each program; as many as there are cores for this process if not given."""
    batch_tokens: int = 2048
    """Tokens of a batch on whose products the machine's rate is measured."""
    compare: bool = True
    """Measure the programs side by side."""
    growth: bool = False
    """Measure how the time of this project's decoding grows, with the number of tweets and with their length."""
    growth_sizes: list[int] = field(default_factory=lambda: [250, 1_000, 4_000])
    """Numbers of made-up tweets of 32 tokens."""
    growth_lengths: list[int] = field(default_factory=lambda: [16, 64, 256])
    """Lengths in tokens, each of 1,000 made-up tweets."""
    seed: int = 42
    """Seed of the made-up tweets."""
    out: str = "benchmarks/results"
    """Folder for the file with the raw results, classify-DATE.json."""


def benchmark(config: ClassifyBenchmarkConfig) -> Path:
    """Measures what a label costs, and prints Markdown tables.

    The same tuned model labels the same tweets by other programs and by this one, in turn, each in a process of its
    own. Run it alone: the machine's load at the start stands in the output. Takes about an hour on two cores.
    """
    _check(config)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"classify-{datetime.now(UTC):%Y-%m-%d-%H%M}.json"
    # Paths are the user's own; the command stands in the provenance.
    paths = ("run", "dataset", "harness", "llamacpp", "gguf", "vllm", "out")
    record: dict[str, Any] = {"config": {key: value for key, value in asdict(config).items() if key not in paths}}
    print(*machine(_PACKAGES), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for line in _Measurement(config, Path(name), record).lines():
            record["provenance"] = provenance()
            write_text(path, dump_json(record))  # an hour of measuring should not be lost
            if line is not None:
                print(line, flush=True)
    return path


def _check(config: ClassifyBenchmarkConfig) -> None:
    turns.refuse_unknown(config.programs, programs(None, None, None))
    numbers = (config.tweets, config.slow_tweets, config.trial_tweets, config.rounds, config.batch_tokens)
    if min(*numbers, *config.growth_sizes, *config.growth_lengths, config.threads or 1) <= 0:
        raise PipelineError(
            "--tweets, --slow_tweets, --trial_tweets, --rounds, --threads, --batch_tokens, --growth_...: "
            "expected above 0"
        )
    if config.run is not None and config.dataset is None:
        raise PipelineError("--run: expected --dataset too, the folder whose test tweets it is to label")


class _Measurement:
    """One benchmark, from its config to the lines of the tables; ``record`` is filled on the way."""

    def __init__(self, config: ClassifyBenchmarkConfig, scratch: Path, record: dict[str, Any]) -> None:
        self.config = config
        self.scratch = scratch
        self.record = record
        self.environment = environment(scratch, config.threads)
        self.order: dict[str, Any] = {}  # what every program is asked
        self.task = Task()

    def lines(self) -> Iterator[str | None]:
        """Lines of the tables; None where there is only something new in the record."""
        self._subject()
        self.environment["HF_HUB_OFFLINE"] = "1"  # everything is there by now
        if self.config.compare:
            yield from self._compared()
        if self.config.growth:
            yield from self._growth()

    def _subject(self) -> None:
        """The run, the tweets, and what all programs are given of them."""
        config, scratch = self.config, self.scratch
        dataset = config.dataset or str(scratch / "prepared")
        run = config.run or str(scratch / "run")
        python = [sys.executable, "-m"]
        if config.dataset is None:
            prepare = [*python, "pipeline.prepare", "--source", _SAMPLE, "--out", dataset]
            spawn(prepare, scratch, self.environment)
        if config.run is None:
            log.info("no --run: one is trained for %d steps", _STEPS)
            train = [*python, "pipeline.train", "--dataset", str(Path(dataset).absolute()), "--out", run]
            spawn([*train, f"--max_steps={_STEPS}", "--evaluations=1"], scratch, self.environment)
        places = {"run": str(Path(run).absolute()), "merged": str(scratch / "merged")}
        order = {**places, "dataset": str(Path(dataset).absolute()), "tweets": config.tweets}
        found, _ = ask(sys.executable, _SUBJECT, order, scratch, self.environment)
        self.task = Task.from_json(found["task"])
        self.order = {
            **{key: found[key] for key in ("model", "adapter", "texts", "prompts", "longest", "context")},
            **places,
            "gguf": config.gguf and str(Path(config.gguf).absolute()),
            "labels": self.task.labels,
        }
        self.record |= {key: found[key] for key in ("base_model", "ids", "decoder", "tokens", "work")}
        self.record |= {"run": Run.load(run).sha256, "dataset": PreparedDataset.load(dataset).sha256}

    def _compared(self) -> Iterator[str | None]:
        config, record, where = self.config, self.record, (self.scratch, self.environment)
        known = programs(config.harness, config.llamacpp, config.vllm)
        chosen = turns.chosen(config.programs, known, lambda it: lacking(it, config.gguf, *where), *where, record)
        record["rates"] = {"before": self._rates()}
        yield None
        yield from turns.settle(chosen, lambda _, it: fastest(it.variants, partial(self._trial, it)), record, log)
        for _, name in turns.in_turn(list(chosen), config.rounds):
            record["rounds"][name].append(self._round(chosen[name]))
            yield None
        record["rates"]["after"] = self._rates()
        record["machine_rates"] = rates.machine_rates(record["rates"])
        for table in (tables.notes, tables.compared):
            yield ""
            yield from table(record)
        yield ""
        yield from rates.table(record["rates"], "times a batch")

    def _rates(self) -> dict[str, Any]:
        """What the machine multiplies: the products of a batch."""
        tokens, decoder = self.record["tokens"], Decoder(**self.record["decoder"])
        rows = max(1, round(self.config.batch_tokens / (tokens["prompt"] + tokens["tree"])))
        counted = products(decoder, self.config.batch_tokens, rows * tokens["places"])
        return rates.measured(counted, self.scratch, self.environment)

    def _trial(self, program: Program, settings: Settings, _name: str) -> float:
        answer, _ = self._label(program, settings, spread(len(self.order["texts"]), self.config.trial_tweets))
        return float(answer["seconds"])

    def _round(self, program: Program) -> dict[str, Any]:
        n, settings = len(self.order["texts"]), self.record["settings"][program.name]
        tweets = spread(n, self.config.slow_tweets if program.slow else n)
        _, first = self._label(program, settings, tweets[:1])
        answer, spent = self._label(program, settings, tweets)
        work = self.record["work"]
        useful = work["scaffold"] + sum(work["tweets"][i] for i in tweets)
        seconds, written = answer["seconds"], answer.get("written")
        log.info("%s: %.2f tweets/s, first label after %.1f s", program.name, len(tweets) / seconds, first.wall_seconds)
        return {
            "tweets": tweets,
            "seconds": seconds,
            "tweets_per_second": len(tweets) / seconds,
            "useful_flops_per_second": useful / seconds,
            "startup_seconds": first.wall_seconds,
            # Completions are not kept: a model may repeat the tweet.
            "written": written and [self.task.parse(each) for each in written],
            "ranked": answer.get("ranked"),
            **asdict(spent),
        }

    def _label(self, program: Program, settings: Settings, tweets: Sequence[int]) -> Any:
        """What a program makes of some of the tweets, and what its process took."""
        some = {key: [self.order[key][i] for i in tweets] for key in ("texts", "prompts")}
        order = {**self.order, **some, "program": program.name, "settings": settings}
        return ask(str(program.python), _LABELLING, order, self.scratch, self.environment)

    def _growth(self) -> Iterator[str | None]:
        config, record = self.config, self.record
        ours = programs(None, None, None)[OURS]
        count = counter(Path(self.order["model"]))
        record["growth"] = []
        sizes = [*((rows, _USUAL) for rows in config.growth_sizes), *((1_000, each) for each in config.growth_lengths)]
        for rows, tokens in sizes:
            rng = random.Random(config.seed)  # noqa: S311 (nothing secret)
            texts = [of_length(rng, tokens, count) for _ in range(rows)]
            order = {
                **self.order,
                "texts": texts,
                "prompts": [],
                "program": OURS,
                "settings": ours.variants[0],
                "max_length": max(each for _, each in sizes) + _ROOM,
            }
            answer, spent = ask(sys.executable, _LABELLING, order, self.scratch, self.environment)
            tokens_a_tweet = statistics.mean(len(count(text)) for text in texts)
            line = {"tweets": rows, "tokens": tokens_a_tweet, "seconds": answer["seconds"], **asdict(spent)}
            record["growth"].append(line)
            log.info("%s tweets of %.0f tokens: %.1f s", f"{rows:,}", tokens_a_tweet, line["seconds"])
            yield None
        yield ""
        yield from tables.growth(record["growth"])


if __name__ == "__main__":
    cli.run(
        ClassifyBenchmarkConfig,
        benchmark,
        None,
        name="python -m benchmarks.classify",
        example="python -m benchmarks.classify --harness ../lm/bin/python --tweets 128 --rounds 2",
    )
