"""How the cost of this project's training grows: with the number of tweets, and with their length."""

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.train.arithmetic import tweets_seen
from benchmarks.train.job import Job
from benchmarks.train.programs import Machine, Program, run
from benchmarks.tweets import counter, of_length, tweets
from pipeline.artifacts import Row, dump_rows, new_folder, write_manifest, write_text
from pipeline.task import SENTIMENT_LABELS, Task

VALIDATION = 16  # tweets: what they cost is not what is measured
_ROOM = 128  # tokens for the scaffold, the label and a little more


@dataclass(frozen=True)
class Size:
    """A made-up data set: number of training tweets, and their length in tokens or None for that of usual ones."""

    tweets: int
    tokens: int | None = None


def grown(
    program: Program, sizes: Sequence[Size], scale: float, job: Job, machine: Machine
) -> Iterator[dict[str, Any]]:
    """Trains on each of the data sets, ``scale`` passes over it, and tells what it took.

    All have the same limit on length, which no tweet reaches.
    """
    count = counter(Path(machine.model))
    longest = max((size.tokens or 0 for size in sizes), default=0)
    for i, size in enumerate(sizes):
        texts = list(made_up(size, count, job.seed))
        folder = machine.scratch / f"grown-{i}"
        write_dataset(folder, texts)
        steps = max(1, round(scale * size.tweets / job.batch_size))
        grown_job = replace(
            job,
            dataset=str(folder),
            out=f"{folder}-run",
            steps=steps,
            warmup_steps=round(job.warmup_steps / job.steps * steps),
            max_length=max(job.max_length, longest + _ROOM),
        )
        outcome = run(program, grown_job, machine)
        seen = tweets_seen(size.tweets, job.batch_size, steps)
        yield {
            "tweets": size.tweets,
            "tokens": statistics.mean(len(count(text)) for text, _ in texts[: size.tweets]),
            "steps": steps,
            "seconds": outcome.seconds,
            "tweets_per_second": seen / outcome.seconds,
            "wall_seconds": outcome.spent.wall_seconds,
            "peak_bytes": outcome.spent.peak_bytes,
        }


def made_up(size: Size, count: Callable[[str], list[int]], seed: int) -> Iterator[tuple[str, str]]:
    """Made-up tweets with labels, first those to train on and then those to validate on."""
    labels = {label.lower(): label for label in SENTIMENT_LABELS}
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    for text, label in tweets(size.tweets + VALIDATION, seed):
        yield text if size.tokens is None else of_length(rng, size.tokens, count), labels[label]


def write_dataset(folder: Path, texts: Sequence[tuple[str, str]]) -> None:
    """A prepared folder of these texts and labels, the last few for validation."""
    task = Task()
    rows = [Row(str(i + 1), task.instruction, text, label, i) for i, (text, label) in enumerate(texts)]
    splits = {"train": rows[:-VALIDATION], "val": rows[-VALIDATION:], "test": []}
    with new_folder(folder) as staging:
        for name, split in splits.items():
            write_text(staging / f"{name}.json", dump_rows(row.to_json() for row in split))
        write_manifest(staging, "prepared", task, {})
