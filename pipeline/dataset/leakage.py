"""How many test rows have a copy among the training rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from pipeline.dataset.records import Example


@dataclass(frozen=True)
class Leakage:
    """Shares, 0 to 1, of ``test_rows`` with a copy in train; each kind of copy includes the ones before it.

    ``exact``: the same text. ``template``: the same but for mentions, links, numbers, case and punctuation. ``near``:
    in the same group of near-duplicates.
    """

    test_rows: float
    exact: float
    template: float
    near: float

    def to_json(self) -> dict[str, float]:
        """The shares as they stand in a manifest."""
        return asdict(self)


def leakage(train: Sequence[Example], test: Sequence[Example], groups: Mapping[str, int]) -> Leakage:
    """Counts the copies; ``groups`` maps an example's id to the number of its group of duplicates."""
    texts = {example.text for example in train}
    templates = {example.template for example in train}
    numbers = {groups[example.id] for example in train}
    n = len(test)
    return Leakage(
        n,
        sum(example.text in texts for example in test) / n,
        sum(example.template in templates for example in test) / n,
        sum(groups[example.id] in numbers for example in test) / n,
    )


def random_leakage(
    examples: Sequence[Example], groups: Mapping[str, int], test: float, seed: int, repeats: int = 5
) -> Leakage | None:
    """The leakage of the random stratified split that is usually made: the mean over ``repeats`` seeds from ``seed``.

    ``test`` is the share of test rows. None where no such split can be made: a class has one example alone.
    """
    labels = np.array([example.label for example in examples])
    classes, n = len(set(labels)), len(examples)
    if min(Counter(labels.tolist()).values()) < 2:
        return None
    # scikit-learn wants room for one row a class on both sides.
    test_rows = min(max(round(n * test), classes), n - classes)
    # Numbers in place of texts: a row is compared five times over.
    kinds = (
        pd.factorize(np.array([example.text for example in examples], dtype=object))[0],
        pd.factorize(np.array([example.template for example in examples], dtype=object))[0],
        pd.factorize(np.array([groups[example.id] for example in examples]))[0],
    )
    found = []
    for repeat in range(repeats):
        train, held_out = train_test_split(
            np.arange(n), test_size=test_rows, random_state=(seed + repeat) % 2**32, stratify=labels
        )
        found.append([np.isin(codes[held_out], codes[train]).mean() for codes in kinds])
    return Leakage(test_rows, *(float(share) for share in np.mean(found, axis=0)))
