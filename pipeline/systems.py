"""Who answers the test rows of an evaluation: a tuned model, what it must beat, and systems known from files."""

import csv
import logging
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import (
    SPLITS,
    TRAINING_LOG,
    PreparedDataset,
    Report,
    Row,
    Run,
    dataset_of,
    provenance,
    read_json,
    read_jsonl,
    sha256_of,
)
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS, Task
from pipeline.traces import looks_at

if TYPE_CHECKING:
    from pipeline.evaluate import EvaluateConfig
    from pipeline.model.decoding import Classifier, Decoded
    from pipeline.model.embedding import Embedder

log = logging.getLogger("pipeline.evaluate")

# Files of a report that are there where the candidate is a model.
FURTHER = ("validation", "behaviour", "training")
# To learn from; a regression on a few hundred numbers gains little from more, and each row costs a forward pass.
_EMBEDDED_ROWS = 4_000

_LONGEST_NAME = 40
_SEED = 0  # of the baselines and of the suite: not to be picked by the user
# Inputs without content, by which Zhao et al. (2021, arXiv 2102.09690) measure what a model would answer anyway.
_CONTENT_FREE = ("", "N/A", "[MASK]")


# What a report's manifest says besides its title and origin, and what holds where it says nothing.
UNSAID: Mapping[str, Any] = {
    "candidate": "tuned",
    "picked_from": 1,
    "text_hidden": False,
    "suite": {},
    "likelihoods": {},
    "seeds": [],
    "board": {},
    "levers": {},
    "looks": None,
    "drift": None,
    "judged_run": {},
    "embeddings": None,
    "seed": 0,
    "priors": None,
}


@dataclass(frozen=True)
class Answers:
    """Everything that scoring needs: the rows of the files of answers, and where they come from.

    ``lineage`` is what the report's manifest keeps of it: ``title``, ``parents``, ``run`` and ``data`` (the manifests,
    empty where there is none), ``decoding`` (provenance), ``candidate`` (who is judged), ``picked_from`` (of how many
    it is the best), ``text_hidden``, ``suite`` (which tests of behaviour), ``likelihoods`` (what the sensitivity to
    normalisation needs), ``seeds`` (which systems differ in nothing else), ``levers`` (in which settings runs differ),
    ``looks`` (at the test rows before), ``drift`` (from the train to the test rows), ``judged_run`` (a leaderboard's
    best run), ``embeddings`` (whose), ``seed`` (of the resampling) and ``priors`` (asked "what if" for).
    """

    task: Task
    predictions: list[dict[str, Any]]
    lineage: Mapping[str, Any]
    validation: list[dict[str, Any]] = field(default_factory=list)
    behaviour: list[dict[str, Any]] = field(default_factory=list)
    training: list[dict[str, Any]] = field(default_factory=list)
    """The lines that the run's training left."""
    weak: Mapping[str, Any] | None = None
    """What was found on kinds of tweets before the texts were hidden, by which they are told."""

    def without_texts(self) -> "Answers":
        """The same answers without a word of a tweet: neither rows, nor what models wrote, nor the data's examples."""
        predictions = [
            {
                **row,
                "input": "",
                "systems": {
                    name: {**answer, "completion": ""} if "completion" in answer else answer
                    for name, answer in row["systems"].items()
                },
            }
            for row in self.predictions
        ]
        validation = [{**row, "completion": ""} for row in self.validation]
        data = dict(self.lineage["data"])
        if campaigns := data.get("duplicates", {}).get("campaigns"):
            without = [{key: value for key, value in each.items() if key != "text"} for each in campaigns]
            data["duplicates"] = {**data["duplicates"], "campaigns": without}
        drift = self.lineage["drift"] and {**self.lineage["drift"], "telling_words": []}
        lineage = {**self.lineage, "data": data, "drift": drift, "text_hidden": True}
        return replace(self, predictions=predictions, validation=validation, lineage=lineage)


