"""From predictions to ``metrics.json``: a pure function, the same for any order of the rows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scoring import metrics
from pipeline.scoring.comparison import ALPHA, holm, mcnemar, permutation_test, smallest_detectable
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    around,
    bootstrap,
    free_rows,
    group_counts,
    wilson,
)
from pipeline.scoring.leaderboard import leaderboard
from pipeline.scoring.leakage_sheet import leakage_sheet
from pipeline.scoring.one_interval import take_over
from pipeline.scoring.sample import MODEL_READINGS, Sample, read_sample
from pipeline.scoring.sections import Evidence, sections
from pipeline.scoring.verdict import verdict

METRICS = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_f1": metrics.macro_f1,
    "mcc": metrics.mcc,
    "adjusted_balanced_accuracy": metrics.adjusted_balanced_accuracy,
    "macro_precision": metrics.macro_precision,
    "weighted_f1": metrics.weighted_f1,
    "g_mean": metrics.g_mean,
    "kappa": metrics.kappa,
}
# What only means something where the classes go from low to high.
ORDERED = {"quadratic_kappa": metrics.quadratic_kappa, "severe_error_rate": metrics.severe_error_rate}
PER_CLASS = {"precision": metrics.precision, "recall": metrics.recall, "f1": metrics.f1, "f2": metrics.f2}
# The least possible value, where it is not 0.
_LEAST = dict.fromkeys(("mcc", "kappa", "quadratic_kappa", "adjusted_balanced_accuracy"), -1.0)
_SHARES = ("accuracy", "severe_error_rate")
COMPARED = ("accuracy", "macro_f1")


def score(
    predictions: Sequence[Mapping[str, Any]],
    *,
    labels: Sequence[str],
    seed: int = 0,
    candidate: str = "tuned",
    picked_from: int = 1,
    ordered: bool = False,
    evidence: Evidence | None = None,
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Intervals are at 95 %. Proportions (accuracy, recall, precision, rates) have Wilson intervals when each row is a
    group of its own; else they have what every other metric has, the percentile interval of a bootstrap that
    resamples whole groups. All systems share the resamples.

    Args:
        predictions: the rows of ``predictions.jsonl``, in any order.
        labels: the classes in the order of the task.
        seed: of the resampling.
        candidate: the system that is judged; the others are what it is compared with.
        picked_from: number of systems that it is the best of, on these rows.
        ordered: whether the classes go from low to high.
        evidence: what is known besides; without it, only the scores and their comparison are made.

    Raises:
        PipelineError: there are no rows, or a row is not as expected.
    """
    sample = read_sample(predictions, labels, candidate)
    scorer = _Scorer(sample, seed, METRICS | (ORDERED if ordered else {}))
    support = scorer.support
    present = [i for i in range(len(sample.labels)) if support[i] > 0]
    result: dict[str, Any] = {
        "rows": {
            "n": len(sample.y_true),
            "groups": sample.n_groups,
            "support": dict(zip(sample.labels, support.tolist(), strict=True)),
        },
        "candidate": candidate,
        "picked_from": picked_from,
        "ordered": ordered,
        "smallest_class": sample.labels[min(present, key=lambda i: support[i])],
        "intervals": {
            "level": LEVEL,
            "proportions": "Wilson" if sample.independent else "bootstrap over groups",
            "other": "bootstrap over groups",
            "resamples": RESAMPLES,
            "seed": seed,
        },
        "systems": scorer.systems(),
        "comparisons": scorer.comparisons(),
    }
    result["confusion"] = result["systems"][candidate]["confusion"]
    alarms = evidence.data.get("alarms") or [] if evidence is not None else []
    result["data_alarms"] = [alarm["kind"] for alarm in alarms]
    if evidence is not None:
        if evidence.board:
            pairs = scorer.pairs(list(evidence.board["costs"]))
            result["leaderboard"] = leaderboard(evidence.board, result["systems"], pairs, rows=len(sample.y_true))
        found = sections(predictions, sample, result["systems"], evidence, seed=seed)
        take_over(found, result["systems"], candidate)
        result |= found
        if evidence.drift is not None:
            result["drift"] = evidence.drift
        result["leakage_sheet"] = leakage_sheet(evidence.data, evidence.run, result, evidence.looks)
    result["verdict_level"], result["verdict"] = verdict(result)
    return result


