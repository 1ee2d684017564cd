"""The command ``python -m pipeline.evaluate``: from a run to a page that says what it is worth."""

import csv
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pipeline import cli
from pipeline.artifacts import (
    SPLITS,
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
    sha256_of,
    write_manifest,
    write_text,
)
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS, Task

if TYPE_CHECKING:
    from pipeline.model.decoding import Classifier

log = logging.getLogger("pipeline.evaluate")

_LONGEST_NAME = 40
# Files of a report that are there where the candidate is a model.
_FURTHER = ("validation", "behaviour")
_SUITE_SEED = 0


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate."""

    out: str
    """Folder to write, such as reports/btc; it must not exist yet."""
    run: str | None = None
    """Folder written by pipeline.train."""
    dataset: str | None = None
    """Prepared folder: of the run, if it was moved since; without a run, that of the files given by --against."""
    rescore: str | None = None
    """Report folder whose predictions are scored again; needs no model and no --run."""
    against: list[str] = field(default_factory=list)
    """Files with the answers of other systems for the same test rows, as FILE or NAME=FILE: an answer a line, or a
    table with the columns id and prediction. Without --run, the first is what is judged."""
    answer_labels: str | None = None
    """What the answers in these files mean, such as 0=Negative,1=Neutral,2=Positive, if they are no class names."""
    require: list[str] = field(default_factory=list)
    """Bounds that the numbers must keep, such as "macro_f1.low >= 0.6" or "recall.Negative.low >= 0.4"; else the exit
    code is 1. The report is written in any case."""
    behaviour: Literal["auto", "none", "quick", "full"] = "auto"
    """Tests of behaviour on tweets made for the purpose (negation, slang, typos, injections): 400 texts more to decode,
    or 1,700; auto is quick for the classes Negative, Neutral and Positive, else none."""
    priors: str | None = None
    """Shares of the classes to score "what if" for, such as Negative=0.3,Neutral=0.4,Positive=0.3."""
    hide_text: bool = False
    """Write no tweet into the report folder, so that it can be published where the data may not be."""
    precision: Literal["auto", "bf16", "fp32", "int8", "nf4"] = "auto"
    """Numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    seed: int = 0
    """Seed of the resampling."""


@dataclass(frozen=True)
class _Answers:
    """Everything that scoring needs: the rows of the three files of answers, and where they come from."""

    task: Task
    predictions: list[dict[str, Any]]
    lineage: Mapping[str, Any]
    validation: list[dict[str, Any]] = field(default_factory=list)
    behaviour: list[dict[str, Any]] = field(default_factory=list)


def evaluate(config: EvaluateConfig) -> Path:
    """Scores a run on its test split, beside baselines, and says how sure one can be.

    Every test tweet is decoded by the tuned model and by the untuned one, each in two readings: what it writes, and
    which label it finds most likely. A TF-IDF classifier, two word lists, the majority class, and the systems given by
    --against answer the same tweets. Writes a folder with report.html (one page, opens offline), metrics.json,
    predictions.jsonl, manifest.json and, of a run, README.md (a model card).
    """
    _check(config)
    out = refuse_existing(config.out)
    from pipeline.scoring import gates

    requirements = gates.parse(config.require)
    priors = _priors(config)
    if config.rescore is not None:
        answers = _read_again(config)
    else:
        answers = _read_files(config) if config.run is None else _decode(config)
    from pipeline.scoring.evaluation import score
    from pipeline.scoring.model_card import render_model_card
    from pipeline.scoring.report import render
    from pipeline.scoring.sections import Evidence

    lineage = answers.lineage
    log.info("scoring %d test tweets", len(answers.predictions))
    metrics = score(
        answers.predictions,
        labels=answers.task.labels,
        seed=config.seed,
        candidate=lineage["candidate"],
        picked_from=lineage.get("picked_from", 1),
        ordered=_ordered(answers.task, lineage["data"]),
        evidence=Evidence(answers.validation, answers.behaviour, lineage["suite"], lineage["data"], priors),
    )
    if config.hide_text:  # only now: the segments are found by the texts
        answers = _without_texts(answers)
        lineage = answers.lineage
    unmet = [line for each in requirements if (line := each.unmet(metrics)) is not None]
    page = render(
        metrics,
        answers.predictions,
        {
            "title": lineage["title"],
            "hidden": lineage["text_hidden"],
            "run": lineage["run"],
            "data": lineage["data"],
            "provenance": lineage["decoding"],
        },
    )
    with new_folder(out) as folder:
        for name in ("predictions", *_FURTHER):
            if rows := getattr(answers, name):
                write_text(folder / f"{name}.jsonl", dump_jsonl(rows))
        write_text(folder / "metrics.json", dump_json(metrics))
        write_text(folder / "report.html", page)
        if lineage["run"]:
            run, data = lineage["run"], lineage["data"]
            write_text(folder / "README.md", render_model_card(metrics, title=lineage["title"], run=run, data=data))
        write_manifest(folder, Report.kind, answers.task, {**lineage, "required": config.require})
    for alarm in lineage["data"].get("alarms", []):
        log.warning("! %s", alarm["text"])
    for sentence in metrics["verdict"]:
        log.info("%s", sentence)
    log.info("read more in %s", out / "report.html")
    for line in unmet:
        log.error("not met: %s", line)
    if unmet:
        raise PipelineError(f"{len(unmet)} of {len(requirements)} requirements are not met; the report is in {out}")
    return out