def answers_of_report(config: "EvaluateConfig") -> Answers:
    """The answers that a report holds, and those of further systems from files."""
    report = Report.load(config.rescore or "")
    predictions = read_jsonl(report.verified("predictions.jsonl"))
    lineage = {key: report.manifest[key] for key in ("title", "parents", "run", "data", "decoding")}
    lineage |= {key: report.manifest.get(key, value) for key, value in UNSAID.items()}
    further = {
        name: read_jsonl(report.verified(f"{name}.jsonl"))
        for name in FURTHER
        if f"{name}.jsonl" in report.manifest["files"]
    }
    if "training" not in further:
        further["training"] = _training_of_parent(lineage["parents"])
    taken = predictions[0]["systems"] if predictions else ()
    others, files = _from_files(config, [row["id"] for row in predictions], report.task, lineage["data"], taken)
    lineage["parents"] = {**lineage["parents"], **files}
    if files:
        home = Path(lineage["parents"].get("test_split", {}).get("path", "")).expanduser().parent
        lineage["looks"] = looks_at(home, [file["sha256"] for file in files.values()], lineage["looks"])
    weak = read_json(report.verified("metrics.json")).get("weak") if lineage["text_hidden"] else None
    return Answers(report.task, _joined(predictions, others), lineage, **further, weak=weak)


def answers_of_run(config: "EvaluateConfig") -> Answers:
    """The answers of a tuned model, decoded now, of all baselines, and of further systems from files."""
    run = Run.load(config.run or "")
    dataset = dataset_of(run, config.dataset)
    rows = _rows_of(dataset)
    others, files = _from_files(config, [row.id for row in rows["test"]], run.task, dataset.manifest)

    log.info("loading PyTorch and transformers")
    from pipeline.model.device import check_device

    check_device(config.device)
    from pipeline.model.classifier import load_classifier

    started = time.monotonic()
    classifier, placement = load_classifier(run, precision=config.precision, device=config.device)
    embedder = _embedder(config, classifier)
    log.info("decoding %d test tweets in %s on %s", len(rows["test"]), placement.precision, placement.device)
    texts = [row.input for row in rows["test"]]
    before = time.monotonic()
    tuned = classifier.decode(texts, progress="tuned model")
    rate = len(texts) / (time.monotonic() - before)
    validation = _validate(classifier, rows["val"])
    suite = _suite(config.behaviour, run.task)
    behaviour = _behave(classifier, run.task, suite) if suite else []
    with classifier.untuned():
        untuned = classifier.decode(texts, progress="untuned model")
        with_examples = _few_shot(classifier, rows, config.few_shot)
        embeddings = _embeddings(embedder, rows, run.task)
    shortened = sum(one.shortened for one in tuned)
    if shortened:
        max_length = classifier.encoder.max_length
        log.info("%d test tweets were cut to fit the run's max_length %d", shortened, max_length)
    decoding = {
        "precision": placement.precision,
        "device": placement.device,
        "seconds": round(time.monotonic() - started, 1),
        "tweets_per_second": round(rate, 2),
        "parameters": classifier.parameters,
        "shortened_tweets": shortened,
        **provenance(),
    }
    judged = {"run": {"path": str(run.folder), "sha256": run.sha256}, **files}
    lineage = {
        **_lineage(dataset, rows, judged, embedder),
        "title": f"{run.manifest['base_model']['name']} tuned on {dataset.folder.name}",
        "run": run.manifest,
        "decoding": decoding,
        "suite": suite,
        "likelihoods": _likelihoods(classifier),
    }
    systems = {"tuned": _answers(tuned), "untuned": _answers(untuned), **with_examples, **embeddings}
    predictions = [{**_shown(row), "shortened": one.shortened} for row, one in zip(rows["test"], tuned, strict=True)]
    predictions = _joined(predictions, {**systems, **_baselines(rows, run.task), **others})
    predictions = _with_neighbours(predictions, rows, dataset)
    return Answers(run.task, predictions, lineage, validation, behaviour, training_lines(run))


