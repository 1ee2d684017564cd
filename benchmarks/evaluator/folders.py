"""Faults of a data set, planted in its file, which goes through the commands themselves."""

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.evaluator.faults import Fault
from benchmarks.evaluator.texts import tweets, write_answers, write_table
from benchmarks.evaluator.worlds import LABELS
from pipeline.artifacts import PreparedDataset, Row, read_json
from pipeline.dataset.lexicons import word_list_answers
from pipeline.evaluate import EvaluateConfig, evaluate
from pipeline.prepare import PrepareConfig, prepare

_N = 600
_COPIED = 0.2
_FLIPPED = 0.1
_DOUBTED = 0.025
_WELL, _LISTED = 0.8, 0.4
_TRAPS = ("Not {}", "{}!", "{} or Negative", "{} because of the price", "")
_TRAPPED = 0.2


def leakage(seed: int, planted: bool) -> bool:
    """One row in five of the user's own test file is a training tweet with another mention and link.

    Found is that the share is told to within two points, and that none is left in train.
    """
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    texts, labels = tweets(_N + _N // 4, seed)
    test, copies = list(range(_N, len(texts))), 0
    for i in test if planted else ():
        if rng.random() < _COPIED:
            source, copies = rng.randrange(_N), copies + 1
            texts[i], labels[i] = f"@ann {texts[source].upper()} https://t.co/{i}x", labels[source]
    with TemporaryDirectory() as name:
        own = write_table(Path(name, "test.csv"), texts[_N:], labels[_N:])
        leaks = _prepared(name, texts[:_N], labels[:_N], test_source=str(own)).manifest["leakage"]
    found: bool = leaks["official_split"]["near"] > 0.01
    exact = abs(leaks["official_split"]["near"] - copies / len(test)) < 0.02 and leaks["made"]["near"] == 0
    return found and exact if planted else found or not exact


def label_noise(seed: int, planted: bool) -> bool:
    """One label in ten is flipped, and a system answers as the labels were before, but for one row in ten.

    Found is that labels are doubted, that four of five doubted ones are flipped, and that accuracy without them is
    higher. A false alarm is a list of more than 2.5 % of the labels.
    """
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    texts, labels, given = _flipped(seed, planted)
    truth = dict(zip(texts, labels, strict=True))
    with TemporaryDirectory() as name:
        dataset = _prepared(name, texts, given)
        answers = [
            _another(rng, truth[row.input]) if rng.random() < 0.1 else truth[row.input] for row in _test(dataset)
        ]
        found = _evaluated(name, dataset, answers)["weak"]["sensitivity"]
        doubted = _doubted(dataset)
    told = len(doubted) > _DOUBTED * _N
    hits, _ = _quality(texts, labels, given, doubted)
    higher = found["without"] is not None and found["without"]["accuracy"]["value"] > found["all"]["accuracy"]["value"]
    return told and hits >= _WELL * len(doubted) and higher if planted else told


def half_of_the_noise(seed: int, planted: bool) -> bool:
    """As in ``label_noise``; found is that the list holds four of ten flipped labels or more."""
    texts, labels, given = _flipped(seed, planted)
    with TemporaryDirectory() as name:
        doubted = _doubted(_prepared(name, texts, given))
    hits, flipped = _quality(texts, labels, given, doubted)
    return hits >= _LISTED * flipped if planted else len(doubted) > _DOUBTED * _N


def machine_made(seed: int, planted: bool) -> bool:
    """The labels are those of VADER, and a system answers them all as they are.

    Found is the alarm, that the verdict begins with it, and that it does not call the system better.
    """
    texts, labels = tweets(_N, seed)
    given = word_list_answers(texts, LABELS, otherwise=LABELS[1])["vader"] if planted else labels
    with TemporaryDirectory() as name:
        dataset = _prepared(name, texts, given)
        alarm = "machine_made" in _alarms(dataset)
        if not planted:
            return alarm
        metrics = _evaluated(name, dataset, [row.output for row in _test(dataset)])
    return alarm and "word list" in metrics["verdict"][0] and metrics["verdict_level"] != "better"


def unrelated(seed: int, planted: bool) -> bool:
    """The labels are shuffled among the texts. Found is the alarm."""
    texts, labels = tweets(_N, seed)
    if planted:
        random.Random(seed).shuffle(labels)  # noqa: S311 (nothing secret)
    with TemporaryDirectory() as name:
        return "unlearnable" in _alarms(_prepared(name, texts, labels))


def trapped_answers(seed: int, planted: bool) -> bool:
    """A file of answers in which every fifth holds a label and is none. Found is that exactly these are unparsed."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    texts, labels = tweets(_N // 2, seed)
    with TemporaryDirectory() as name:
        dataset = _prepared(name, texts, labels)
        rows = _test(dataset)
        lost = [planted and rng.random() < _TRAPPED for _ in rows]
        answers = [
            rng.choice(_TRAPS).format(row.output) if trap else row.output for row, trap in zip(rows, lost, strict=True)
        ]
        found = _evaluated(name, dataset, answers)["systems"]["judged"]
    share = sum(lost) / len(rows)
    exact = abs(found["unparsed_rate"] - share) < 1e-12 and abs(found["accuracy"]["value"] - (1 - share)) < 1e-12
    told = found["unparsed_rate"] > 0
    return told and exact if planted else told or not exact


FAULTS = (
    Fault(
        "20 % of a test file are copies of training tweets",
        "leakage: the share of the file as it was, to 2 points; none left after preparing",
        leakage,
    ),
    Fault(
        "10 % of the labels are flipped",
        "suspects: over 2.5 % of the labels, 80 % of them flipped ones; higher accuracy without them",
        label_noise,
    ),
    Fault("the same", "suspects: 40 % of the flipped labels are on the list", half_of_the_noise),
    Fault("the labels are VADER's", "alarm, first sentence of the verdict, never better", machine_made),
    Fault("the labels are shuffled", "alarm: labels unrelated to the texts", unrelated),
    Fault(
        "20 % of a file of answers hold a label and are none", "unparsed rate and accuracy, exactly", trapped_answers
    ),
)


def _prepared(home: str, texts: Sequence[str], labels: Sequence[str], **options: Any) -> PreparedDataset:
    source = write_table(Path(home, "tweets.csv"), texts, labels)
    out = Path(home, "prepared")
    prepare(PrepareConfig(source=[str(source)], out=str(out), drop_links=False, **options))
    return PreparedDataset.load(out)


def _test(dataset: PreparedDataset) -> list[Row]:
    return dataset.rows("test")


def _alarms(dataset: PreparedDataset) -> set[str]:
    return {alarm["kind"] for alarm in dataset.manifest["alarms"]}


def _doubted(dataset: PreparedDataset) -> set[str]:
    with (dataset.folder / "suspects.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["text"] for row in csv.DictReader(file)}


def _evaluated(home: str, dataset: PreparedDataset, answers: Sequence[str]) -> Mapping[str, Any]:
    """What the command writes of a system that is known by a file of its answers."""
    path = write_answers(Path(home, "answers.csv"), [row.id for row in _test(dataset)], answers)
    out = evaluate(
        EvaluateConfig(out=str(Path(home, "report")), dataset=str(dataset.folder), against=[f"judged={path}"])
    )
    metrics: Mapping[str, Any] = read_json(out / "metrics.json")
    return metrics


def _flipped(seed: int, planted: bool) -> tuple[list[str], list[str], list[str]]:
    """Texts, their labels, and the labels as given."""
    rng = random.Random(-seed - 1)  # noqa: S311 (nothing secret)
    texts, labels = tweets(_N, seed)
    return texts, labels, [_another(rng, each) if planted and rng.random() < _FLIPPED else each for each in labels]


def _quality(texts: Sequence[str], labels: Sequence[str], given: Sequence[str], doubted: set[str]) -> tuple[int, int]:
    """How many of the doubted labels are flipped ones, and how many are flipped."""
    flipped = {text for text, label, other in zip(texts, labels, given, strict=True) if label != other}
    return len(flipped & doubted), len(flipped)


def _another(rng: random.Random, label: str) -> str:
    return rng.choice([each for each in LABELS if each != label])
