"""The command ``python -m pipeline.evaluate``: from a run to a page that says what it is worth."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import cli
from pipeline.artifacts import (
    PreparedDataset,
    Report,
    Row,
    Run,
    dump_json,
    dump_jsonl,
    new_folder,
    provenance,
    read_jsonl,
    refuse_existing,
    write_manifest,
    write_text,
)
from pipeline.errors import PipelineError
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.model.decoding import Classifier

log = logging.getLogger("pipeline.evaluate")


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate."""

    out: str
    """Folder to write, such as reports/btc; it must not exist yet."""
    run: str | None = None
    """Folder written by pipeline.train."""
    dataset: str | None = None
    """Prepared folder of the run, if it was moved since."""
    rescore: str | None = None
    """Report folder whose predictions are scored again; needs no model and no --run."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    seed: int = 0
    """Seed of the resampling."""


@dataclass(frozen=True)
class _Answers:
    """Everything that scoring needs: the rows of ``predictions.jsonl`` and where they come from."""

    task: Task
    predictions: list[dict[str, Any]]
    lineage: Mapping[str, Any]


def evaluate(config: EvaluateConfig) -> Path:
    """Scores a run on its test split, beside baselines, and says how sure one can be.

    Every test tweet is decoded by the tuned model and by the untuned one, each in two readings: what it writes, and
    which label it finds most likely. A TF-IDF classifier and the majority class answer the same tweets. Writes a folder
    with report.html (one page, opens offline), metrics.json, predictions.jsonl and manifest.json.
    """
    out = refuse_existing(config.out)
    if (config.run is None) == (config.rescore is None):
        raise PipelineError("--run, --rescore: expected one of them, the run to evaluate or the report to score again")
    if config.seed < 0:
        raise PipelineError(f"--seed: expected 0 or more, got {config.seed}")
    answers = _read_again(config.rescore) if config.rescore is not None else _decode(config)

    from pipeline.scoring.evaluation import score
    from pipeline.scoring.report import render

    log.info("scoring %d test tweets", len(answers.predictions))
    metrics = score(answers.predictions, labels=answers.task.labels, seed=config.seed)
    page = render(
        metrics,
        answers.predictions,
        {
            "title": answers.lineage["title"],
            "run": answers.lineage["run"],
            "data": answers.lineage["data"],
            "provenance": answers.lineage["decoding"],
        },
    )
    with new_folder(out) as folder:
        write_text(folder / "predictions.jsonl", dump_jsonl(answers.predictions))
        write_text(folder / "metrics.json", dump_json(metrics))
        write_text(folder / "report.html", page)
        write_manifest(folder, Report.kind, answers.task, answers.lineage)
    for alarm in answers.lineage["data"].get("alarms", []):
        log.warning("! %s", alarm["text"])
    for sentence in metrics["verdict"]:
        log.info("%s", sentence)
    log.info("read more in %s", out / "report.html")
    return out


def _read_again(folder: str) -> _Answers:
    report = Report.load(folder)
    lineage = {key: report.manifest[key] for key in ("title", "parents", "run", "data", "decoding")}
    return _Answers(report.task, read_jsonl(report.verified("predictions.jsonl")), lineage)


def _decode(config: EvaluateConfig) -> _Answers:
    run = Run.load(config.run or "")
    dataset = _dataset_of(run, config.dataset)
    rows = {split: dataset.rows(split) for split in ("train", "test")}
    if not rows["test"]:
        raise PipelineError(f"{dataset.folder / 'test.json'}: expected rows to evaluate on, got none")

    log.info("loading PyTorch and transformers")
    from pipeline.model.classifier import load_classifier

    started = time.monotonic()
    classifier, placement = load_classifier(run, precision=config.precision, device=config.device)
    log.info("decoding %d test tweets in %s on %s", len(rows["test"]), placement.precision, placement.device)
    predictions = _predict(classifier, rows["train"], rows["test"], run.task)
    shortened = sum(row["shortened"] for row in predictions)
    if shortened:
        max_length = classifier.encoder.max_length
        log.info("%d test tweets were cut to fit the run's max_length %d", shortened, max_length)
    decoding = {
        "precision": placement.precision,
        "device": placement.device,
        "seconds": round(time.monotonic() - started, 1),
        "shortened_tweets": shortened,
        **provenance(),
    }
    parents = {
        "run": {"path": str(run.folder), "sha256": run.sha256},
        "test_split": {"path": str(dataset.folder / "test.json"), "sha256": dataset.manifest["files"]["test.json"]},
    }
    title = f"{run.manifest['base_model']['name']} tuned on {dataset.folder.name}"
    lineage = {"title": title, "parents": parents, "run": run.manifest, "data": dataset.manifest, "decoding": decoding}
    return _Answers(run.task, predictions, lineage)


def _dataset_of(run: Run, moved_to: str | None) -> PreparedDataset:
    parent = run.manifest["parents"]["dataset"]
    if moved_to is None and not Path(parent["path"]).exists():
        raise PipelineError(
            f"{parent['path']}: no such folder; {run.folder} was trained on it; say where it is now with --dataset"
        )
    dataset = PreparedDataset.load(moved_to or parent["path"])
    if dataset.sha256 != parent["sha256"]:
        raise PipelineError(
            f"{dataset.folder}: not the prepared data set that {run.folder} was trained on; its manifest.json has "
            "another sha256; give the right folder with --dataset, or train again"
        )
    return dataset


def _predict(classifier: "Classifier", train: list[Row], test: list[Row], task: Task) -> list[dict[str, Any]]:
    """The rows of ``predictions.jsonl``."""
    from pipeline.scoring.baselines import predict_baselines

    texts = [row.input for row in test]
    tuned = classifier.decode(texts, progress="tuned model")
    systems = {"tuned": [one.to_json() for one in tuned]}
    with classifier.untuned():
        systems["untuned"] = [one.to_json() for one in classifier.decode(texts, progress="untuned model")]
    systems |= predict_baselines(
        [row.input for row in train], [row.output for row in train], texts, labels=task.labels, seed=0
    )
    return [
        {
            "id": row.id,
            "group": row.group,
            "input": row.input,
            "label": row.output,
            "shortened": tuned[i].shortened,
            "systems": {name: answers[i] for name, answers in systems.items()},
        }
        for i, row in enumerate(test)
    ]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; exits with its code."""
    cli.run(
        EvaluateConfig,
        evaluate,
        argv,
        name="python -m pipeline.evaluate",
        example="python -m pipeline.evaluate --run data/runs/btc --out reports/btc",
    )


if __name__ == "__main__":
    main()