def answers_of_files(config: "EvaluateConfig") -> Answers:
    """The answers of systems from files, and of the baselines that need no model; the first file's is judged."""
    dataset = PreparedDataset.load(config.dataset or "")
    rows = _rows_of(dataset)
    others, files = _from_files(config, [row.id for row in rows["test"]], dataset.task, dataset.manifest)
    candidate = next(iter(others))
    embedder = _embedder(config)
    lineage = {
        **_lineage(dataset, rows, files, embedder),
        "title": f"{candidate} on {dataset.folder.name}",
        "run": {},
        "decoding": provenance(),
        "candidate": candidate,
    }
    systems = {**others, **_embeddings(embedder, rows, dataset.task), **_baselines(rows, dataset.task)}
    predictions = _joined([_shown(row) for row in rows["test"]], systems)
    return Answers(dataset.task, _with_neighbours(predictions, rows, dataset), lineage)


def _rows_of(dataset: PreparedDataset) -> dict[str, list[Row]]:
    rows = {split: dataset.rows(split) for split in SPLITS}
    if not rows["test"]:
        raise PipelineError(f"{dataset.folder / 'test.json'}: expected rows to evaluate on, got none")
    return rows


def _lineage(
    dataset: PreparedDataset,
    rows: Mapping[str, list[Row]],
    judged: Mapping[str, Mapping[str, str]],
    embedder: "Embedder | None",
) -> dict[str, Any]:
    """What follows from the data and from who is judged on it: the run and the files of answers, with their hashes."""
    from pipeline.scoring.drift import drift

    test_split = {"path": str(dataset.folder / "test.json"), "sha256": dataset.manifest["files"]["test.json"]}
    return {
        **UNSAID,
        "parents": {"test_split": test_split, **judged},
        "data": dataset.manifest,
        "looks": looks_at(dataset.folder, [parent["sha256"] for parent in judged.values()]),
        "drift": drift(rows["train"], rows["test"], dataset.task.labels, seed=_SEED) if rows["train"] else None,
        "embeddings": embedder and embedder.origin,
    }


def training_lines(artifact: Run | Report) -> list[dict[str, Any]]:
    """What a training wrote down on its way, from its run or a report on it; nothing where there is no such file."""
    return read_jsonl(artifact.verified(TRAINING_LOG)) if TRAINING_LOG in artifact.manifest["files"] else []


def _training_of_parent(parents: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """The same for a report that is older than this part of it, if its run is still where it was."""
    if "run" not in parents:
        return []
    try:
        run = Run.load(Path(parents["run"]["path"]).expanduser())
        return training_lines(run) if run.sha256 == parents["run"]["sha256"] else []
    except (PipelineError, OSError):  # a report is scored without its run
        return []


def _from_files(
    config: "EvaluateConfig", ids: Sequence[str], task: Task, data: Mapping[str, Any], taken: Collection[str] = ()
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, str]]]:
    """The answers of the systems given by ``--against``, one a test row, and their files with their hashes."""
    if not config.against:
        return {}, {}
    from pipeline.dataset.answers import read_answers
    from pipeline.scoring.sample import SYSTEMS
    from pipeline.scoring.verdict import system_name

    # What the values of the data set's file mean is known; a file of answers may use the same ones.
    mapping = config.answer_labels or data.get("options", {}).get("labels")
    systems: dict[str, list[dict[str, Any]]] = {}
    files = {}
    for given in config.against:
        name, path = _name_and_file(given)
        if system_name(name) in map(system_name, (*SYSTEMS, *taken, *systems)):  # a page could not tell them apart
            raise PipelineError(f"--against {given}: there is a system {name} already; give it a name, NAME={path}")
        found = read_answers(path, ids, task.labels, mapping)
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


def _shown(row: Row) -> dict[str, Any]:
    return {"id": row.id, "group": row.group, "input": row.input, "label": row.output}


def _answers(decoded: "Sequence[Decoded]") -> list[dict[str, Any]]:
    return [one.to_json() for one in decoded]


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
        if wanted == "none":
            log.info("tests of behaviour left out, because they know only Negative, Neutral and Positive")
    return {} if wanted == "none" else {"seed": _SEED, "quick": wanted == "quick"}