class _Scorer:
    """One sample's matrices and their resamples, computed once."""

    def __init__(self, sample: Sample, seed: int, scalar: Mapping[str, Callable[[Counts], Floats]]) -> None:
        self.sample, self.seed, self.scalar = sample, seed, scalar
        k = len(sample.labels)
        self.shape = (k, k + 1)
        self.keys = list(sample.readings)
        cells = np.stack([sample.y_true * (k + 1) + sample.readings[key] for key in self.keys], axis=1)
        differ = np.stack(
            [np.zeros(len(cells), dtype=bool)]
            + [sample.readings[m, MODEL_READINGS[0]] != sample.readings[m, MODEL_READINGS[1]] for m in sample.models],
            axis=1,
        )
        # Each row adds one to one cell of every reading's matrix, then to "same" or "differ" of every model.
        width = k * (k + 1)
        self.n_cells = width * len(self.keys)
        columns = np.concatenate(
            [cells + width * np.arange(len(self.keys)), self.n_cells + 2 * np.arange(differ.shape[1]) + differ], axis=1
        )
        counts = group_counts(sample.groups, columns, self.n_cells + 2 * differ.shape[1])
        self.by_group = self._matrices(counts)
        self.point = self._statistics(counts.sum(axis=0, keepdims=True).astype(np.float64))
        self.draws = bootstrap(counts, self._statistics, seed=seed)
        self.matrices = self.by_group.sum(axis=0)
        self.support: Counts = self.matrices[0].sum(axis=1)

    def _matrices(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Confusion matrices ``(b, readings, k, k + 1)`` of summed counts ``(b, m)``."""
        return sums[:, : self.n_cells].reshape(len(sums), len(self.keys), *self.shape)

    def _statistics(self, sums: Floats) -> dict[str, Floats]:
        matrices = self._matrices(sums)
        same_differ = sums[:, self.n_cells :].reshape(len(sums), -1, 2)
        draws = {name: metric(matrices) for name, metric in {**self.scalar, **PER_CLASS}.items()}
        draws["unparsed"] = metrics.unparsed_rate(matrices)
        draws["disagreement"] = same_differ[..., 1] / same_differ.sum(-1)
        return draws

    def systems(self) -> dict[str, Any]:
        """All systems, the candidate first and then the best."""
        found = {name: self.system(name) for name in self.sample.systems}
        ranked = sorted(found, key=lambda name: (name != self.sample.candidate, -found[name]["macro_f1"]["value"]))
        return {name: found[name] for name in ranked}

    def system(self, name: str) -> dict[str, Any]:
        """Everything about one system, by its headline reading."""
        key = self.sample.headline(name)
        i = self.keys.index(key)
        n = len(self.sample.y_true)
        generated = self.keys.index((name, "generate")) if name in self.sample.models else i
        result: dict[str, Any] = {
            "reading": key[1],
            **self._scores(i),
            "unparsed_rate": float(self.point["unparsed"][0, generated]),
            "unparsed_interval": self._proportion("unparsed", (generated,), n).to_json(),
        }
        if name in self.sample.models:
            model = self.sample.models.index(name) + 1
            mass = np.exp(self.sample.log_likelihoods[name]).sum(axis=1)
            result |= {
                "readings": {r: self._scores(self.keys.index((name, r))) for r in MODEL_READINGS},
                "disagreement_rate": float(self.point["disagreement"][0, model]),
                "disagreement_interval": self._proportion("disagreement", (model,), n).to_json(),
                "label_mass": {"mean": float(np.sort(mass).mean()), "min": float(mass.min())},
            }
        result["per_class"] = {label: self._class(i, c) for c, label in enumerate(self.sample.labels)}
        result["confusion"] = {
            "labels": list(self.sample.labels),
            "columns": [*self.sample.labels, "unparsed"],
            "matrix": self.matrices[i].tolist(),
        }
        return result

    def _scores(self, i: int) -> dict[str, Any]:
        n = len(self.sample.y_true)
        return {
            name: {
                "value": float(self.point[name][0, i]),
                **(self._proportion(name, (i,), n) if name in _SHARES else self._resampled(name, (i,))).to_json(),
            }
            for name in self.scalar
        }

    def _class(self, i: int, c: int) -> dict[str, Any]:
        predicted = int(self.matrices[i][:, c].sum())
        intervals = {
            "precision": self._proportion("precision", (i, c), predicted),
            "recall": self._proportion("recall", (i, c), int(self.support[c])),
            "f1": self._resampled("f1", (i, c)),
            "f2": self._resampled("f2", (i, c)),
        }
        return {
            **{name: float(self.point[name][0, i, c]) for name in PER_CLASS},
            "support": int(self.support[c]),
            "predicted": predicted,
            "intervals": {name: interval.to_json() for name, interval in intervals.items()},
        }

    def _proportion(self, name: str, at: tuple[int, ...], n: int) -> Interval:
        """Interval of a share of ``n`` rows."""
        value = float(self.point[name][(0, *at)])
        if self.sample.independent:
            return wilson(round(value * n), n)
        interval = self._resampled(name, at)
        if interval.low < interval.high:
            return interval
        # No resample of rows that are all right holds an error.
        free = min(n, free_rows(self.sample.groups))
        return wilson(round(value * free), free)

    def _resampled(self, name: str, at: tuple[int, ...]) -> Interval:
        if self.sample.n_groups == 1:
            # One group has only one resample, itself. Nothing is known.
            return Interval(_LEAST.get(name, 0.0), 1.0)
        everywhere: Any = (..., *at)
        value = float(self.point[name][everywhere].item())
        return around(value, self.draws[name][everywhere])

    def comparisons(self) -> list[dict[str, Any]]:
        """The candidate against every other system, metric by metric, p adjusted over the systems."""
        others = [name for name in self.sample.systems if name != self.sample.candidate]
        families = [[self._compare(self.sample.candidate, name, metric) for name in others] for metric in COMPARED]
        return [comparison for family in families for comparison in _settled(family)]

    def pairs(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Every two of some systems by macro-F1, the better one first, p adjusted over the pairs."""

        def worth(name: str) -> float:
            return float(self.point["macro_f1"][0, self.keys.index(self.sample.headline(name))])

        ranked = sorted(names, key=lambda name: (-worth(name), name))
        return _settled([self._compare(a, b, "macro_f1") for a, b in combinations(ranked, 2)])

    def _compare(self, one: str, other: str, metric: str) -> dict[str, Any]:
        a, b = (self.keys.index(self.sample.headline(system)) for system in (one, other))
        right_a, right_b = (self.sample.readings[self.keys[i]] == self.sample.y_true for i in (a, b))
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        n = len(self.sample.y_true)
        if metric == "accuracy" and self.sample.independent:
            test, p_value = "McNemar, exact", mcnemar(only_a, only_b)
        else:
            test = "permutation over groups"
            p_value = permutation_test(self.by_group[:, a], self.by_group[:, b], METRICS[metric], seed=self.seed)
        difference = float(self.point[metric][0, a] - self.point[metric][0, b])
        interval = around(difference, self.draws[metric][:, a] - self.draws[metric][:, b])
        if self.sample.n_groups == 1:
            interval = Interval(-1.0, 1.0)
        result = {
            "a": one,
            "b": other,
            "metric": metric,
            "readings": [self.keys[a][1], self.keys[b][1]],
            "difference": difference,
            **interval.to_json(),
            "test": test,
            "p_value": p_value,
            "n": n,
            "discordant": only_a + only_b,
            "only_a": only_a,
            "only_b": only_b,
        }
        if metric == "accuracy":
            result["smallest_detectable"] = smallest_detectable(free_rows(self.sample.groups), (only_a + only_b) / n)
        return result


def _settled(family: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons with p adjusted over all of them, and whether each tells its two systems apart."""
    return [
        {**each, "p_holm": p, "distinguishable": p < ALPHA and not each["low"] <= 0 <= each["high"]}
        for each, p in zip(family, holm([each["p_value"] for each in family]), strict=True)
    ]
