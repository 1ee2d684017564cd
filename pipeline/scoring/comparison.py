"""Whether one system is better than another on the same rows, and what the test could have seen at all."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import patterns_of

ALPHA = 0.05
POWER = 0.8
PERMUTATIONS = 10_000
_CHUNK = 1_000


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test (1947): a fair coin over the rows that exactly one system got right."""
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


def permutation_test(
    counts_a: Counts,
    counts_b: Counts,
    metric: Callable[[NDArray[Any]], Floats],
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> float:
    """Two-sided p for the difference of a metric when the two systems' predictions are exchangeable.

    Under the null hypothesis it is chance which system gave which of the two predictions, so each group's pair is
    swapped with probability 1/2 (approximate randomization, Noreen 1989). The rows of one group are swapped
    together. p is ``(1 + c) / (1 + B)`` with ``c`` permutations at least as extreme (Phipson and Smyth 2010).

    Args:
        counts_a: confusion matrices of the first system, one for each group, shape ``(G, k, k + 1)``.
        counts_b: the same for the second system.
        metric: from matrices ``(..., k, k + 1)`` to values ``(...)``.
        seed: of the generator.
        permutations: number of permutations ``B``.
    """
    groups, k, columns = counts_a.shape
    total_a, total_b = counts_a.sum(0), counts_b.sum(0)
    observed = abs(float(metric(total_a)) - float(metric(total_b)))
    moves, multiplicity = patterns_of((counts_b - counts_a).reshape(groups, k * columns))
    swappable = moves.any(axis=1)
    moves, multiplicity = moves[swappable].astype(np.float64), multiplicity[swappable]
    generator = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, permutations, _CHUNK):
        size = (min(_CHUNK, permutations - start), len(multiplicity))
        moved = (generator.binomial(multiplicity, 0.5, size=size) @ moves).reshape(-1, k, columns)
        difference = np.abs(metric(total_a + moved) - metric(total_b - moved))
        # A permutation that gives the observed value must count, whatever the last bit of its sum.
        extreme += int((difference >= observed - 1e-12).sum())
    return (1 + extreme) / (1 + permutations)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down procedure (1979), in the order given."""
    m = len(p_values)
    adjusted = [0.0] * m
    largest = 0.0
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def smallest_detectable(n: int, discordance: float) -> float | None:
    """The smallest difference of accuracies that the exact McNemar test finds with 80 % power at level 0.05.

    Args:
        n: number of independent rows.
        discordance: share of rows that exactly one of the systems gets right.

    Returns:
        The difference, from 0 to ``discordance``, or None: no difference is found that often.
    """
    if discordance <= 0 or mcnemar_power(n, discordance, discordance) < POWER:
        return None
    low, high = 0.0, discordance
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if mcnemar_power(n, discordance, middle) >= POWER else (middle, high)
    return high


def mcnemar_power(n: int, discordance: float, difference: float) -> float:
    """Chance that the exact McNemar test rejects at level 0.05.

    The number of discordant rows ``m`` is binomial with ``n`` and ``discordance``; of these the first system gets
    a binomial number right with probability ``(1 + difference / discordance) / 2``. No simulation is needed.
    """
    # Beyond nine standard deviations the binomial has less than 1e-15 of its mass.
    mean, reach = n * discordance, 9 * math.sqrt(n * discordance * (1 - discordance)) + 9
    m = np.arange(max(0, math.floor(mean - reach)), min(n, math.ceil(mean + reach)) + 1)
    # The two-sided test rejects when the smaller count is at most this; -1 where it never does.
    critical = binom.ppf(ALPHA / 2, m, 0.5)
    critical = np.where(binom.cdf(critical, m, 0.5) > ALPHA / 2, critical - 1, critical)
    share = (1 + difference / discordance) / 2
    rejects = binom.cdf(critical, m, share) + binom.sf(m - critical - 1, m, share)
    return float((binom.pmf(m, n, discordance) * rejects).sum())
