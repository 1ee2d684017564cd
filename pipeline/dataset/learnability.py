"""Whether the labels have anything to do with the texts."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, random_table
from sklearn.metrics import confusion_matrix

from pipeline.dataset.held_out import HeldOut

_PERMUTATIONS = 1_000
# A pair of rows in different folds counts twice: each is in the training rows of the other. Permuting the answers
# does not show that, and the variance under random labels is up to twice that of the permutations. In simulations
# with random labels on real texts it was 1.3 to 1.6 times; without the factor 8 to 10 of 100 had p < 0.05, with it 2
# to 4.
_COUNTED_TWICE = math.sqrt(2)
_POWER = 0.8


@dataclass(frozen=True)
class Learnability:
    """How much better than chance a classifier predicts labels of rows that it has not seen.

    ``value`` is its macro-F1 on ``n`` rows, one of each group of duplicates, in ``folds`` folds; ``chance`` the mean
    of ``permutations`` random assignments of its answers to the rows; ``p_value`` the probability of such a value or a
    higher one where labels and texts are unrelated. ``detectable`` is the lift over chance that such a test finds four
    times out of five.
    """

    value: float
    chance: float
    p_value: float
    detectable: float
    n: int
    folds: int
    permutations: int

    def to_json(self) -> dict[str, object]:
        """The figures as they stand in the manifest."""
        return {"metric": "macro_f1", **asdict(self)}


def learnability(found: HeldOut, seed: int) -> Learnability:
    """Tests the answers for rows that were held out against random ones, given how often each answer is given.

    A table of given against predicted classes with its margins fixed is all that a permutation can change (Patefield
    1981), so tables are drawn and not orders. The value is compared with them as a normal deviate.
    """
    _, first = np.unique(found.groups, return_index=True)
    given, predicted = found.given[first], found.probabilities[first].argmax(axis=1)
    table = confusion_matrix(given, predicted, labels=range(len(found.labels)))
    margins = table.sum(axis=1), table.sum(axis=0)
    value = float(_macro_f1(table))
    draws = _macro_f1(random_table(*margins).rvs(_PERMUTATIONS, random_state=seed))
    chance, spread = float(draws.mean()), float(draws.std()) * _COUNTED_TWICE
    return Learnability(
        value=value,
        chance=chance,
        p_value=_p_value(value, draws),
        detectable=float(norm.isf(0.05) + norm.ppf(_POWER)) * spread,
        n=len(first),
        folds=found.folds,
        permutations=_PERMUTATIONS,
    )


def _p_value(value: float, draws: NDArray[np.float64]) -> float:
    """Probability of the value or a higher one; no smaller than so many draws can show."""
    if draws.min() == draws.max():  # all answers are the same
        return 1.0
    deviate = (value - draws.mean()) / (draws.std() * _COUNTED_TWICE)
    return max(float(norm.sf(deviate)), 1 / (len(draws) + 1))


def _macro_f1(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the classes of ``2 TP / (support + predicted)``, 0 / 0 as 0, of tables ``(..., k, k)``."""
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    totals = table.sum(-1) + table.sum(-2)
    return np.asarray(np.divide(2 * hits, totals, out=np.zeros(hits.shape), where=totals > 0).mean(-1))
