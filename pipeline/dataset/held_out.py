"""What a classifier says of rows that it has not learnt from: the ground for judging labels by their texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from pipeline.dataset.records import Example
from pipeline.dataset.splitting import sample, split
from pipeline.errors import PipelineError

FOLDS = 5
MOST = 5_000


@dataclass(frozen=True)
class HeldOut:
    """Answers for ``n`` rows by models that have seen none of their copies.

    ``given`` and ``groups`` have shape ``(n,)``: index in ``labels`` of each row's label, and number of its group of
    duplicates. ``probabilities`` has shape ``(n, k)``, a column for each of the ``k`` labels; rows sum to 1.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    given: NDArray[np.int64]
    groups: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    folds: int


def held_out(
    examples: Sequence[Example],
    groups: Mapping[str, int],
    labels: Sequence[str],
    model: Pipeline,
    *,
    seed: int,
    most: int = MOST,
) -> HeldOut | None:
    """Cross-validation of a text classifier in stratified folds that keep duplicates together.

    Args:
        examples: the rows; of more than ``most`` of them a random sample with the classes in proportion is taken.
        groups: example id -> number of its group of duplicates.
        labels: the classes.
        model: features, then a classifier with ``predict_proba``. The features see all texts once, without labels,
            which tells nothing about any label and saves most of the time; the classifier is fitted for each fold.
        seed: of the sample and of the folds.
        most: number of rows from which on a sample is taken.

    Returns:
        None where that cannot be done: a class has too few groups to be on both sides of every fold, or the texts
        have no word in common.
    """
    if len(examples) > most:
        examples = sample(examples, most, seed).kept
    index = {label: i for i, label in enumerate(labels)}
    given = np.array([index[example.label] for example in examples], dtype=np.int64)
    numbers = np.array([groups[example.id] for example in examples], dtype=np.int64)
    fewest = min(len(np.unique(numbers[given == i])) for i in range(len(labels)))
    if fewest < 2:
        return None
    try:
        X = clone(model[:-1]).fit_transform([example.text for example in examples])
    except ValueError:  # the vocabulary is empty
        return None
    k = min(FOLDS, fewest)
    try:
        parts = split(examples, groups, labels=labels, shares={f"fold {i}": 1 / k for i in range(k)}, seed=seed)
    except PipelineError:  # too many groups have several classes
        return None
    place = {example.id: i for i, example in enumerate(examples)}
    probabilities = np.zeros((len(examples), len(labels)))
    for part in parts.values():
        test = np.zeros(len(examples), dtype=bool)
        test[[place[example.id] for example in part]] = True
        probabilities[test] = clone(model[-1]).fit(X[~test], given[~test]).predict_proba(X[test])
    return HeldOut(examples, tuple(labels), given, numbers, probabilities, k)
