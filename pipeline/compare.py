"""The command ``python -m pipeline.compare``: several reports on the same test rows as one leaderboard."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline import cli
from pipeline.artifacts import Report, provenance, read_json, read_jsonl, refuse_existing
from pipeline.errors import PipelineError
from pipeline.published import read_published
from pipeline.reporting import write_report
from pipeline.systems import UNSAID, Answers, training_lines
from pipeline.train import TrainConfig

# Of a run's config: where things lie, who is told of them, and how it was looked for and kept safe.
_NO_LEVERS = ("out", "dataset", "report_to", "checkpoint_steps", "resume", "search", "search_share")


@dataclass(frozen=True)
class CompareConfig:
    """What to compare."""

    reports: list[str]
    """Folders written by pipeline.evaluate, on the same test rows."""
    out: str
    """Folder to write, such as reports/leaderboard; it must not exist yet."""
    published: str | None = None
    """Results that others report, to set beside these: a YAML file, or tfns or tweeteval, which are there."""
    seed: int = 0
    """Seed of the resampling."""


@dataclass(frozen=True)
class _Entry:
    """A report, the name of its candidate on the leaderboard, its rows by id, and what its metrics say of them."""

    report: Report
    name: str
    candidate: str
    rows: Mapping[str, Mapping[str, Any]]
    macro_f1: float


def compare(config: CompareConfig) -> Path:
    """Ranks the systems of several reports on the same test rows, with paired tests between them.

    What each report judges is compared with the best of them, and so are the baselines; every two of the former are
    held against each other. Reports on other rows are refused. Writes a folder like that of pipeline.evaluate, whose
    page begins with the leaderboard.
    """
    out = refuse_existing(config.out)
    if len(config.reports) < (1 if config.published else 2):
        raise PipelineError(
            f"--reports: expected two folders or more, or one and --published, got {len(config.reports)}"
        )
    published = read_published(config.published) if config.published else None
    if config.seed < 0:
        raise PipelineError(f"--seed: expected 0 or more, got {config.seed}")
    entries = _entries(config.reports)
    first = entries[0]
    for other in entries[1:]:
        _refuse_other_rows(first, other)
    best = max(entries, key=lambda entry: entry.macro_f1)
    predictions = _merged(entries)
    lineage: dict[str, Any] = {
        **UNSAID,
        "title": f"{len(entries)} {'systems' if len(entries) > 1 else 'system'} on {len(predictions):,} test tweets",
        "parents": {entry.name: {"path": str(entry.report.folder), "sha256": entry.report.sha256} for entry in entries},
        "run": {},
        "data": first.report.manifest["data"],
        "decoding": provenance(),
        "candidate": best.name,
        "picked_from": len(entries),
        "text_hidden": not any(row["input"] for row in predictions),
        "seeds": _seeds(entries),
        "levers": _levers(entries),
        "board": {"costs": {entry.name: _cost(entry.report) for entry in entries}, "published": published},
        "judged_run": best.report.manifest["run"],
        "looks": best.report.manifest.get("looks"),
        "drift": best.report.manifest.get("drift"),
    }
    answers = Answers(first.report.task, predictions, lineage, training=training_lines(best.report))
    write_report(answers, out, seed=config.seed)
    return out


def _entries(folders: Sequence[str]) -> list[_Entry]:
    from pipeline.scoring.sample import SYSTEMS

    entries: list[_Entry] = []
    for folder in folders:
        report = Report.load(folder)
        candidate = report.manifest.get("candidate", "tuned")
        rows = {row["id"]: row for row in read_jsonl(report.verified("predictions.jsonl"))}
        metrics = read_json(report.verified("metrics.json"))
        macro_f1 = metrics["systems"][candidate]["macro_f1"]["value"]
        name = report.folder.resolve().name if candidate == "tuned" else candidate
        if name in SYSTEMS:
            raise PipelineError(
                f"{folder}: expected a folder with a name of its own, got {name!r}, which the baselines "
                "and readings have; rename it"
            )
        if any(name == entry.name for entry in entries):
            raise PipelineError(f"{folder}: expected reports with different names, got {name!r} twice; rename a folder")
        entries.append(_Entry(report, name, candidate, rows, macro_f1))
    return entries


def _refuse_other_rows(first: _Entry, other: _Entry) -> None:
    """Refuses a report on other rows; texts that were hidden in one of them cannot be compared."""
    where = f"{other.report.folder}: expected the test rows of {first.report.folder}"
    if other.report.task.labels != first.report.task.labels:
        raise PipelineError(f"{where}, got other classes: {', '.join(other.report.task.labels)}")
    if other.rows.keys() != first.rows.keys():
        more, less = len(other.rows.keys() - first.rows.keys()), len(first.rows.keys() - other.rows.keys())
        raise PipelineError(f"{where}, got {more:,} other rows and {less:,} missing; evaluate both on one test split")
    for id_, row in first.rows.items():
        there = other.rows[id_]
        texts_differ = row["input"] and there["input"] and row["input"] != there["input"]
        if texts_differ or (row["label"], row["group"]) != (there["label"], there["group"]):
            raise PipelineError(f"{where}, got another one with id {id_!r}; evaluate both on one test split")


def _cost(report: Report) -> dict[str, Any] | None:
    """What a tuned model takes, as far as its training and evaluation wrote it down; None for answers from a file."""
    run, decoding = report.manifest["run"], report.manifest["decoding"]
    if not run:
        return None
    training = run.get("result", {})
    return {
        "parameters": decoding.get("parameters"),
        "tuned_parameters": training.get("trainable_parameters"),
        "training_seconds": training.get("seconds"),
        "device": run["device"],
        "tweets_per_second": decoding.get("tweets_per_second"),
        "precision": decoding.get("precision"),
    }


def _seeds(entries: Sequence[_Entry]) -> list[dict[str, int]]:
    """For each recipe that was trained with several seeds: system -> seed."""
    recipes: dict[str, dict[str, int]] = {}
    for entry in entries:
        run = entry.report.manifest["run"]
        if run:
            config = {key: value for key, value in run["config"].items() if key not in ("seed", "out", "dataset")}
            origin = (run["parents"]["dataset"]["sha256"], run["base_model"]["fingerprint"])
            recipe = json.dumps([config, run["precision"], run["dtype"], *origin], sort_keys=True)
            seeds = recipes.setdefault(recipe, {})
            if run["config"]["seed"] not in seeds.values():  # a run that was evaluated twice is one run
                seeds[entry.name] = run["config"]["seed"]
    return [seeds for seeds in recipes.values() if len(seeds) > 1]


def _levers(entries: Sequence[_Entry]) -> dict[str, dict[str, str]]:
    """Run -> setting -> value, for the settings in which runs differ; empty where these are none, or the seed alone."""
    settings = {
        entry.name: _settings(entry.report.manifest["run"]) for entry in entries if entry.report.manifest["run"]
    }
    names = dict.fromkeys(name for values in settings.values() for name in values)
    differing = [name for name in names if len({values.get(name) for values in settings.values()}) > 1]
    if set(differing) <= {"seed"}:
        return {}
    return {run: {name: values.get(name, "none") for name in differing} for run, values in settings.items()}


def _settings(run: Mapping[str, Any]) -> dict[str, str]:
    """What a run was trained with, as text. What its config does not know, an option of later, had its default."""
    known = _flat(dataclasses.asdict(TrainConfig("", ""))) | _flat(run["config"])
    parent = run["parents"]["dataset"]
    # The config may say auto; and of the prepared data only their content counts.
    found = {"precision": run["precision"], "device": run["device"]}
    data = {"dataset": f"{Path(parent['path']).name} {parent['sha256'][:8]}"}
    return data | {name: _text(value) for name, value in (known | found).items() if name not in _NO_LEVERS}


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with ``lora.r`` for ``r`` within ``lora``."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return found


def _text(value: object) -> str:
    """A setting as one writes it on the command line."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "null" if value is None else str(value)


def _merged(entries: Sequence[_Entry]) -> list[dict[str, Any]]:
    """Rows with what every entry's candidate answered, and every other system.

    A baseline that answers differently in two reports, because it learnt from other rows, stands there for each.
    """
    from pipeline.scoring.sample import headline_answer

    def answers_of(entry: _Entry, system: str) -> dict[str, str | None]:
        return {id_: headline_answer(system, row["systems"][system]) for id_, row in entry.rows.items()}

    systems = {entry.name: answers_of(entry, entry.candidate) for entry in entries}
    for entry in entries:
        for name in next(iter(entry.rows.values()))["systems"]:
            if name != entry.candidate:
                answers = answers_of(entry, name)
                if systems.setdefault(name, answers) != answers:
                    systems[f"{name} of {entry.name}"] = answers
    return [
        {
            **{key: row[key] for key in ("id", "group", "input", "label")},
            "systems": {name: {"predicted": answers[id_]} for name, answers in systems.items()},
        }
        for id_, row in entries[0].rows.items()
    ]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        CompareConfig,
        compare,
        argv,
        name="python -m pipeline.compare",
        example="python -m pipeline.compare --reports reports/a reports/b --out reports/leaderboard",
    )


if __name__ == "__main__":
    main()
