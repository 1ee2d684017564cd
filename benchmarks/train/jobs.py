"""What a program is asked to do, and how a process is asked and answers: JSON in a file, JSON on stdout."""

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "datasets", "llamafactory")
_TAIL = 600  # characters of a failed program's last words


@dataclass(frozen=True)
class Job:
    """One training, the same for every program.

    ``model`` is a folder that transformers can load, ``dataset`` a prepared folder, ``out`` the folder for the adapter.
    The learning rate of AdamW rises over ``warmup_steps`` and falls linearly to 0. LoRA is on all linear layers but the
    output layer, without dropout. ``micro_batch_size`` is for the program that splits its batches. ``settings`` are the
    program's own, those that may differ.
    """

    model: str
    dataset: str
    out: str
    steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    warmup_steps: int
    seed: int
    max_length: int
    rank: int
    alpha: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def logging_steps(self) -> int:
        """After how many steps a program says its loss; the last one is a mean over about a tenth of the steps."""
        return max(1, self.steps // 10)


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds by the clock and of its threads, and the most memory it and its children held."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def serve(work: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """The body of a process that does one piece of work: reads it from the file named on the command line.

    stdout is for the answer alone; whatever a library prints there goes to stderr.
    """
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        answer = work(order)
    print(json.dumps({**answer, "packages": versions()}))


def versions() -> dict[str, str]:
    """Versions of the packages that training depends on, in this process's environment."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def spawn(command: Sequence[str], scratch: Path, environment: Mapping[str, str]) -> tuple[str, Spent]:
    """Runs a command to its end, from the project's folder; gives what it printed on stdout and what it took.

    This process must be a small one: on Linux a process starts with the peak memory of the one that made it.

    Raises:
        PipelineError: the command failed; the message ends with its last words.
    """
    answer, log = scratch / "stdout", scratch / "stderr"
    root = Path(__file__).resolve().parents[2]
    with answer.open("wb") as out, log.open("wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=root, stdout=out, stderr=err, env=dict(environment))
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - start
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code != 0:
        words = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
        raise PipelineError(f"{' '.join(command)}: failed with code {code}; it says: ...{words[-_TAIL:]}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return answer.read_text(encoding="utf-8"), Spent(wall, used.ru_utime + used.ru_stime, peak)


def ask(
    python: str, module: str, order: Mapping[str, Any], scratch: Path, environment: Mapping[str, str]
) -> tuple[dict[str, Any], Spent]:
    """Has ``module`` do a piece of work in a process of its own, whose body is ``serve``."""
    path = scratch / "order.json"
    path.write_text(json.dumps(order), encoding="utf-8")
    text, spent = spawn([python, "-m", module, str(path)], scratch, environment)
    answer: dict[str, Any] = json.loads(text)
    return answer, spent
