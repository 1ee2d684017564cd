"""What an evaluation leaves beside what it read: the data set learns who was scored on it, the run how sure it is.

Both are files of their own that no manifest names; what was there before stays as it was.
"""

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import MANIFEST, Report, Run, dump_json, dump_jsonl, provenance, without_home, write_text

LOOKS = "evaluations.jsonl"
CALIBRATION = "calibration.json"

log = logging.getLogger("pipeline.evaluate")


def looks_at(folder: Path, systems: Sequence[str], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How often the test rows were evaluated before, as far as it was noted, and for how many other systems.

    Choosing among systems by their scores on the same rows flatters the one that is chosen; only a count shows it.

    Args:
        folder: of the prepared data.
        systems: who is evaluated now, as sha256 of a run's manifest or of a file of answers.
        before: what was counted when the rows that are scored again were first scored.
    """
    noted = []
    with contextlib.suppress(OSError):
        for line in (folder / LOOKS).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that a crash has cut
                noted.append([str(system) for system in json.loads(line)["systems"]])
    now = {*systems, *(before or {}).get("systems", ())}
    others = {system for look in noted for system in look} - now
    return {"systems": sorted(now), "before": len(noted), "other_systems": len(others)}


def note_look(lineage: Mapping[str, Any], report: Path) -> None:
    """Adds this evaluation to the count beside the test rows, if they are still there."""
    path = Path(lineage["parents"].get("test_split", {}).get("path", "")).expanduser().with_name(LOOKS)
    if not (path.parent / MANIFEST).is_file():
        return
    entry = {
        "systems": lineage["looks"]["systems"],
        "report": without_home(str(report)),
        "at": provenance()["created_at"],
    }
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(dump_jsonl([entry]))
    except OSError as error:
        log.warning("%s: this evaluation could not be noted, so the next will not count it; %s", path, error.strerror)


def keep_calibration(run: Run, metrics: Mapping[str, Any], report: Path) -> None:
    """Writes ``calibration.json`` beside the adapter: temperature and threshold, from validation rows alone.

    One from an evaluation before is replaced. A value is null where the validation rows did not settle it.
    """
    found = metrics["confidence"]
    temperature, recommended = found["temperature"], found["selective"]["recommended"]
    content = {
        "temperature": temperature and temperature["fitted"],
        "threshold": recommended and recommended["threshold"],
        "target_accuracy": recommended and recommended["target"],
        "validation_rows": temperature and temperature["n_validation"],
        "report": {"path": without_home(str(report)), "sha256": Report.load(report).sha256},
    }
    try:
        write_text(run.folder / CALIBRATION, dump_json(content))
    except OSError as error:
        log.info("%s: temperature and threshold could not be kept there; %s", run.folder, error.strerror)


def threshold_of(run: Run) -> float | None:
    """The probability below which the run's answers are better withheld; None where no evaluation settled one."""
    try:
        found = json.loads((run.folder / CALIBRATION).read_text(encoding="utf-8"))["threshold"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(found) if isinstance(found, int | float) else None