def _check(config: EvaluateConfig) -> None:
    if config.run is not None and config.rescore is not None:
        raise PipelineError("--run, --rescore: expected one of them, the run to evaluate or the report to score again")
    if config.run is None and config.rescore is None and not (config.dataset and config.against):
        raise PipelineError(
            "--run: expected the run to evaluate; or --rescore with a report, or --dataset and --against with the "
            "answers of another system"
        )
    if config.seed < 0:
        raise PipelineError(f"--seed: expected 0 or more, got {config.seed}")


def _read_again(config: EvaluateConfig) -> _Answers:
    report = Report.load(config.rescore or "")
    predictions = read_jsonl(report.verified("predictions.jsonl"))
    lineage = {key: report.manifest[key] for key in ("title", "parents", "run", "data", "decoding")}
    lineage |= {
        "candidate": report.manifest.get("candidate", "tuned"),
        "text_hidden": report.manifest.get("text_hidden", False),
        "suite": report.manifest.get("suite", {}),
        "picked_from": report.manifest.get("picked_from", 1),
    }
    further = {
        name: read_jsonl(report.verified(f"{name}.jsonl"))
        for name in _FURTHER
        if f"{name}.jsonl" in report.manifest["files"]
    }
    taken = predictions[0]["systems"] if predictions else ()
    others, files = _others(config, [row["id"] for row in predictions], report.task, lineage["data"], taken)
    lineage["parents"] = {**lineage["parents"], **files}
    return _Answers(report.task, _joined(predictions, others), lineage, **further)


def _decode(config: EvaluateConfig) -> _Answers:
    run = Run.load(config.run or "")
    dataset = _dataset_of(run, config.dataset)
    rows = _rows_of(dataset)
    others, files = _others(config, [row.id for row in rows["test"]], run.task, dataset.manifest)

    log.info("loading PyTorch and transformers")
    from pipeline.model.classifier import load_classifier

    started = time.monotonic()
    classifier, placement = load_classifier(run, precision=config.precision, device=config.device)
    log.info("decoding %d test tweets in %s on %s", len(rows["test"]), placement.precision, placement.device)
    predictions = _predict(classifier, rows["test"])
    validation = _validate(classifier, rows["val"])
    suite = _suite(config.behaviour, run.task)
    behaviour = _behave(classifier, run.task, suite) if suite else []
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
    title = f"{run.manifest['base_model']['name']} tuned on {dataset.folder.name}"
    lineage = {
        "title": title,
        "parents": {
            "run": {"path": str(run.folder), "sha256": run.sha256},
            "test_split": _test_split(dataset),
            **files,
        },
        "run": run.manifest,
        "data": dataset.manifest,
        "decoding": decoding,
        "candidate": "tuned",
        "text_hidden": False,
        "suite": suite,
    }
    predictions = _with_neighbours(_joined(predictions, {**_baselines(rows, run.task), **others}), rows, dataset)
    return _Answers(run.task, predictions, lineage, validation, behaviour)


