"""What the scores are computed from: the rows of ``predictions.jsonl``, checked and turned into numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.scoring.confusion import Counts, Floats, encode

# Systems in the order of the page; any further one follows them.
SYSTEMS = ("tuned", "untuned", "few_shot", "embeddings", "tfidf", "textblob", "vader", "majority")
MODEL_READINGS = ("generate", "loglikelihood")
# The tuned model is read as its user gets it. The untuned one seldom answers with a bare label, so it is read in the
# way that favours it: a baseline must not be a strawman.
HEADLINE = {"tuned": "generate", "untuned": "loglikelihood", "few_shot": "loglikelihood"}

_OF_MODELS = ("completion", *MODEL_READINGS, "log_likelihoods")

# A whole label's probability is at most 1; the rest is rounding in the model's arithmetic.
_LARGEST_LOG_LIKELIHOOD = 1e-3


@dataclass(frozen=True)
class Sample:
    """The test rows as arrays; classes are numbers, their position in ``labels``, and ``k`` is unparsed.

    ``candidate`` is the system that is judged; all others are what it is compared with.

    ``y_true`` and ``groups`` have shape ``(n,)``, groups numbered 0 to ``G - 1``. ``readings`` maps (system,
    reading) to predicted classes ``(n,)``, ``log_likelihoods`` a system to shape ``(n, k)``.
    """

    labels: tuple[str, ...]
    candidate: str
    y_true: Counts
    groups: Counts
    readings: Mapping[tuple[str, str], Counts]
    log_likelihoods: Mapping[str, Floats]

    @property
    def n_groups(self) -> int:
        """Number of groups of near-duplicates."""
        return int(self.groups.max()) + 1

    @property
    def independent(self) -> bool:
        """Whether each row is a group of its own."""
        return self.n_groups == len(self.groups)

    @property
    def systems(self) -> list[str]:
        """The systems that predicted, the candidate first."""
        return list(dict.fromkeys(system for system, _ in self.readings))

    @property
    def models(self) -> list[str]:
        """The systems that were read in two ways."""
        return list(self.log_likelihoods)

    def headline(self, system: str) -> tuple[str, str]:
        """The reading of a system that its scores are made from."""
        found = [key for key in self.readings if key[0] == system]
        return next((key for key in found if key[1] == HEADLINE.get(system)), found[0])


def read_sample(predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], candidate: str = "tuned") -> Sample:
    """The rows of ``predictions.jsonl`` as arrays.

    Raises:
        PipelineError: there are no rows, the candidate is missing, or a row is not as expected; the message names its
            line.
    """
    if not predictions:
        raise PipelineError("predictions: expected at least one test row, got none; check the test split")
    names: list[str] | None = None
    ids: set[str] = set()
    for number, row in enumerate(predictions, start=1):
        where = f"predictions, line {number}"
        _check_row(row, labels, where)
        if row["id"] in ids:
            raise PipelineError(f"{where}: id {row['id']!r} stands there twice; every test row must be scored once")
        ids.add(row["id"])
        if names is None:
            names = sorted(row["systems"], key=lambda s: (s != candidate, _place(s), s))
            if candidate not in names:
                raise PipelineError(f"{where}: expected the system {candidate!r}, got {', '.join(names) or 'none'}")
        elif set(row["systems"]) != set(names):
            got = ", ".join(sorted(row["systems"]))
            raise PipelineError(f"{where}: expected the systems of line 1 ({', '.join(names)}), got {got}")
        for name in names:
            _check_answer(row["systems"][name], name, labels, where)
    readings = {
        (name, reading): encode([row["systems"][name][reading] for row in predictions], labels=labels)
        for name in names or ()
        for reading in (MODEL_READINGS if _is_model(predictions[0]["systems"][name]) else ("predicted",))
    }
    log_likelihoods = {
        name: np.array([[row["systems"][name]["log_likelihoods"][label] for label in labels] for row in predictions])
        for name in names or ()
        if _is_model(predictions[0]["systems"][name])
    }
    return Sample(
        labels=tuple(labels),
        candidate=candidate,
        y_true=encode([row["label"] for row in predictions], labels=labels),
        groups=np.unique([row["group"] for row in predictions], return_inverse=True)[1].astype(np.int64),
        readings=readings,
        log_likelihoods=log_likelihoods,
    )


def _place(system: str) -> int:
    return SYSTEMS.index(system) if system in SYSTEMS else len(SYSTEMS)


def _is_model(answer: Mapping[str, Any]) -> bool:
    """Whether an answer was read in two ways; in a leaderboard the same system has one answer alone."""
    return any(key in answer for key in _OF_MODELS)


def headline_answer(system: str, answer: Mapping[str, Any]) -> str | None:
    """What a system answered, in the reading of its headline."""
    reading = HEADLINE.get(system, "predicted")
    found: str | None = answer[reading if reading in answer else "predicted"]
    return found


def _check_row(row: object, labels: Sequence[str], where: str) -> None:
    if not isinstance(row, Mapping):
        raise PipelineError(f"{where}: expected an object, got {type(row).__name__}")
    for key, kind in (("id", str), ("group", int), ("input", str), ("label", str), ("systems", Mapping)):
        if key not in row:
            raise PipelineError(f"{where}: the key {key!r} is missing; write the file again with pipeline.evaluate")
        if not isinstance(row[key], kind):
            raise PipelineError(f"{where}: {key} must be of type {kind.__name__}, got {row[key]!r:.60}")
    if row["label"] not in labels:
        raise PipelineError(f"{where}: label must be one of {', '.join(labels)}; got {row['label']!r:.60}")


def _check_answer(answer: object, name: str, labels: Sequence[str], where: str) -> None:
    where = f"{where}, {name}"
    if not isinstance(answer, Mapping):
        raise PipelineError(f"{where}: expected an object, got {type(answer).__name__}")
    is_model = _is_model(answer)
    for key in _OF_MODELS if is_model else ("predicted",):
        if key not in answer:
            raise PipelineError(f"{where}: the key {key!r} is missing; write the file again with pipeline.evaluate")
    for key in MODEL_READINGS if is_model else ("predicted",):
        if answer[key] is not None and answer[key] not in labels:
            raise PipelineError(f"{where}: {key} must be null or one of {', '.join(labels)}; got {answer[key]!r:.60}")
    if not is_model:
        return
    if not isinstance(answer["completion"], str):
        raise PipelineError(f"{where}: completion must be a text, got {answer['completion']!r:.60}")
    scores = answer["log_likelihoods"]
    if not isinstance(scores, Mapping) or set(scores) != set(labels):
        raise PipelineError(f"{where}: log_likelihoods must have a number for each of {', '.join(labels)}")
    for label, value in scores.items():
        if not isinstance(value, int | float) or not math.isfinite(value) or value > _LARGEST_LOG_LIKELIHOOD:
            raise PipelineError(
                f"{where}: log_likelihoods of {label!r} must be the logarithm of a probability, got {value!r:.60}"
            )
