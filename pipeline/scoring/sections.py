"""What an evaluation says beyond the scores: which parts of ``metrics.json`` there are depends on what is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.scoring.adjustment_effect import adjustment
from pipeline.scoring.behaviour.scores import behaviour
from pipeline.scoring.behaviour.suite import cases
from pipeline.scoring.confidence import Answers, confidence
from pipeline.scoring.confusion import Floats, encode
from pipeline.scoring.levers import levers
from pipeline.scoring.normalisation import normalisation
from pipeline.scoring.priors import priors
from pipeline.scoring.ranking import ranking
from pipeline.scoring.sample import MODEL_READINGS, Sample
from pipeline.scoring.seeds import seed_spread
from pipeline.scoring.temperature import tempered
from pipeline.scoring.training_curves import training_curves
from pipeline.scoring.weak import weaknesses


@dataclass(frozen=True)
class Evidence:
    """What is known besides the answers to the test rows; every part may be missing.

    ``validation`` has the candidate's answers to the validation rows (``id``, ``group``, ``label``, ``generate``,
    ``log_likelihoods``), ``behaviour`` its answers to the suite (``text``, ``predicted``, ``probabilities``), of
    which ``suite`` says the ``seed`` and whether it was the ``quick`` one, ``training`` the lines that its training
    left. ``data`` is the manifest of the prepared data set, ``priors`` are shares of the classes to ask "what if"
    for, ``likelihoods`` what ``normalisation`` needs, ``seeds`` which systems differ in their seed alone (system ->
    seed, for each recipe), ``board`` what a leaderboard tells of the judged systems (see ``leaderboard``),
    ``levers`` in which settings runs differ (run -> setting -> value), ``run`` the run's manifest, ``looks`` how
    often the test rows were evaluated before, ``drift`` how the test rows differ from the train rows, ``weak`` what
    was found on kinds of tweets before the texts were hidden.
    """

    validation: Sequence[Mapping[str, Any]] = ()
    behaviour: Sequence[Mapping[str, Any]] = ()
    suite: Mapping[str, Any] = field(default_factory=dict)
    training: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    priors: Mapping[str, float] | None = None
    likelihoods: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[Mapping[str, int]] = ()
    board: Mapping[str, Any] = field(default_factory=dict)
    levers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    looks: Mapping[str, Any] | None = None
    drift: Mapping[str, Any] | None = None
    weak: Mapping[str, Any] | None = None


def sections(
    predictions: Sequence[Mapping[str, Any]],
    sample: Sample,
    systems: Mapping[str, Any],
    evidence: Evidence,
    *,
    seed: int,
) -> dict[str, Any]:
    """The parts of ``metrics.json`` beside the scores, each as far as it can be told.

    Args:
        predictions: the rows of ``predictions.jsonl``. ``similarity`` to the nearest training text and ``suspect``,
            whether the prepared data set doubts the label, are used where every row has them.
        sample: the same rows as arrays.
        systems: the scores, as in ``metrics.json``.
        evidence: all else.
        seed: of the resampling.
    """
    predicted = sample.readings[sample.headline(sample.candidate)]
    probabilities = _probabilities(predictions, sample)
    train = (evidence.data.get("classes") or {}).get("train")
    found: dict[str, Any] = {}
    if evidence.seeds:
        found["seeds"] = seed_spread(evidence.seeds, systems)
    if evidence.levers:
        found["levers"] = levers(evidence.levers, systems)
    if evidence.likelihoods:
        found["normalisation"] = normalisation(sample, evidence.likelihoods, seed=seed)
    if probabilities:
        found["ranking"] = ranking(
            sample.y_true, predicted, probabilities, groups=sample.groups, labels=sample.labels, seed=seed
        )
    if sample.candidate in sample.models:
        test = Answers(sample.log_likelihoods[sample.candidate], sample.y_true, predicted, sample.groups)
        validation, shares = _validation(evidence.validation, sample.labels), _shares(train, sample.labels)
        found["confidence"] = confidence(test, sample.labels, validation=validation, priors=shares, seed=seed)
        if validation is not None:
            found["adjustment"] = adjustment(test, validation, sample.labels, shares=shares, seed=seed)
    found["priors"] = priors(
        sample.y_true,
        predicted,
        groups=sample.groups,
        labels=sample.labels,
        given=evidence.priors,
        probabilities=probabilities.get(sample.candidate),
        train=train,
        seed=seed,
    )
    if any(row["input"] for row in predictions):  # else the texts were hidden, and nobody can tell their kinds
        found["weak"] = weaknesses(
            predictions,
            sample,
            systems[sample.candidate],
            similarity=_column(predictions, "similarity"),
            suspects={row["id"] for row in predictions if row["suspect"]} if "suspect" in predictions[0] else None,
            raters=(evidence.data.get("labels") or {}).get("raters"),
            seed=seed,
        )
    elif evidence.weak is not None:
        found["weak"] = evidence.weak
    if evidence.behaviour:
        suite = cases(sample.labels, evidence.suite["seed"], quick=evidence.suite["quick"])
        found["behaviour"] = behaviour(suite, {row["text"]: row for row in evidence.behaviour}, sample.labels)
    if evidence.run:
        counts = (evidence.data.get("classes") or {}).get("val")
        training = training_curves(evidence.training, evidence.run, labels=sample.labels, counts=counts)
        if training is not None:
            found["training"] = training
    return found


def _probabilities(predictions: Sequence[Mapping[str, Any]], sample: Sample) -> dict[str, Floats]:
    """System -> probabilities of the classes, shape ``(n, k)``, for those that give some."""
    found = {name: tempered(scores) for name, scores in sample.log_likelihoods.items()}
    for name in sample.systems:
        if name not in found and "probabilities" in predictions[0]["systems"][name]:
            rows = [row["systems"][name]["probabilities"] for row in predictions]
            found[name] = np.array([[row[label] for label in sample.labels] for row in rows])
    return {name: found[name] for name in sample.systems if name in found}


def _validation(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Answers | None:
    if not rows:
        return None
    return Answers(
        np.array([[row["log_likelihoods"][label] for label in labels] for row in rows]),
        encode([row["label"] for row in rows], labels=labels),
        encode([row[MODEL_READINGS[0]] for row in rows], labels=labels),
        np.unique([row["group"] for row in rows], return_inverse=True)[1].astype(np.int64),
    )


def _shares(counts: Mapping[str, int] | None, labels: Sequence[str]) -> Floats | None:
    """The share of each class; None where one of them has no row."""
    found = np.array([(counts or {}).get(label, 0) for label in labels], dtype=np.float64)
    return found / found.sum() if found.all() else None


def _column(predictions: Sequence[Mapping[str, Any]], name: str) -> Floats | None:
    return np.array([row[name] for row in predictions]) if name in predictions[0] else None
