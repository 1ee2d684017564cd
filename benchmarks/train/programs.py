"""The programs that are measured, and how each is given the same job."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.jobs import Settings, Spent, ask, fastest, packages, spawn
from benchmarks.train import factory
from benchmarks.train.job import Job
from pipeline.artifacts import TRAINING_LOG, Run, read_jsonl
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Program:
    """A program in an environment of its own.

    ``package`` is what must be installed for it; ``variants`` are settings that may be faster or slower on a machine:
    a trial finds the fastest. ``python`` is None where the user has not named an interpreter.
    """

    name: str
    package: str
    python: str | None
    variants: Sequence[Settings] = ({},)


@dataclass(frozen=True)
class Outcome:
    """A program's training: seconds in its loop, losses as ``[[step, loss]]``, and what the whole process took."""

    seconds: float
    losses: Sequence[Sequence[float]]
    spent: Spent
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The last loss that it told; what it is a mean over is the program's own matter."""
        return float(self.losses[-1][1])


@dataclass(frozen=True)
class Machine:
    """Where programs run: a folder for what they leave, the variables of their processes, the base model.

    ``model`` is the folder of the base model that the user calls ``base_model``, ``end`` the text that ends an answer.
    """

    scratch: Path
    environment: Mapping[str, str]
    base_model: str
    model: str
    end: str


def programs(trl: str, llamafactory: str | None) -> dict[str, Program]:
    """All programs by name; the interpreters of the others are given, the rest runs in this one."""
    return {
        each.name: each
        for each in (
            Program("tutorial", "transformers", sys.executable),
            Program(
                "trl",
                "trl",
                trl,
                tuple(
                    {"attention": attention, "autocast": autocast, "adapter": adapter, "padding_free": padding_free}
                    for padding_free in (False, True)
                    for autocast, adapter in ((True, "fp32"), (False, "fp32"), (False, "bf16"))
                    for attention in ("sdpa", "eager")
                ),
            ),
            Program("llamafactory", "llamafactory", llamafactory, ({"attention": "sdpa"}, {"attention": "disabled"})),
            Program("ours", "transformers", sys.executable),
        )
    }


def lacking(program: Program, machine: Machine) -> str | None:
    """Why the program cannot run here, or None."""
    if program.python is None:
        return f"no interpreter given with --{program.name}"
    if program.package not in packages(program.python, machine.scratch, machine.environment):
        return f"{program.package} is not installed for {Path(program.python).name}"
    return None


def trial(program: Program, job: Job, machine: Machine) -> tuple[Settings, list[dict[str, Any]]]:
    """The fastest of the program's variants in short trainings, and the seconds of all."""

    def seconds(settings: Settings, name: str) -> float:
        return run(program, replace(job, out=f"{job.out}-{name}", settings=settings), machine).seconds

    return fastest(program.variants, seconds)


def run(program: Program, job: Job, machine: Machine) -> Outcome:
    """Has a program do a job.

    Raises:
        PipelineError: it failed; the message ends with its last words.
    """
    if program.python is None:
        raise PipelineError(f"--{program.name}: expected the interpreter of an environment that has {program.package}")
    if program.name == "ours":
        return _ours(program.python, job, machine)
    if program.name == "llamafactory":
        return _llamafactory(program.python, job, machine)
    module = {"tutorial": "benchmarks.train.tutorial", "trl": "benchmarks.train.sft"}[program.name]
    answer, spent = ask(program.python, module, asdict(job), machine.scratch, machine.environment)
    return Outcome(answer["seconds"], answer["losses"], spent, {"threads": answer["threads"]})


def adapter(program: Program, job: Job) -> Path:
    """Where a program leaves its adapter."""
    return Path(job.out, "adapter") if program.name == "ours" else Path(job.out)


def our_command(job: Job, base_model: str, python: str = sys.executable) -> list[str]:
    """Our command for a job. The validation split is decoded at the end alone; there is nothing to choose."""
    return [
        *(python, "-m", "pipeline.train", "--dataset", job.dataset, "--out", job.out, "--base_model", base_model),
        "--family=alpaca",  # as all are asked
        f"--max_steps={job.steps}",
        "--epochs=1000000",  # the steps decide
        f"--batch_size={job.batch_size}",
        f"--micro_batch_size={job.batch_size}",
        f"--learning_rate={job.learning_rate}",
        f"--warmup={job.warmup_steps / job.steps}",
        f"--max_length={job.max_length}",
        f"--seed={job.seed}",
        f"--lora.r={job.rank}",
        f"--lora.alpha={job.alpha}",
        "--lora.dropout=0.0",
        "--precision=bf16",  # as the others, where it is no hardware's own too
        "--lora.target_modules=[all-linear]",
        "--evaluations=1",
    ]


def _ours(python: str, job: Job, machine: Machine) -> Outcome:
    _, spent = spawn(our_command(job, machine.base_model, python), machine.scratch, machine.environment)
    result = Run.load(job.out).manifest["result"]
    losses = [
        [record["step"], record["loss"]] for record in read_jsonl(Path(job.out, TRAINING_LOG)) if "loss" in record
    ]
    return Outcome(result["training_seconds"], losses, spent, {"result": result})


def _llamafactory(python: str, job: Job, machine: Machine) -> Outcome:
    options = factory.write_files(job, machine.end, machine.scratch)
    _, spent = spawn([python, "-m", "llamafactory.cli", "train", str(options)], machine.scratch, machine.environment)
    found = factory.outcome(job)
    return Outcome(found["seconds"], found["losses"], spent)
