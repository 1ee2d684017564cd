"""Whether a model's probabilities mean what they say: proper scores, and calibration error with its null band.

Classes are numbers, their position in the labels. A bare calibration error is mostly noise on a few hundred rows: a
perfectly calibrated model has one too. So each stands beside what such a model would show on the same rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pipeline.scoring.comparison import ALPHA
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import around, free_rows, percentiles, wilson

RESAMPLES = 1_000
WIDTH_BINS = 15
MASS_BINS = 10
_CHUNK = 100
# What scikit-learn's log_loss clips at: a probability of 0 is a rounded one.
_LEAST = float(np.finfo(np.float64).eps)


def resampled_weights(n_groups: int, *, seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each group is drawn in each resample of whole groups, in chunks of shape ``(b, G)``.

    Like ``intervals.bootstrap``, for statistics of real numbers, where hardly two groups are alike.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        chunk = [
            np.bincount(generator.integers(0, n_groups, n_groups), minlength=n_groups)
            for _ in range(min(_CHUNK, resamples - start))
        ]
        yield np.array(chunk, dtype=np.float64)


def estimate(value: float, draws: Floats | None) -> dict[str, float | None]:
    """A value with its percentile interval; null ends where there are no draws: one group resamples to itself."""
    if draws is None:
        return {"value": value, "low": None, "high": None}
    return {"value": value, **around(value, draws).to_json()}


def share(hits: int, n: int, free: int) -> dict[str, float]:
    """A share of ``n`` rows, at least one, with its Wilson interval.

    Args:
        hits: rows that count.
        n: all rows.
        free: how many independent rows these are worth, as ``free_rows`` counts them.
    """
    value = hits / n
    low, high = wilson(round(value * free), free)
    return {"value": value, "low": min(low, value), "high": max(high, value)}


@dataclass(frozen=True)
class Sums:
    """Columns summed over all rows, shape ``(m,)``, and in each resample of whole groups, shape ``(B, m)``.

    Where there is only one group, it resamples to itself and ``draws`` is None.
    """

    total: Floats
    draws: Floats | None

    @classmethod
    def of(cls, columns: Floats, groups: Counts, seed: int) -> "Sums":
        """Sums of columns ``(n, m)``."""
        sums = np.column_stack([np.bincount(groups, column) for column in columns.T])
        if len(sums) == 1:
            return cls(sums[0], None)
        draws = np.concatenate([weights @ sums for weights in resampled_weights(len(sums), seed=seed)])
        return cls(sums.sum(axis=0), draws)

    def ratio(self, column: int, to: int = -1) -> dict[str, float | None]:
        """One column's sum divided by another's, with its interval."""
        value = float(self.total[column] / self.total[to])
        if self.draws is None:
            return estimate(value, None)
        usable = self.draws[self.draws[:, to] > 0]
        return estimate(value, usable[:, column] / usable[:, to])


def row_losses(probabilities: Floats, y_true: Counts) -> Floats:
    """Log-loss and Brier score of each row, shape ``(n, 2)``; lower is better.

    ``-ln p_y``, in nats, with ``p_y`` not below 2e-16, and ``sum_k (p_k - [y = k])^2`` (Brier 1950), from 0 to 2.
    """
    of_true = np.take_along_axis(probabilities, y_true[:, None], axis=1)[:, 0]
    brier = (probabilities**2).sum(axis=1) - 2 * of_true + 1
    return np.column_stack([-np.log(np.clip(of_true, _LEAST, 1.0)), brier])


def proper_scores(
    probabilities: Floats, y_true: Counts, groups: Counts, *, priors: Floats | None = None, seed: int = 0
) -> dict[str, Any]:
    """Log-loss and Brier score, each with its skill: the share by which it beats the constant ``priors``.

    Skill is ``1 - loss / loss of the constant prediction`` (D2): 0 is no better than knowing the class shares, 1 is
    perfect. It is null where the constant prediction makes no loss or calls a class impossible that occurs.
    ``overconfidence`` is mean confidence in the likeliest class minus how often that class is right. Intervals are
    from a bootstrap over groups.

    Args:
        probabilities: shape ``(n, k)``, rows sum to 1.
        y_true: true classes, shape ``(n,)``.
        groups: number of each row's group, 0 to ``G - 1``, shape ``(n,)``.
        priors: class shares to beat, such as those of the train rows, shape ``(k,)``; else those of ``y_true``.
        seed: of the resampling.
    """
    k = probabilities.shape[1]
    constant = np.bincount(y_true, minlength=k) / len(y_true) if priors is None else priors / priors.sum()
    surplus = probabilities.max(axis=1) - (probabilities.argmax(axis=1) == y_true)
    losses = row_losses(probabilities, y_true)
    reference = row_losses(np.broadcast_to(constant, probabilities.shape), y_true)
    sums = Sums.of(
        np.column_stack([losses, reference, reference - losses, surplus, np.ones(len(y_true))]), groups, seed
    )
    impossible = bool((constant[y_true] == 0).any())
    result: dict[str, Any] = {"constant": "test" if priors is None else "train"}
    for i, name in enumerate(("log_loss", "brier")):
        comparable = sums.total[2 + i] > 0 and not (impossible and name == "log_loss")
        result[name] = sums.ratio(i) | {"skill": sums.ratio(4 + i, 2 + i) if comparable else None}
    return result | {"overconfidence": sums.ratio(6)}


def width_bins(confidence: Floats, bins: int = WIDTH_BINS) -> Counts:
    """Number of each row's bin among ``bins`` of equal width from 0 to 1, the upper end open but for the last."""
    return _bin_numbers(confidence, bins)


