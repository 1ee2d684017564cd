"""The table of the reference reports: ``reports/README.md``, from the ``metrics.json`` of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline import cli
from pipeline.artifacts import write_text
from pipeline.errors import PipelineError

README = Path("reports/README.md")
_BEGIN, _END = "<!-- made by python -m benchmarks.reference -->", "<!-- end -->"
_LEVELS = {"better": "better than every baseline", "mixed": "no clear win", "worse": "worse than a baseline"}


@dataclass(frozen=True)
class ReferenceConfig:
    """Which reports to list."""

    reports: list[str]
    """Report folders, each with a metrics.json."""
    out: str = str(README)
    """Markdown file with the two marks between which the table stands."""


def reference(config: ReferenceConfig) -> Path:
    """Writes the table of reports into a Markdown file, in place of the one that is there."""
    path = Path(config.out)
    text = path.read_text(encoding="utf-8")
    if text.count(_BEGIN) != 1 or text.count(_END) != 1:
        raise PipelineError(f"{path}: expected the lines {_BEGIN} and {_END} once each, and the table between them")
    before, rest = text.split(_BEGIN)
    write_text(
        path, f"{before}{_BEGIN}\n{table([Path(folder) for folder in config.reports])}{_END}{rest.split(_END)[1]}"
    )
    return path


def table(folders: Sequence[Path]) -> str:
    """A Markdown table with a line for each report."""
    lines = [
        "| report | test tweets | judged | macro-F1 | strongest other | verdict | said first |",
        "|---|--:|---|---|---|---|---|",
    ]
    for folder in folders:
        lines.append(_line(folder.name, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))))
    return "\n".join(lines) + "\n"


def _line(name: str, metrics: Mapping[str, Any]) -> str:
    from pipeline.scoring.verdict import name_of

    systems, candidate = metrics["systems"], metrics["candidate"]
    strongest = max((s for s in systems if s != candidate), key=lambda s: systems[s]["macro_f1"]["value"])
    cells = [
        f"[{name}]({name}/report.html)",
        f"{metrics['rows']['n']:,}",
        name_of(candidate),
        _estimate(systems[candidate]["macro_f1"]),
        f"{name_of(strongest)} {_estimate(systems[strongest]['macro_f1'])}",
        _LEVELS[metrics["verdict_level"]],
        ", ".join(kind.replace("_", " ") for kind in metrics["data_alarms"]) or "–",
    ]
    return f"| {' | '.join(cells)} |"


def _estimate(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        ReferenceConfig,
        reference,
        argv,
        name="python -m benchmarks.reference",
        example="python -m benchmarks.reference --reports reports/*/",
    )


if __name__ == "__main__":
    main()
