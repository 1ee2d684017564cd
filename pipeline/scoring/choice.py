"""Whether the best trial of a search is better than the settings that the search was given, or only luckier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from pipeline.scoring.confusion import Floats, encode
from pipeline.scoring.intervals import group_counts

RESAMPLES = 1_000
_CHUNK = 100


@dataclass(frozen=True)
class Choice:
    """What a search found; trials by their places among those that were compared.

    ``gain`` is the score of the ``best`` trial less that of the given settings, ``standard_error`` that of this
    difference on the same rows. ``lasting_gain`` is what of it is left on rows that did not choose the best.
    """

    best: int
    gain: float
    standard_error: float
    lasting_gain: float

    @property
    def chosen(self) -> int:
        """The best trial, if it is better by more than one standard error and not by luck alone; else the given one.

        The one-standard-error rule (Breiman et al. 1984, Classification and Regression Trees, 3.4.3) with the given
        settings in the place of the simplest ones.
        """
        return self.best if self.gain > self.standard_error and self.lasting_gain > 0 else 0


def choose(
    y_true: Sequence[str],
    groups: Sequence[int],
    answers: Sequence[Sequence[int | None]],
    *,
    labels: Sequence[str],
    metric: Callable[[NDArray[Any]], Floats],
    seed: int,
    resamples: int = RESAMPLES,
) -> Choice:
    """Compares the trials of a search by what they answered to the same rows.

    The best of many scores is too high, because luck was chosen too. So whole groups of rows are drawn with
    replacement many times over, the best trial is chosen anew on each draw, and measured on the groups that were not
    drawn; the mean of its gains there is the ``lasting_gain`` (Tsamardinos, Greasidou and Borboudakis 2018, Machine
    Learning 107). Where no trial is better it is 0 on average, where one is it is somewhat too small. The same draws
    give the standard error of the gain, by the paired bootstrap.

    Args:
        y_true: the rows' classes, length ``n``.
        groups: the rows' groups, length ``n``.
        answers: what each of ``T`` trials answered, as numbers in the order of ``labels``, None for what is no label;
            the first trial is that of the given settings. Of equal trials the first is the best.
        labels: the ``k`` classes.
        metric: from confusion matrices ``(..., k, k + 1)`` to values ``(...)``.
        seed: of the draws.
        resamples: their number.
    """
    trials, k = len(answers), len(labels)
    width = k * (k + 1)
    answered = np.array([[k if number is None else number for number in each] for each in answers])  # (T, n)
    cells = encode(y_true, labels=labels)[:, None] * (k + 1) + answered.T
    numbers = np.unique(groups, return_inverse=True)[1]
    counts = group_counts(numbers, cells + width * np.arange(trials), width * trials)

    def scores(sums: NDArray[Any]) -> Floats:
        return metric(sums.reshape(len(sums), trials, k, k + 1))

    total = scores(counts.sum(0, keepdims=True))[0]
    best = int(total.argmax())
    table = csr_array(counts.astype(np.float64))
    generator = np.random.default_rng(seed)
    gains, lasting = [], []
    for start in range(0, resamples, _CHUNK):
        draws = min(_CHUNK, resamples - start)
        weights = generator.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
        inside = scores(np.asarray(weights.astype(np.float64) @ table))
        outside = scores(np.asarray((weights == 0).astype(np.float64) @ table))
        gains.append(inside[:, best] - inside[:, 0])
        lasting.append(outside[np.arange(draws), inside.argmax(1)] - outside[:, 0])
    return Choice(
        best,
        float(total[best] - total[0]),
        float(np.concatenate(gains).std(ddof=1)),
        float(np.concatenate(lasting).mean()),
    )
