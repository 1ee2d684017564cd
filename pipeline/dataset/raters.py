"""Several raters for each text: how far they agree, and what a person scores against the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.polarity import from_low_to_high, polarities

Level = Literal["nominal", "ordinal", "interval"]
Matrix = NDArray[np.float64]

_RESAMPLES = 1_000
_CHUNK = 100


@dataclass(frozen=True)
class RaterAgreement:
    """Agreement of raters, and what one of them scores against the majority of the others.

    ``items`` have two ``ratings`` or more. ``alpha`` is Krippendorff's, with its 95 % interval, all None where every
    rating is the same. ``macro_f1``, with its interval, and ``accuracy`` are those of a rater drawn at random from an
    item drawn at random.
    """

    items: int
    ratings: int
    raters_per_item: Mapping[str, float]
    level: Level
    alpha: float | None
    low: float | None
    high: float | None
    human_ceiling: "HumanCeiling"

    def to_json(self) -> dict[str, object]:
        """The figures as they stand in the manifest."""
        figures = asdict(self)
        return {("krippendorff_alpha" if name == "alpha" else name): value for name, value in figures.items()}


@dataclass(frozen=True)
class HumanCeiling:
    """Score of a random rater, the majority of the others taken as the truth; the interval is that of macro-F1."""

    macro_f1: float
    accuracy: float
    low: float
    high: float


def rater_agreement(
    ratings: Sequence[Sequence[str]], labels: Sequence[str], *, seed: int, level: Level | None = None
) -> RaterAgreement | None:
    """Krippendorff's alpha and the human ceiling, with bootstrap intervals over items.

    Items are resampled and not raters, who are not known: the intervals cover other texts, not other people.

    Args:
        ratings: for each item the classes that its raters gave; items with fewer than two are left out.
        labels: all classes.
        seed: of the bootstrap.
        level: what the distance of two classes is. Without it, ``ordinal`` where the names of the classes have an order
            from negative to positive, else ``nominal``.

    Returns:
        None where no item has two ratings.
    """
    steps = polarities(labels)
    order = list(labels) if steps is None else from_low_to_high(labels, steps)
    level = level or ("nominal" if steps is None else "ordinal")
    index = {label: i for i, label in enumerate(order)}
    counts = np.zeros((len(ratings), len(order)))
    for row, given in zip(counts, ratings, strict=True):
        for label in given:
            row[index[label]] += 1
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return None
    k, raters = len(order), counts.sum(axis=1)
    pairs, against = coincidences(counts), against_others(counts)
    low_high = {}
    draws = np.concatenate(list(_resampled(np.hstack([pairs, against]), seed)))
    for name, values in (
        ("alpha", alpha(draws[:, : k * k].reshape(-1, k, k), level)),
        ("macro_f1", _macro_f1(draws[:, k * k :].reshape(-1, k, k))),
    ):
        low_high[name] = np.nanquantile(values, [0.025, 0.975]) if not np.isnan(values).all() else (np.nan, np.nan)
    table = against.sum(axis=0).reshape(k, k)
    measured = [_known(float(x)) for x in (alpha(pairs.sum(axis=0).reshape(k, k), level), *low_high["alpha"])]
    return RaterAgreement(
        items=len(counts),
        ratings=int(raters.sum()),
        raters_per_item={"min": int(raters.min()), "median": float(np.median(raters)), "max": int(raters.max())},
        level=level,
        alpha=measured[0],
        low=measured[1],
        high=measured[2],
        human_ceiling=HumanCeiling(
            macro_f1=float(_macro_f1(table)),
            accuracy=float(np.trace(table) / table.sum()),
            low=float(low_high["macro_f1"][0]),
            high=float(low_high["macro_f1"][1]),
        ),
    )


def coincidences(counts: Matrix) -> Matrix:
    """Each item's share of the coincidence matrix: its ordered pairs of ratings, each weighted 1 / (raters - 1).

    Args:
        counts: how many raters gave each class, shape ``(n, k)``; two raters an item at least.

    Returns:
        Shape ``(n, k * k)``.
    """
    n, k = counts.shape
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, range(k), range(k)] -= counts
    return np.asarray((pairs / (counts.sum(axis=1) - 1)[:, None, None]).reshape(n, k * k))


def alpha(coincidence: Matrix, level: Level) -> Matrix:
    """Krippendorff's alpha of coincidence matrices ``(..., k, k)`` (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability"): one less the ratio of observed to expected distance; NaN where only one class occurs.

    The distance of two classes is 1 (nominal), the square of the number of ratings from the middle of the one to the
    middle of the other (ordinal), or the square of their steps (interval).
    """
    margin = coincidence.sum(axis=-1)
    k = margin.shape[-1]
    if level == "nominal":
        distance = 1 - np.eye(k)
    else:
        position = np.arange(k) if level == "interval" else margin.cumsum(axis=-1) - margin / 2
        distance = (position[..., :, None] - position[..., None, :]) ** 2
    total = margin.sum(axis=-1)
    observed = (coincidence * distance).sum(axis=(-2, -1))
    expected = (margin[..., :, None] * margin[..., None, :] * distance).sum(axis=(-2, -1)) / (total - 1)
    return np.asarray(1 - np.divide(observed, expected, out=np.full(np.shape(expected), np.nan), where=expected > 0))


def against_others(counts: Matrix) -> Matrix:
    """Each item's table of the majority of the others (rows) against one rater (columns), over its raters in turn.

    Where several classes have most votes, each is the majority in part. Every item adds 1.

    Args:
        counts: as for ``coincidences``.

    Returns:
        Shape ``(n, k * k)``.
    """
    n, k = counts.shape
    tables = np.zeros((n, k, k))
    for said in range(k):
        others = counts - np.eye(k)[said]
        most = others == others.max(axis=1, keepdims=True)
        tables[:, :, said] = most / most.sum(axis=1, keepdims=True) * counts[:, [said]]
    return np.asarray((tables / counts.sum(axis=1)[:, None, None]).reshape(n, k * k))


def _resampled(items: Matrix, seed: int) -> Iterator[Matrix]:
    """Sums over items drawn with replacement, shape ``(b, m)`` at a time. Items that are alike are drawn as one."""
    generator = np.random.default_rng(seed)
    kinds, number = np.unique(items, axis=0, return_counts=True)
    for _ in range(0, _RESAMPLES, _CHUNK):
        yield generator.multinomial(len(items), number / len(items), size=_CHUNK) @ kinds


def _macro_f1(table: Matrix) -> Matrix:
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    totals = table.sum(-1) + table.sum(-2)
    return np.asarray(np.divide(2 * hits, totals, out=np.zeros(hits.shape), where=totals > 0).mean(-1))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
