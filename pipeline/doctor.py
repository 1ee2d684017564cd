"""The command ``python -m pipeline.doctor``: what a person needs to know when something is wrong, in one screen."""

import importlib.metadata
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline import cli
from pipeline.artifacts import processor_name, provenance


@dataclass(frozen=True)
class DoctorConfig:
    """No options: it looks at everything."""


def examine(config: DoctorConfig) -> Path | None:
    """Shows what this machine has and what is missing: device, numbers, memory, versions, base model.

    Loads no model and changes nothing. Put its output into a bug report.
    """
    for name, finding in findings():
        print(f"{name:<14}{finding}")
    return None


def findings() -> list[tuple[str, str]]:
    """What was found, as (subject, one line)."""
    facts = provenance()
    lines = [
        ("python", f"{facts['python']} at {sys.executable}"),
        ("platform", str(facts["platform"])),
        ("processor", processor_name()),
    ]
    try:
        from pipeline.model.machine import describe_machine

        lines += describe_machine()
    except (ImportError, OSError, RuntimeError) as error:
        lines.append(("model stage", f"MISSING: {error}; run make test, or pip install -e ."))
    lines += [
        ("disk", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here"),
        ("versions", _versions()),
        ("browser tests", shutil.which("chromium") or "chromium not found; they are skipped"),
    ]
    return lines


def _versions() -> str:
    """Every direct dependency with its version, or MISSING; of the optional ones those that are there."""
    try:
        wanted = importlib.metadata.requires("sentiment-tuner") or []
    except importlib.metadata.PackageNotFoundError:
        return "MISSING: sentiment-tuner is not installed; run make test, or pip install -e ."
    found = []
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement).group()  # type: ignore[union-attr]
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            if "extra ==" not in requirement:
                found.append(f"{name} MISSING")
    return ", ".join(found)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(DoctorConfig, examine, argv, name="python -m pipeline.doctor", example="python -m pipeline.doctor")


if __name__ == "__main__":
    main()
