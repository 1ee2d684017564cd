"""What an evaluation leaves beside what it read: the data set learns who was scored on it, the run how sure it is.

Both are files of their own that no manifest names; what was there before stays as it was.
"""

import contextlib
import json
import logging
import math
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
    """Writes ``calibration.json`` beside the adapter: temperature, threshold and offsets, from validation rows alone.

    One from an evaluation before is replaced. A value is null where the validation rows did not settle it.
    """
    found = metrics["confidence"]
    temperature, recommended = found["temperature"], found["selective"]["recommended"]
    adjustment = (metrics.get("adjustment") or {}).get("fitted")
    content = {
        "temperature": temperature and temperature["fitted"],
        "threshold": recommended and recommended["threshold"],
        "target_accuracy": recommended and recommended["target"],
        "adjustment": adjustment and {key: adjustment[key] for key in ("tau", "offsets")},
        "validation_rows": temperature and temperature["n_validation"],
        "report": {"path": without_home(str(report)), "sha256": Report.load(report).sha256},
    }
    try:
        write_text(run.folder / CALIBRATION, dump_json(content))
    except OSError as error:
        log.info("%s: temperature, threshold and offsets could not be kept there; %s", run.folder, error.strerror)


def threshold_of(run: Run) -> float | None:
    """The probability below which the run's answers are better withheld; None where no evaluation settled one."""
    found = _kept(run, "threshold")
    return float(found) if isinstance(found, int | float) else None


def why_no_threshold(run: Run) -> str:
    """In half a sentence, why ``threshold_of`` gives None."""
    if not (run.folder / CALIBRATION).is_file():
        return "this run has not been evaluated; pipeline.evaluate looks for one"
    target = _kept(run, "target_accuracy")
    if _finite(target):
        return f"its last evaluation found no threshold at which it is surely {100 * target:g} % right"
    return "its last evaluation left none"


def offsets_of(run: Run) -> dict[str, float]:
    """Label -> what the run's last evaluation found worth adding to its log-likelihood; 0 where it found nothing."""
    found = _kept(run, "adjustment")
    offsets = found.get("offsets") if isinstance(found, dict) else None
    labels = run.task.labels
    if not isinstance(offsets, dict) or not all(_finite(offsets.get(label)) for label in labels):
        return dict.fromkeys(labels, 0.0)
    return {label: float(offsets[label]) for label in labels}


def adjusted_label(log_likelihoods: Mapping[str, float], offsets: Mapping[str, float]) -> str:
    """The answer to a tweet with the offsets of a run: the likeliest label once they are added, the first of equals.

    Temperature and threshold of the run were fitted without offsets: what they say holds for answers without.

    Args:
        log_likelihoods: label -> natural logarithm of its probability, in the order of the task.
        offsets: of ``offsets_of``.
    """
    return max(log_likelihoods, key=lambda label: log_likelihoods[label] + offsets[label])


def _kept(run: Run, key: str) -> Any:
    """What the run's last evaluation kept under ``key``; None without one, or where its file is damaged."""
    try:
        return json.loads((run.folder / CALIBRATION).read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
