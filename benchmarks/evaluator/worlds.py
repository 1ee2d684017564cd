"""Populations whose law is known, and samples from them as the evaluation gets them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from scipy.stats import norm

from pipeline.scoring.confusion import Counts, Floats

LABELS = ("Negative", "Neutral", "Positive")
K = len(LABELS)
# Shifts of the scores that make the classes about 14, 32 and 54 % of the tweets.
_LEAN = np.array([-1.0, 0.0, 0.6])
_SPREAD = 1.5
_UNPARSED = 0.03
# How often a copy of a tweet gets another answer than the likeliest one.
_WAVERING = 0.1
_OTHERS_NOISE = 1.2
_MOST_COPIES = 5


@dataclass(frozen=True)
class World:
    """A sample of tweets; all arrays have shape ``(n,)`` but for ``scores`` and ``votes``, ``(n, k)``.

    ``scores`` are a model's log-likelihoods of the classes and ``predicted`` is what it wrote, ``k`` where that is no
    label; ``other`` is another system's answer. ``similarity`` is that to the nearest training text, ``votes`` how many
    raters gave each class.
    """

    y_true: Counts
    groups: Counts
    scores: Floats
    predicted: Counts
    other: Counts
    similarity: Floats
    votes: Counts

    @property
    def probabilities(self) -> Floats:
        """Of the classes by the model, shape ``(n, k)``."""
        return np.asarray(softmax(self.scores, axis=1))

    def rows(self) -> list[dict[str, Any]]:
        """As in ``predictions.jsonl``: the model as ``tuned`` and the other system.

        They also serve as the rows of ``validation.jsonl``.
        """
        rows = rows_of(self.y_true, self.groups, {"other": self.other})
        for row, generated, scores in zip(rows, _names(self.predicted), self.scores, strict=True):
            answer = {
                "completion": generated or "I think",
                "generate": generated,
                "loglikelihood": LABELS[int(scores.argmax())],
                "log_likelihoods": dict(zip(LABELS, scores.tolist(), strict=True)),
            }
            row |= answer
            row["systems"]["tuned"] = answer
        return rows


def rows_of(y_true: Counts, groups: Counts, systems: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Rows of ``predictions.jsonl`` for systems of which only the answers are known, without texts."""
    answers = {name: _names(predicted) for name, predicted in systems.items()}
    return [
        {
            "id": str(i),
            "group": int(group),
            "input": "",
            "label": label,
            "systems": {name: {"predicted": given[i]} for name, given in answers.items()},
        }
        for i, (label, group) in enumerate(zip(_names(y_true), groups, strict=True))
    ]


def draw(rng: np.random.Generator, n_groups: int, *, clustered: bool = False, sharpness: float = 1.0) -> World:
    """Tweets from the population: ``n_groups`` independent ones, each with up to five copies where ``clustered``.

    The chances of the classes are the softmax of the scores before ``sharpness``, so a model of sharpness 1 is
    calibrated and one of 2 needs temperature 2. Copies share scores and class; how many there are depends on the
    likeliest class, so that neither a group nor a row is typical of the other.
    """
    scores = rng.normal(0, _SPREAD, (n_groups, K)) + _LEAN
    y_true = sampled(rng, softmax(scores, axis=1))
    likeliest = scores.argmax(axis=1)
    sizes = 1 + rng.binomial(_MOST_COPIES - 1, 0.1 + 0.15 * likeliest) if clustered else np.ones(n_groups, np.int64)
    margin = np.diff(np.sort(scores, axis=1), axis=1)[:, -1]
    similarity = norm.cdf((margin - margin.mean()) / 2 + rng.normal(0, 1, n_groups))
    votes = rng.multinomial(5, softmax(2 * scores, axis=1))
    groups = np.repeat(np.arange(n_groups), sizes)
    scores = scores[groups]
    answers = np.where(rng.random(len(groups)) < _WAVERING, sampled(rng, softmax(scores, axis=1)), likeliest[groups])
    predicted = np.where(rng.random(len(groups)) < _UNPARSED, K, answers)
    other = (scores + rng.normal(0, _OTHERS_NOISE, scores.shape)).argmax(axis=1)
    # A little of a model's probability is on other texts than the labels.
    log_likelihoods = np.asarray(log_softmax(sharpness * scores, axis=1)) - 0.02
    return World(
        y_true[groups], groups, log_likelihoods, predicted, other, similarity[groups], votes[groups].astype(np.int64)
    )


def sampled(rng: np.random.Generator, chances: Floats) -> Counts:
    """A class for each row of chances ``(n, k)``."""
    drawn: Counts = (rng.random((len(chances), 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return np.asarray(np.minimum(drawn, chances.shape[1] - 1))


def _names(classes: Counts) -> list[str | None]:
    return [None if c == K else LABELS[c] for c in classes.tolist()]
