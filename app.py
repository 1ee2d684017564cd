"""The demo: type a tweet, see what a tuned model makes of it, beside the same model untuned and TF-IDF.

``python app.py --run data/runs/sample``. What is shown and how it is served is in ``pipeline/demo``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from pipeline import cli
from pipeline.errors import PipelineError

_SECTIONS = {"port": "Where, and for whom", "precision": "How to compute"}


@dataclass(frozen=True)
class AppConfig:
    """What to show, and to whom."""

    run: list[str]
    """Folders written by pipeline.train, or folders that hold such folders, to choose from on the page."""
    report: list[str] = field(default_factory=list)
    """Folders written by pipeline.evaluate for these runs; if none are given, those under reports/ are looked at."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on; the default answers this machine only."""
    hosts: list[str] = field(default_factory=list)
    """Names under which it is reached, such as demo.example.org; requests for others are refused."""
    auth: str | None = None
    """File that holds user:password, or env:NAME for a variable of the environment; if not given, everybody may."""
    share: bool = False
    """Serve it to the internet through Gradio's tunnel; with --auth."""
    mcp: bool = False
    """Offer it to language models as a tool, too."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""


def serve(config: AppConfig) -> Path | None:
    """Opens a page on which tweets can be typed and classified.

    Shows the label, its probability and the raw completion, which words carried it, and what the same model untuned
    and TF-IDF say; labels a file; shows the report on the run. Stop it with Ctrl-C.
    """
    if not 0 <= config.port <= 65535:
        raise PipelineError(f"--port: expected a number from 0 to 65535, got {config.port}")
    for name in config.hosts:
        if not re.fullmatch(r"[\w.-]+", name):
            raise PipelineError(
                f"--hosts: expected names such as demo.example.org, without https:// or port, got {name}"
            )
    if config.share and config.auth is None:
        raise PipelineError("--share: expected --auth with it; the link leads to this machine from everywhere")
    from pipeline.demo import serving
    from pipeline.demo.evaluations import find_reports
    from pipeline.demo.shelf import Shelf, find_runs

    if config.mcp:
        serving.check_mcp()
    password = serving.password_of(config.auth)
    runs = find_runs(config.run)
    reports = find_reports(runs, config.report)
    port = serving.free_port(config.host, config.port)
    shelf = Shelf(runs, precision=config.precision, device=config.device)
    serving.serve(shelf, reports, serving.Place(config.host, port, config.hosts, password, config.share, config.mcp))
    return None


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    example = "python app.py --run data/runs/sample"
    cli.run(AppConfig, serve, argv, name="python app.py", example=example, sections=_SECTIONS)


if __name__ == "__main__":
    main()
