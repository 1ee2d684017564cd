"""A command line that exists in tests only, and that of pipeline.train."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import cli
from pipeline.train import TrainConfig

TRAIN = ["--dataset", "d", "--out", "o"]


@dataclass(frozen=True)
class Inner:
    """Nested options."""

    r: int = 8
    """Rank."""


@dataclass(frozen=True)
class Options:
    """Options of a command that exists in this test only."""

    out: str
    """Where to."""
    rate: float = 0.1
    """How fast."""
    inner: Inner = field(default_factory=Inner)
    """More."""


def run_cli(
    argv: list[str], command: Callable[[Any], Path | None] = lambda config: None, config_class: type = Options
) -> int | str | None:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.run(config_class, command, argv, name="trial", example="trial --out x")
    return caught.value.code


def parsed(argv: list[str], *, preset: str | None = "cpu") -> TrainConfig:
    return cli._parse(TrainConfig, "", argv, name="trial", example="", preset=preset)