def _read_files(config: EvaluateConfig) -> _Answers:
    """Rows without a model: the first file's system is the candidate."""
    dataset = PreparedDataset.load(config.dataset or "")
    rows = _rows_of(dataset)
    others, files = _others(config, [row.id for row in rows["test"]], dataset.task, dataset.manifest)
    candidate = next(iter(others))
    lineage = {
        "title": f"{candidate} on {dataset.folder.name}",
        "parents": {"test_split": _test_split(dataset), **files},
        "run": {},
        "data": dataset.manifest,
        "decoding": provenance(),
        "candidate": candidate,
        "text_hidden": False,
        "suite": {},
    }
    predictions = [{**_shown(row), "systems": {}} for row in rows["test"]]
    predictions = _joined(predictions, {**others, **_baselines(rows, dataset.task)})
    return _Answers(dataset.task, _with_neighbours(predictions, rows, dataset), lineage)


def _rows_of(dataset: PreparedDataset) -> dict[str, list[Row]]:
    rows = {split: dataset.rows(split) for split in SPLITS}
    if not rows["test"]:
        raise PipelineError(f"{dataset.folder / 'test.json'}: expected rows to evaluate on, got none")
    return rows


def _test_split(dataset: PreparedDataset) -> dict[str, str]:
    return {"path": str(dataset.folder / "test.json"), "sha256": dataset.manifest["files"]["test.json"]}


def _others(
    config: EvaluateConfig, ids: Sequence[str], task: Task, data: Mapping[str, Any], taken: Collection[str] = ()
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, str]]]:
    """The answers of the systems given by ``--against``, one a test row, and their files with their hashes."""
    if not config.against:
        return {}, {}
    from pipeline.dataset.answers import read_answers
    from pipeline.scoring.sample import SYSTEMS

    # What the values of the data set's file mean is known; a file of answers may use the same ones.
    mapping = config.answer_labels or data.get("options", {}).get("labels")
    systems: dict[str, list[dict[str, Any]]] = {}
    files = {}
    for given in config.against:
        name, path = _name_and_file(given)
        if name in (*SYSTEMS, *taken, *systems):
            raise PipelineError(f"--against {given}: there is a system {name} already; give it a name, NAME={path}")
        found = read_answers(path, ids, task.labels, mapping)
        if strange := found.count(None):
            log.info("%s: %d answers are no label and count as wrong", name, strange)
        systems[name] = [{"predicted": answer} for answer in found]
        files[f"answers of {name}"] = {"path": path, "sha256": sha256_of(Path(path))}
    return systems, files


def _name_and_file(given: str) -> tuple[str, str]:
    """A system's name and its file; without a name, that of the file."""
    name, equals, path = given.partition("=")
    path = path if equals else given
    name = name.strip() if equals else Path(path).stem
    if not name or not path or len(name) > _LONGEST_NAME or not name.isprintable():
        raise PipelineError(
            f"--against {given!r}: expected FILE or NAME=FILE, with a name of 1 to {_LONGEST_NAME} letters"
        )
    return name, path


def _without_texts(answers: _Answers) -> _Answers:
    """The same answers without a word of a tweet: neither the rows, nor what models wrote, nor the data's examples."""
    predictions = [
        {
            **row,
            "input": "",
            "systems": {
                name: {**answer, "completion": ""} if "completion" in answer else answer
                for name, answer in row["systems"].items()
            },
        }
        for row in answers.predictions
    ]
    validation = [{**row, "completion": ""} for row in answers.validation]
    data = dict(answers.lineage["data"])
    if campaigns := data.get("duplicates", {}).get("campaigns"):
        without = [{key: value for key, value in each.items() if key != "text"} for each in campaigns]
        data["duplicates"] = {**data["duplicates"], "campaigns": without}
    lineage = {**answers.lineage, "data": data, "text_hidden": True}
    return replace(answers, predictions=predictions, validation=validation, lineage=lineage)


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


def _shown(row: Row) -> dict[str, Any]:
    return {"id": row.id, "group": row.group, "input": row.input, "label": row.output}


def _predict(classifier: "Classifier", test: list[Row]) -> list[dict[str, Any]]:
    """The rows of ``predictions.jsonl`` with the answers of the model, tuned and untuned."""
    texts = [row.input for row in test]
    tuned = classifier.decode(texts, progress="tuned model")
    with classifier.untuned():
        untuned = classifier.decode(texts, progress="untuned model")
    return [
        {**_shown(row), "shortened": a.shortened, "systems": {"tuned": a.to_json(), "untuned": b.to_json()}}
        for row, a, b in zip(test, tuned, untuned, strict=True)
    ]