def mass_bins(confidence: Floats, bins: int = MASS_BINS) -> Counts:
    """Number of each row's bin among ``bins`` that hold nearly the same number of rows; equal values stay together."""
    return _bin_numbers((rankdata(confidence, method="average") - 0.5) / len(confidence), bins)


def _bin_numbers(shares: Floats, bins: int) -> Counts:
    return np.asarray(np.minimum(shares * bins, bins - 1), dtype=np.int64)


def reliability(confidence: Floats, right: Floats, groups: Counts, bins: Counts) -> list[dict[str, Any]]:
    """The bins that hold rows, from low to high: rows, mean confidence, and how often the class was right.

    Args:
        confidence: probability of the class in question, shape ``(n,)``.
        right: whether the row is of that class, 0 or 1, shape ``(n,)``.
        groups: number of each row's group, shape ``(n,)``.
        bins: number of each row's bin, shape ``(n,)``.
    """
    n, hits, sums = np.bincount(bins), np.bincount(bins, right), np.bincount(bins, confidence)
    return [
        {
            "bin": int(b),
            "n": int(n[b]),
            "confidence": float(sums[b] / n[b]),
            "accuracy": share(int(hits[b]), int(n[b]), free_rows(groups[bins == b])),
        }
        for b in np.flatnonzero(n)
    ]


class _Binning(NamedTuple):
    """A name, the rows' bins ``(n,)``, and the summed confidences and rows of the non-empty bins, ``(bins,)`` each."""

    name: str
    one_hot: NDArray[np.float32]
    sums: Floats
    n: Floats
    bins: list[dict[str, Any]]

    def errors(self, hits: Floats) -> Floats:
        """ECE and MCE for hits in each bin ``(..., bins)``, shape ``(..., 2)``."""
        gap = np.abs(hits - self.sums)
        return np.stack([gap.sum(axis=-1) / self.n.sum(), (gap / self.n).max(axis=-1)], axis=-1)


def calibration_error(
    probabilities: Floats, y_true: Counts, groups: Counts, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Calibration errors of the likeliest class, each with what a perfectly calibrated model would show.

    ECE is ``sum_b n_b / n |accuracy_b - confidence_b|`` (Naeini et al. 2015, Guo et al. 2017), in 15 bins of equal
    width and in 10 of equal mass; MCE is the largest gap of any bin. The null band is from consistency resampling
    (Broecker and Smith 2007): true classes are drawn from the probabilities themselves, and the rows of one group
    share their luck. ``null_95`` is the 95th percentile of the error then, ``null_mean`` its mean, and ``p_value``
    how often it is as large as observed. ``distinguishable`` goes by the ECE of equal mass, whose bins are never
    small.

    Args:
        probabilities: shape ``(n, k)``, rows sum to 1.
        y_true: true classes, shape ``(n,)``.
        groups: number of each row's group, 0 to ``G - 1``, shape ``(n,)``.
        seed: of the resampling.
        resamples: number of resamples.

    Returns:
        For ``equal_width`` and ``equal_mass``: ``ece``, ``mce`` and ``bins``, those with the 95 % band of the
        accuracy that a calibrated model would have in them.
    """
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == y_true).astype(np.float64)
    binnings = [
        _binning(name, confidence, right, groups, bins)
        for name, bins in (("equal_width", width_bins(confidence)), ("equal_mass", mass_bins(confidence)))
    ]
    generator = np.random.default_rng(seed)
    null: list[list[Floats]] = [[] for _ in binnings]
    for start in range(0, resamples, _CHUNK):
        luck = generator.random((min(_CHUNK, resamples - start), int(groups.max()) + 1), dtype=np.float32)
        hit = (luck[:, groups] < confidence).astype(np.float32)
        for draws, binning in zip(null, binnings, strict=True):
            draws.append(np.asarray(hit @ binning.one_hot, dtype=np.float64))
    result: dict[str, Any] = {}
    for draws, binning in zip(null, binnings, strict=True):
        hits = np.concatenate(draws)
        observed, under_null = binning.errors(right @ binning.one_hot), binning.errors(hits)
        low, high = percentiles(hits / binning.n)
        for i, one in enumerate(binning.bins):
            one |= {"null_low": float(low[i]), "null_high": float(high[i])}
        errors = {name: _beside_null(observed[i], under_null[:, i]) for i, name in enumerate(("ece", "mce"))}
        result[binning.name] = {**errors, "bins": binning.bins}
    return result | {"distinguishable": result["equal_mass"]["ece"]["p_value"] < ALPHA}


def _binning(name: str, confidence: Floats, right: Floats, groups: Counts, bins: Counts) -> _Binning:
    filled, position = np.unique(bins, return_inverse=True)
    one_hot = np.zeros((len(bins), len(filled)), dtype=np.float32)
    one_hot[np.arange(len(bins)), position] = 1
    listed = reliability(confidence, right, groups, bins)
    sums, n = (np.bincount(position, each).astype(np.float64) for each in (confidence, np.ones(len(bins))))
    return _Binning(name, one_hot, sums, n, listed)


def _beside_null(observed: float, null: Floats) -> dict[str, float]:
    # A draw that gives the observed value must count, whatever the last bit of its sum.
    extreme = int((null >= observed - 1e-12).sum())
    return {
        "value": float(observed),
        "null_mean": float(null.mean()),
        "null_95": float(np.quantile(null, 0.95)),
        "p_value": (1 + extreme) / (1 + len(null)),
    }


def class_reliability(
    probabilities: Floats, y_true: Counts, groups: Counts, labels: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """For each class, in ten bins of equal width, its probability beside how often the row is of that class."""
    return {
        label: reliability(p, (y_true == c).astype(np.float64), groups, width_bins(p, 10))
        for c, (label, p) in enumerate(zip(labels, probabilities.T, strict=True))
    }