def _behave(classifier: "Classifier", task: Task, suite: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers to the tests of behaviour."""
    from pipeline.scoring.behaviour.suite import cases, texts

    asked = texts(cases(task.labels, suite["seed"], quick=suite["quick"]))
    found = classifier.decode(asked, progress="behaviour")
    return [
        {"text": text, "predicted": answer.generate, "probabilities": answer.probabilities}
        for text, answer in zip(asked, found, strict=True)
    ]


def _likelihoods(classifier: "Classifier") -> dict[str, Any]:
    """What the sensitivity to normalisation needs: each label's tokens, and its likelihood after nothing at all."""

    def content_free() -> list[dict[str, float]]:
        return [
            dict(zip(classifier.labels, one.log_likelihoods, strict=True))
            for one in classifier.decode(list(_CONTENT_FREE))
        ]

    tuned = content_free()
    with classifier.untuned():
        untuned = content_free()
    return {
        "tokens": {label: len(ids) for label, ids in classifier.encoder.completions.items()},
        "content_free": {"tuned": tuned, "untuned": untuned},
    }


def _few_shot(classifier: "Classifier", rows: Mapping[str, list[Row]], per_class: int) -> dict[str, Any]:
    """The answers of the model with training rows in its prompt."""
    if per_class == 0:
        return {}
    from pipeline.model.few_shot import with_examples

    asked = with_examples(classifier, rows["train"], per_class, _SEED)
    if asked is None:
        log.info("the model's context holds no example of each class, so it is not asked with examples")
        return {}
    return {"few_shot": _answers(asked.decode([row.input for row in rows["test"]], progress="untuned, examples"))}


def _embedder(config: "EvaluateConfig", classifier: "Classifier | None" = None) -> "Embedder | None":
    """Whose embeddings the baseline gets; None leaves it out. Found before anything is decoded, as it may fail."""
    if config.embeddings == "none" or (config.embeddings == "base" and classifier is None):
        return None
    from pipeline.model.embedding import embedder_of, load_embedder

    if config.embeddings == "base" and classifier is not None:
        return embedder_of(classifier)
    return load_embedder(config.embeddings, config.device)


def _embeddings(
    embedder: "Embedder | None", rows: Mapping[str, list[Row]], task: Task
) -> dict[str, list[dict[str, Any]]]:
    """The answers of a classifier on frozen embeddings."""
    if embedder is None:
        return {}
    from pipeline.scoring.baselines import predict_embeddings

    asked = {split: rows[split] if split == "test" else _at_most(rows[split], _EMBEDDED_ROWS) for split in SPLITS}
    vectors = {
        split: embedder.embed([row.input for row in part], progress=f"embeddings, {split}")
        for split, part in asked.items()
    }
    labels = {split: [row.output for row in part] for split, part in asked.items()}
    return {"embeddings": predict_embeddings(vectors, labels, labels_in_order=task.labels, seed=_SEED)}


def _at_most(rows: list[Row], n: int) -> list[Row]:
    """Rows drawn at random where there are more than ``n``, in their order."""
    if len(rows) <= n:
        return rows
    drawn = random.Random(_SEED).sample(range(len(rows)), n)  # noqa: S311 - a draw, not a secret
    return [rows[i] for i in sorted(drawn)]


def _baselines(rows: Mapping[str, list[Row]], task: Task) -> dict[str, list[dict[str, Any]]]:
    """The answers of what a model must beat, one a test row."""
    from pipeline.dataset.lexicons import word_list_answers
    from pipeline.scoring.baselines import predict_baselines

    synthetic = sum(row.synthetic for row in rows["train"])
    told = f" ({synthetic} of them synthetic)" if synthetic else ""
    log.info("fitting the baselines on %d training tweets%s", len(rows["train"]), told)
    texts = [row.input for row in rows["test"]]
    labels = [row.output for row in rows["train"]]
    found = predict_baselines([row.input for row in rows["train"]], labels, texts, labels=task.labels, seed=_SEED)
    lists = word_list_answers(texts, task.labels, otherwise=found["majority"][0]["predicted"])
    if not lists:
        log.info("word lists left out, because they know only positive, neutral and negative")
    return found | {name: [{"predicted": answer} for answer in answers] for name, answers in lists.items()}


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


def _joined(
    predictions: Sequence[Mapping[str, Any]], systems: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows with the answers of further systems."""
    return [
        {**row, "systems": {**row.get("systems", {}), **{name: answers[i] for name, answers in systems.items()}}}
        for i, row in enumerate(predictions)
    ]