def _validate(classifier: "Classifier", val: list[Row]) -> list[dict[str, Any]]:
    """The answers by which temperature and threshold are chosen; the test rows have no say in that."""
    found = classifier.decode([row.input for row in val], progress="validation")
    return [
        {"id": row.id, "group": row.group, "label": row.output, **answer.to_json()}
        for row, answer in zip(val, found, strict=True)
    ]


def _suite(wanted: str, task: Task) -> dict[str, Any]:
    """Which tests of behaviour are run; empty for none."""
    if wanted == "auto":
        wanted = "quick" if task.labels == SENTIMENT_LABELS else "none"
    return {} if wanted == "none" else {"seed": _SUITE_SEED, "quick": wanted == "quick"}


def _behave(classifier: "Classifier", task: Task, suite: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers to the tests of behaviour."""
    from pipeline.scoring.behaviour.suite import cases, texts

    asked = texts(cases(task.labels, suite["seed"], quick=suite["quick"]))
    found = classifier.decode(asked, progress="behaviour")
    return [
        {"text": text, "predicted": answer.generate, "probabilities": answer.probabilities}
        for text, answer in zip(asked, found, strict=True)
    ]


def _with_neighbours(
    predictions: list[dict[str, Any]], rows: Mapping[str, list[Row]], dataset: PreparedDataset
) -> list[dict[str, Any]]:
    """The rows with how similar the nearest training text is, and whether their label is doubted."""
    from pipeline.scoring.similarity import nearest_in_train

    nearest = nearest_in_train([row.input for row in rows["train"]], [row.input for row in rows["test"]]).tolist()
    doubted = _suspects(dataset)
    return [
        {**row, "similarity": similarity, "suspect": row["id"] in doubted}
        for row, similarity in zip(predictions, nearest, strict=True)
    ]


def _suspects(dataset: PreparedDataset) -> set[str]:
    """Ids of the rows whose label the prepared data set lists as doubtful."""
    from pipeline.dataset.spreadsheet import unguarded

    if "suspects.csv" not in dataset.manifest["files"]:
        return set()
    with dataset.verified("suspects.csv").open(encoding="utf-8-sig", newline="") as file:
        return {unguarded(row["id"]) for row in csv.DictReader(file)}


def _ordered(task: Task, data: Mapping[str, Any]) -> bool:
    """Whether the classes go from low to high: the home classes do, and those whose order a person gave."""
    return task.labels == SENTIMENT_LABELS or data.get("options", {}).get("labels") is not None


def _priors(config: EvaluateConfig) -> dict[str, float] | None:
    """Shares of the classes as the option gives them."""
    if config.priors is None:
        return None
    from pipeline.scoring.priors import check_priors

    shares = {}
    for pair in config.priors.split(","):
        label, _, share = pair.rpartition("=")
        try:
            shares[label.strip()] = float(share)
        except ValueError:
            raise PipelineError(
                f"--priors: expected CLASS=SHARE pairs divided by commas, such as Negative=0.3; got {pair!r}"
            ) from None
    origin = next(
        kind.load(folder)
        for kind, folder in ((Report, config.rescore), (Run, config.run), (PreparedDataset, config.dataset))
        if folder is not None
    )
    return check_priors(shares, origin.task.labels)


def _baselines(rows: Mapping[str, list[Row]], task: Task) -> dict[str, list[dict[str, Any]]]:
    """The answers of what a model must beat, one a test row."""
    from pipeline.dataset.lexicons import word_list_answers
    from pipeline.scoring.baselines import predict_baselines

    log.info("fitting the baselines on %d training tweets", len(rows["train"]))
    texts = [row.input for row in rows["test"]]
    labels = [row.output for row in rows["train"]]
    found = predict_baselines([row.input for row in rows["train"]], labels, texts, labels=task.labels, seed=0)
    lists = word_list_answers(texts, task.labels, otherwise=found["majority"][0]["predicted"])
    return found | {name: [{"predicted": answer} for answer in answers] for name, answers in lists.items()}


def _joined(
    predictions: Sequence[Mapping[str, Any]], systems: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows with the answers of further systems."""
    return [
        {**row, "systems": {**row["systems"], **{name: answers[i] for name, answers in systems.items()}}}
        for i, row in enumerate(predictions)
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
