"""How often each test finds something where there is nothing, at the level of 5 %."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from benchmarks.evaluator.tally import Outcomes
from benchmarks.evaluator.texts import tweets
from benchmarks.evaluator.worlds import LABELS, K, World, draw, rows_of, sampled
from pipeline.dataset.held_out import held_out
from pipeline.dataset.learnability import learnability
from pipeline.dataset.records import Example
from pipeline.scoring import metrics
from pipeline.scoring.baselines import word_model
from pipeline.scoring.calibration import calibration_error
from pipeline.scoring.comparison import ALPHA, mcnemar, permutation_test
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.evaluation import score
from pipeline.scoring.intervals import group_counts
from pipeline.scoring.parts import Answers
from pipeline.scoring.ranking import marginal_bias
from pipeline.scoring.segments import Segment, judge
from pipeline.scoring.similarity import trends

_OTHERS = 5
_KINDS = 12
_SHARES = np.array([0.12, 0.33, 0.55])


def paired_tests(seed: int, *, n_groups: int = 300, clustered: bool = False) -> Outcomes:
    """Two systems that are equally good and err on their own."""
    rng = np.random.default_rng([seed, clustered])
    world = draw(rng, n_groups, clustered=clustered)
    a, b = _answers(rng, world), _answers(rng, world)
    cells = (world.y_true * (K + 1) + each for each in (a, b))
    of_a, of_b = (group_counts(world.groups, each[:, None], K * (K + 1)).reshape(-1, K, K + 1) for each in cells)
    only_a, only_b = ((x == world.y_true) & (y != world.y_true) for x, y in ((a, b), (b, a)))
    where = "groups" if clustered else "rows"
    return {
        "McNemar: accuracy, rows": None if clustered else mcnemar(int(only_a.sum()), int(only_b.sum())) < ALPHA,
        f"permutation: accuracy, {where}": permutation_test(of_a, of_b, metrics.accuracy, seed=seed) < ALPHA,
        f"permutation: macro-F1, {where}": permutation_test(of_a, of_b, metrics.macro_f1, seed=seed) < ALPHA,
    }


def equal_systems(seed: int, *, n_groups: int = 300, clustered: bool = False) -> Outcomes:
    """A system beside five that are as good and err on their own, and beside one whose answers are the same."""
    rng = np.random.default_rng([seed, clustered])
    world = draw(rng, n_groups, clustered=clustered)
    answers = {f"other {i}": _answers(rng, world) for i in range(_OTHERS)}
    found = score(
        rows_of(world.y_true, world.groups, {"judged": _answers(rng, world), **answers}),
        labels=LABELS,
        candidate="judged",
        seed=seed,
    )["comparisons"]
    where = "groups" if clustered else "rows"
    return {
        f"Holm: macro-F1 against any of {_OTHERS}, {where}": any(
            each["p_holm"] < ALPHA for each in found if each["metric"] == "macro_f1"
        ),
        f"called distinguishable from any of {_OTHERS} in accuracy or macro-F1, {where}": any(
            each["distinguishable"] for each in found
        ),
    }


def pair_of_equals(seed: int, *, n_groups: int = 300, clustered: bool = False) -> Outcomes:
    """One system beside one that is as good, and beside its own copy."""
    rng = np.random.default_rng([seed, clustered])
    world = draw(rng, n_groups, clustered=clustered)
    judged, equal = _answers(rng, world), _answers(rng, world)
    where = "groups" if clustered else "rows"

    def told_apart(other: Counts) -> bool:
        rows = rows_of(world.y_true, world.groups, {"judged": judged, "other": other})
        found = score(rows, labels=LABELS, candidate="judged", seed=seed)
        return "not distinguishable from other." not in " ".join(found["verdict"])

    return {
        f"verdict tells an equally good system apart, {where}": told_apart(equal),
        f"verdict tells a copy of itself apart, {where}": told_apart(judged),
    }


def unlike_systems(seed: int, *, n: int = 300) -> Outcomes:
    """Two systems of one macro-F1, one of which is good at common classes and the other equally good at all.

    They are not exchangeable, which is what the permutation test supposes.
    """
    rng = np.random.default_rng(seed)
    y_true = rng.choice(K, n, p=_SHARES)
    uneven, even = _laws()
    systems = {"judged": sampled(rng, uneven[y_true]), "other": sampled(rng, even[y_true])}
    found = score(rows_of(y_true, np.arange(n), systems), labels=LABELS, candidate="judged", seed=seed)["comparisons"]
    macro = next(each for each in found if each["metric"] == "macro_f1")
    return {
        "permutation: macro-F1 of systems that err otherwise": macro["p_value"] < ALPHA,
        "called distinguishable in macro-F1, systems that err otherwise": macro["distinguishable"],
    }


def segments(seed: int, *, clustered: bool = False) -> Outcomes:
    """Twelve kinds of tweets, and a system that is equally good at all: whether any is called weak or strong."""
    rng = np.random.default_rng([seed, clustered])
    world = draw(rng, 300, clustered=clustered)
    answers = Answers(world.y_true, world.predicted, world.groups, K)
    kinds = [Segment(str(i), rng.random(300)[: world.groups[-1] + 1][world.groups] < 0.3) for i in range(_KINDS)]
    judged = judge(kinds, answers, system="tuned", seed=seed)
    name = f"{judged['test']}, Benjamini-Hochberg: any of {_KINDS} kinds of tweets"
    return {name: any(each["finding"] != "same" for each in judged["judged"])}


def calibrated(seed: int, *, clustered: bool = False) -> Outcomes:
    """A model whose probabilities are true, which answers each class as often as there is one."""
    rng = np.random.default_rng([seed, clustered])
    world = draw(rng, 300, clustered=clustered)
    ece = calibration_error(world.probabilities, world.y_true, world.groups, seed=seed)
    guessed = sampled(rng, softmax(world.scores, axis=1)[_first(world)])[world.groups]
    bias = marginal_bias(world.y_true, guessed, groups=world.groups, labels=LABELS, seed=seed)
    where = "groups" if clustered else "rows"
    return {
        f"null band of the calibration error, {where}": ece["distinguishable"],
        f"Stuart-Maxwell: shares of the classes, {where}": bias["distinguishable"],
        f"Bowker: symmetry of the errors, {where}": bias["symmetry"]["p_value"] < ALPHA,
    }


def trend(seed: int, *, clustered: bool = False) -> Outcomes:
    """A system whose errors have nothing to do with the likeness of the training texts."""
    rng = np.random.default_rng([seed, clustered])
    world = draw(rng, 300, clustered=clustered)
    likeness = rng.random(world.groups[-1] + 1)[world.groups]
    found = trends(likeness, [(world.predicted == world.y_true).astype(np.int64)], world.groups, seed=seed)[0]
    where = "groups" if clustered else "rows"
    return {f"trend with similarity, {where}": None if found is None else found["p_value"] < ALPHA}


def unrelated_labels(seed: int, *, n: int = 400) -> Outcomes:
    """Labels drawn without looking at the texts: whether they are called learnable."""
    texts, labels = tweets(n, seed)
    shuffled = np.random.default_rng(seed).permutation(labels).tolist()
    examples = [Example(str(i), text, label) for i, (text, label) in enumerate(zip(texts, shuffled, strict=True))]
    groups = {example.id: i for i, example in enumerate(examples)}
    found = held_out(examples, groups, LABELS, word_model(seed), seed=seed)
    p = None if found is None else learnability(found, seed).p_value
    return {"labels unrelated to the texts called learnable": None if p is None else p < ALPHA}


def _answers(rng: np.random.Generator, world: World) -> Counts:
    """Of a system with noise of its own."""
    return np.asarray((world.scores + rng.normal(0, 1, world.scores.shape)).argmax(axis=1))


def _first(world: World) -> Counts:
    return np.unique(world.groups, return_index=True)[1]


def _laws() -> tuple[Floats, Floats]:
    """Chances of each answer to each class, shape ``(k, k)``, of two systems with the same macro-F1 in the long run."""
    uneven = _spread(np.array([0.35, 0.65, 0.85]))

    def excess(recall: float) -> float:
        return _macro_f1(_spread(np.full(K, recall))) - _macro_f1(uneven)

    return uneven, _spread(np.full(K, float(brentq(excess, 0.3, 0.99))))


def _spread(recall: Floats) -> Floats:
    """Errors in equal parts on the other classes."""
    return np.asarray((1 - recall)[:, None] / (K - 1) * (1 - np.eye(K)) + np.diag(recall))


def _macro_f1(chances: Floats) -> float:
    return float(metrics.macro_f1(np.column_stack([_SHARES[:, None] * chances, np.zeros(K)])))
