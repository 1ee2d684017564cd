"""How sure a number is: Wilson intervals, and a bootstrap over groups of rows."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest

from pipeline.scoring.confusion import Counts, Floats

LEVEL = 0.95
RESAMPLES = 10_000
_CHUNK = 250


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The interval as it stands in ``metrics.json``."""
        return {"low": self.low, "high": self.high}


def wilson(successes: int, n: int) -> Interval:
    """Interval of a proportion (Wilson 1927); never empty, also when all or none of the ``n`` are successes.

    With ``n = 0`` nothing is known: 0 to 1.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    # The interval does not depend on the proportion that is tested; at this one the p value costs least.
    interval = binomtest(successes, n, successes / n).proportion_ci(confidence_level=LEVEL, method="wilson")
    # The formula yields 0 - 1e-17 or 1 + 1e-17 at the ends.
    return Interval(max(0.0, float(interval.low)), min(1.0, float(interval.high)))


def free_rows(groups: Counts) -> int:
    """How many independent rows are worth as much as rows in groups, of which each answers as one.

    ``n^2 / sum_g n_g^2`` (Kish 1965, Survey Sampling): the number of groups where all have one size, and fewer where a
    large one has more weight than the others.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return int(len(groups) ** 2 // (sizes**2).sum())


def group_counts(groups: Counts, columns: Counts, width: int) -> Counts:
    """How often each group holds each column.

    Args:
        groups: number of each row's group, 0 to ``G - 1``, shape ``(n,)``.
        columns: columns that each row adds one to, shape ``(n, r)``.
        width: number of columns.

    Returns:
        Shape ``(G, width)``.
    """
    counts = np.zeros((int(groups.max()) + 1, width), dtype=np.int64)
    np.add.at(counts, (groups[:, None], columns), 1)
    return counts


def patterns_of(counts: Counts) -> tuple[Counts, Counts]:
    """The distinct rows of ``counts``, in sorted order, and how many groups have each.

    Groups with equal counts are interchangeable, so resampling needs only these. It makes the resampling fast, and
    independent of the order of the rows.
    """
    # Rows as texts of bytes, the first byte of a number its highest, sort as the rows do, and at once.
    number = np.dtype("u1" if counts.max(initial=0) < 256 else ">u4")
    texts = np.ascontiguousarray(counts.astype(number)).view(f"S{counts.shape[1] * number.itemsize}").ravel()
    _, first, multiplicity = np.unique(texts, return_index=True, return_counts=True)
    return counts[first], multiplicity.astype(np.int64)


def bootstrap(
    counts: Counts,
    statistics: Callable[[Floats], Mapping[str, NDArray[Any]]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Floats]:
    """Draws whole groups with replacement and computes statistics of the summed counts, many times over.

    The cluster bootstrap (Davison and Hinkley 1997, section 3.8): rows of one group stay together because they are
    not independent. Where every group is one row it is the ordinary bootstrap. All statistics see the same
    resamples, so the difference of two systems' draws is the paired bootstrap of their difference.

    Args:
        counts: what each group adds to the counts, shape ``(G, m)``.
        statistics: from sums of shape ``(b, m)`` to named arrays of shape ``(b, ...)``.
        seed: of the generator.
        resamples: number of resamples ``B``.

    Returns:
        Each statistic's draws, shape ``(B, ...)``.
    """
    patterns, multiplicity = patterns_of(counts)
    size = int(multiplicity.sum())
    generator = np.random.default_rng(seed)
    table = csr_array(patterns.astype(np.float64))
    chunks = []
    for start in range(0, resamples, _CHUNK):
        weights = generator.multinomial(size, multiplicity / size, size=min(_CHUNK, resamples - start))
        chunks.append(statistics(np.asarray(weights.astype(np.float64) @ table)))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def percentiles(draws: Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the percentile interval of draws ``(B, ...)``, each of shape ``(...)``."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def around(value: float, draws: Floats) -> Interval:
    """The percentile interval of draws ``(B,)`` of one statistic, wide enough to hold the value that was measured.

    With a handful of rows the draws of a skewed statistic can all lie on one side of it.
    """
    low, high = percentiles(draws)
    return Interval(min(float(low), value), max(float(high), value))
