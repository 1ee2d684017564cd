"""How far two samples' distributions lie apart, for many divisions of the same rows at once.

Each distance takes what falls into each of ``m`` columns on one side, shape ``(b, m)``, for ``b`` divisions, and what
falls into them on both sides together, shape ``(m,)``. It gives values from 0 to 1, shape ``(b,)``.
"""

import numpy as np
from scipy.special import chndtrinc, xlogy
from scipy.stats import chi2

from pipeline.scoring.confusion import Floats
from pipeline.scoring.intervals import LEVEL, Interval


def cramers_v(one: Floats, both: Floats) -> Floats:
    """Cramér's V (1946) of side and column: ``sqrt(chi2 / n)``, because two sides leave one degree in a column."""
    one, both = one[:, both > 0], both[both > 0]
    n, here = both.sum(), one.sum(axis=1, keepdims=True)
    expected, rest = here * both / n, (n - here) * both / n
    return np.asarray(np.sqrt(((one - expected) ** 2 * (1 / expected + 1 / rest)).sum(axis=1) / n))


def kolmogorov(one: Floats, both: Floats) -> Floats:
    """The largest gap between the cumulated shares (Smirnov 1939); the columns are the values from low to high."""
    rest = both - one
    gaps = np.cumsum(one, axis=1) / one.sum(axis=1, keepdims=True)
    gaps -= np.cumsum(rest, axis=1) / rest.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(gaps).max(axis=1))


def jensen_shannon(one: Floats, both: Floats) -> Floats:
    """The distance of Endres and Schindelin (2003), base 2: the root of the entropy of the mean less the mean entropy.

    A side without anything in it is at distance 1.
    """
    p, q = _shares(one), _shares(both - one)
    mean = (p + q) / 2
    divergence = (xlogy(p, p) + xlogy(q, q)).sum(axis=1) / 2 - xlogy(mean, mean).sum(axis=1)
    empty = ~(p.any(axis=1) & q.any(axis=1))
    return np.where(empty, 1.0, np.sqrt(np.clip(divergence / np.log(2), 0.0, 1.0)))


def _shares(counts: Floats) -> Floats:
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0))


def cramers_interval(value: float, df: int, n: float) -> Interval:
    """Interval of Cramér's V of two samples with ``n`` independent rows in all (Smithson 2003, section 4).

    The noncentrality of chi-square is as low and as high as the statistic allows; ``V = sqrt(noncentrality / n)``.
    """
    statistic = value**2 * n
    tail = (1 - LEVEL) / 2
    ends = []
    for p in (1 - tail, tail):
        # The cumulated probability is highest without noncentrality.
        centre = chndtrinc(statistic, df, p) if statistic > 0 and chi2.cdf(statistic, df) > p else 0.0
        ends.append(min(1.0, float(np.sqrt(centre / n))))
    return Interval(min(ends[0], value), max(ends[1], value))
