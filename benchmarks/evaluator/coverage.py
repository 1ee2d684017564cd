"""How often each kind of interval holds the truth that it is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.evaluator.tally import Outcomes
from benchmarks.evaluator.worlds import LABELS, K, World, draw
from pipeline.dataset.raters import against_others, alpha, coincidences, rater_agreement
from pipeline.scoring import metrics
from pipeline.scoring.calibration import row_losses
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.evaluation import COMPARED, METRICS, ORDERED, PER_CLASS, score
from pipeline.scoring.parts import Answers
from pipeline.scoring.priors import priors, reweighted
from pipeline.scoring.sections import Evidence
from pipeline.scoring.segments import Segment, judge
from pipeline.scoring.similarity import trends
from pipeline.scoring.temperature import tempered

# The model is too sure, as most are.
SHARPNESS = 1.5
COVERAGE = 0.8
_POPULATION = 200_000
_ROWS_A_GROUP = 1.96
_RARE = LABELS[0]


@dataclass(frozen=True)
class Setting:
    """How many tweets are drawn: ``n`` independent ones, or groups of copies that have ``n`` rows on average."""

    n: int
    clustered: bool = False

    @property
    def name(self) -> str:
        """The heading of its column."""
        return f"{self.n:,} rows{' in groups' if self.clustered else ''}"

    def draw(self, rng: np.random.Generator) -> World:
        """A sample."""
        n_groups = round(self.n / (_ROWS_A_GROUP if self.clustered else 1))
        return draw(rng, n_groups, clustered=self.clustered, sharpness=SHARPNESS)


def covered(setting: Setting, seed: int) -> Outcomes:
    """Whether each interval that the report makes of one sample holds the truth; None for one that is not defined."""
    rng = np.random.default_rng([seed, setting.n, setting.clustered])
    world, validation = setting.draw(rng), setting.draw(rng)
    truths = truth(clustered=setting.clustered)
    found = {**_scored(world, validation, truths, seed), **_parts(world, truths, seed), **_raters(world, seed)}
    return {name: _holds(interval, truths[name]) for name, interval in found.items()}


def _holds(interval: Mapping[str, float | None] | None, truth: float) -> bool | None:
    low, high = (None, None) if interval is None else (interval["low"], interval["high"])
    return None if low is None or high is None else low <= truth <= high


def _scored(world: World, validation: World, truths: Mapping[str, float], seed: int) -> dict[str, Any]:
    """The intervals of ``metrics.json``, by name."""
    shares = {label: truths[f"share of {label}"] for label in LABELS}
    evidence = Evidence(validation.rows(), data={"classes": {"train": shares}})
    found = score(world.rows(), labels=LABELS, seed=seed, ordered=True, evidence=evidence)
    scores, ranked = found["systems"]["tuned"], found["ranking"]["systems"]["tuned"]
    calibration, selective = found["confidence"]["calibration"], found["confidence"]["selective"]
    temperature = found["confidence"]["temperature"]["fitted"]
    kept = next(each for each in selective["at_coverage"] if each["asked"] == COVERAGE)
    uniform = found["priors"]["scenarios"]["uniform"]
    return {
        **{name: scores[name] for name in METRICS | ORDERED},
        **{f"{name} of the rare class": scores["per_class"][_RARE]["intervals"][name] for name in PER_CLASS},
        "unparsed rate": scores["unparsed_interval"],
        "disagreement of readings": scores["disagreement_interval"],
        **{f"difference of {each['metric']}": each for each in found["comparisons"]},
        "log-loss": calibration["log_loss"],
        "log-loss skill": calibration["log_loss"]["skill"],
        "Brier score": calibration["brier"],
        "overconfidence": calibration["overconfidence"],
        "temperature": temperature,
        "AURC": selective["aurc"],
        "gain of AURC": selective["gain"],
        "accuracy at coverage": kept["accuracy"],
        "macro_f1 at coverage": kept["macro_f1"],
        "average precision of the rare class": ranked["classes"][_RARE]["average_precision"],
        "macro average precision": ranked["macro"]["average_precision"],
        "macro ROC AUC": ranked["macro"]["roc_auc"],
        "answers less truth, rare class": found["ranking"]["bias"]["classes"][_RARE]["difference"],
        "what-if accuracy": uniform["accuracy"],
        "what-if macro_f1": uniform["macro_f1"],
        "what-if precision of the rare class": uniform["precision"][_RARE],
    }


def _parts(world: World, truths: Mapping[str, float], seed: int) -> dict[str, Any]:
    """The intervals of the sections that need texts, and that of shares estimated from calibrated probabilities."""
    answers = Answers(world.y_true, world.predicted, world.groups, K)
    judged = judge([Segment("planted", _inside(world))], answers, system="tuned", seed=seed)["judged"]
    trend = trends(world.similarity, [answers.right.astype(np.int64)], world.groups, seed=seed)[0]
    estimated = priors(
        world.y_true,
        world.predicted,
        groups=world.groups,
        labels=LABELS,
        probabilities=tempered(world.scores, SHARPNESS),
        train={label: round(_POPULATION * truths[f"share of {label}"]) for label in LABELS},
        seed=seed,
    )["estimate"]
    return {
        "difference of a segment": judged[0]["difference"] if judged else None,
        "trend with similarity": trend,
        f"share of {_RARE}": estimated["classes"][_RARE]["estimated"],
    }


def _inside(world: World) -> NDArray[np.bool_]:
    """A segment in which the model is worse."""
    return np.asarray(world.probabilities.max(axis=1) < 0.7)


def _raters(world: World, seed: int) -> dict[str, Any]:
    _, first = np.unique(world.groups, return_index=True)
    ratings = [[LABELS[c] for c in range(K) for _ in range(votes[c])] for votes in world.votes[first].tolist()]
    found = rater_agreement(ratings, LABELS, seed=seed)
    if found is None:
        raise AssertionError("five raters, and no two for any tweet")
    human = {"low": found.human_ceiling.low, "high": found.human_ceiling.high}
    return {"Krippendorff's alpha": {"low": found.low, "high": found.high}, "human ceiling": human}


@lru_cache
def truth(*, clustered: bool) -> dict[str, float]:
    """What the intervals are about, from a sample so large that its own error does not matter.

    By the plain formulas or scikit-learn; the metrics of the confusion matrix, which have oracles in their own tests,
    by this project's functions.
    """
    n_groups = round(_POPULATION / (_ROWS_A_GROUP if clustered else 1))
    world = draw(np.random.default_rng(0), n_groups, clustered=clustered, sharpness=SHARPNESS)
    y, rare = world.y_true, world.y_true == 0
    matrix, other = (_matrix(y, predicted) for predicted in (world.predicted, world.other))
    scalars = {name: float(metric(matrix)) for name, metric in (METRICS | ORDERED).items()}
    uniform = reweighted(matrix, np.full(K, 1 / K))
    right = world.predicted == y
    shares = np.bincount(y, minlength=K) / len(y)
    losses = row_losses(world.probabilities, y).mean(axis=0)
    sides = [(y == c, world.probabilities[:, c]) for c in range(K)]
    inside = _inside(world)
    return {
        **scalars,
        **{f"{name} of the rare class": float(metric(matrix)[0]) for name, metric in PER_CLASS.items()},
        **{f"difference of {name}": scalars[name] - float(METRICS[name](other)) for name in COMPARED},
        **{f"share of {label}": float(share) for label, share in zip(LABELS, shares, strict=True)},
        "unparsed rate": float((world.predicted == K).mean()),
        "disagreement of readings": float((world.predicted != world.scores.argmax(axis=1)).mean()),
        "log-loss": losses[0],
        "log-loss skill": 1 - losses[0] / -float(np.log(shares) @ shares),
        "Brier score": losses[1],
        "overconfidence": float((world.probabilities.max(axis=1) - (world.scores.argmax(axis=1) == y)).mean()),
        "temperature": SHARPNESS,
        **_selective_truth(world),
        "average precision of the rare class": average_precision_score(*sides[0]),
        "macro average precision": float(np.mean([average_precision_score(*side) for side in sides])),
        "macro ROC AUC": float(np.mean([roc_auc_score(*side) for side in sides])),
        "answers less truth, rare class": float(
            (world.predicted[world.predicted < K] == 0).mean() - rare[world.predicted < K].mean()
        ),
        "what-if accuracy": float(metrics.accuracy(uniform)),
        "what-if macro_f1": float(metrics.macro_f1(uniform)),
        "what-if precision of the rare class": float(metrics.precision(uniform)[0]),
        "difference of a segment": float(right[inside].mean() - right[~inside].mean()),
        "trend with similarity": _rank_correlation(world, right),
        **_raters_truth(world),
    }


def _selective_truth(world: World) -> dict[str, float]:
    """What is left when the least sure answers are withheld; an unparsed one has confidence 0."""
    padded = np.column_stack([world.probabilities, np.zeros(len(world.y_true))])
    confidence = padded[np.arange(len(padded)), world.predicted]
    order = np.argsort(-confidence, kind="stable")
    errors = (world.predicted != world.y_true)[order].cumsum()
    kept = np.arange(1, len(errors) + 1)
    area, error = float((errors / kept).mean()), float(errors[-1] / kept[-1])
    first = order[: round(COVERAGE * len(order))]
    matrix = _matrix(world.y_true[first], world.predicted[first])
    return {
        "AURC": area,
        "gain of AURC": error - area,
        "accuracy at coverage": float(metrics.accuracy(matrix)),
        "macro_f1 at coverage": float(metrics.macro_f1(matrix)),
    }


def _rank_correlation(world: World, right: NDArray[np.bool_]) -> float:
    """Of similarity and accuracy, a group counting once."""
    _, first = np.unique(world.groups, return_index=True)
    means = np.bincount(world.groups, right) / np.bincount(world.groups)
    return float(np.corrcoef(rankdata(world.similarity[first]), means)[0, 1])


def _raters_truth(world: World) -> dict[str, float]:
    _, first = np.unique(world.groups, return_index=True)
    votes = world.votes[first].astype(np.float64)
    table = against_others(votes).sum(axis=0).reshape(K, K)
    return {
        "Krippendorff's alpha": float(alpha(coincidences(votes).sum(axis=0).reshape(K, K), "ordinal")),
        "human ceiling": float(metrics.macro_f1(np.column_stack([table, np.zeros(K)]))),
    }


def _matrix(y_true: Counts, predicted: Counts) -> Floats:
    cells = np.bincount(y_true * (K + 1) + predicted, minlength=K * (K + 1))
    return cells.reshape(K, K + 1).astype(np.float64)
