"""Answers of a made-up model whose true probabilities are known, drawn from a seed."""

import numpy as np

from pipeline.scoring.confidence import Answers

LABELS = ("Negative", "Neutral", "Positive")


def make_answers(
    n: int = 300, *, k: int = 3, seed: int = 0, sharpness: float = 1.0, unparsed: float = 0.0, copies: int = 1
) -> Answers:
    """Calibrated where ``sharpness`` is 1, too sure above; ``copies`` of each row form one group."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (n, k))
    truth = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    y_true = np.minimum((rng.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1), k - 1)
    scores *= sharpness
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True)) + 0.02
    predicted = np.where(rng.random(n) < unparsed, k, scores.argmax(axis=1))
    scores, y_true, predicted = (np.repeat(each, copies, axis=0) for each in (scores, y_true, predicted))
    return Answers(scores, y_true.astype(np.int64), predicted.astype(np.int64), np.repeat(np.arange(n), copies))
