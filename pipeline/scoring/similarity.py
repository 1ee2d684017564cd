"""Whether a system lives on tweets that it has seen: its accuracy by the likeness of the nearest training tweet."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.feature_extraction.text import CountVectorizer

from pipeline.scoring.comparison import ALPHA
from pipeline.scoring.confusion import Counts, Floats
from pipeline.scoring.intervals import LEVEL
from pipeline.scoring.parts import Answers, accuracy
from pipeline.scoring.verdict import at_start, name_of, p_text, signed_text
from pipeline.text import template_of

BINS = 10
FEWEST = 20
TREND_PERMUTATIONS = 2_000
_GRAM = 5
_BLOCK = 200
_CHUNK = 200
_DIGITS = 4


def nearest_in_train(train_texts: Sequence[str], test_texts: Sequence[str]) -> Floats:
    """The Jaccard similarity of each test text to the training text most like it, shape ``(n,)``, 0 to 1.

    Texts are compared as sets of character 5-grams of their templates, as copies are found when data is prepared:
    names, links, numbers and case do not matter. 1 is the same template. A pair's number depends on no other text.
    Rounded to 4 digits, so that it is the same once it was written to a file.
    """
    if not train_texts or not test_texts:
        return np.zeros(len(test_texts))
    test_grams = [_grams(template_of(text)) for text in test_texts]
    train_grams = [_grams(template) for template in sorted({template_of(text) for text in train_texts})]
    # Grams that no test text has cannot be shared; they count in the sizes alone.
    vectorizer = CountVectorizer(analyzer=set, binary=True, dtype=np.float32)
    test = vectorizer.fit_transform(test_grams)
    train = vectorizer.transform(train_grams).T.tocsr()
    test_sizes, train_sizes = (np.array([len(grams) for grams in texts]) for texts in (test_grams, train_grams))
    nearest = np.zeros(len(test_texts))
    for start in range(0, len(test_texts), _BLOCK):
        shared = (test[start : start + _BLOCK] @ train).tocoo()
        row = shared.row + start
        likeness = shared.data / (test_sizes[row] + train_sizes[shared.col] - shared.data)
        np.maximum.at(nearest, row, likeness)
    return nearest.round(_DIGITS)


def by_similarity(similarity: Floats, systems: Mapping[str, Answers], *, seed: int) -> dict[str, Any]:
    """Accuracy in tenths of the similarity, and the trend of each system and of the first one's lead.

    Args:
        similarity: of each test text to its nearest training text, shape ``(n,)``.
        systems: name -> its answers to the same rows; the first is the one that is judged, a second one is what its
            trend is compared with.
        seed: of the resampling.

    Returns:
        ``n``, ``groups``, ``bins`` from the least alike to the most, ``trends`` (system -> trend), ``lead`` (the trend
        of being right where the second system is not) and ``sentence``, as in ``metrics.json``.
    """
    names = list(systems)
    judged = systems[names[0]]
    gains = [answers.right.astype(np.int64) for answers in systems.values()]
    found = trends(similarity, [*gains, *(gains[0] - other for other in gains[1:2])], judged.groups, seed=seed)
    bins = []
    for inside in _tenths(similarity):
        values = np.sort(similarity[inside])
        scores = {name: accuracy(answers.part(inside), seed=seed) for name, answers in systems.items()}
        bins.append(
            {
                "low": float(values[0]),
                "high": float(values[-1]),
                "mean": float(values.mean()),
                "n": len(values),
                "accuracy": scores,
            }
        )
    result = {
        "n": len(similarity),
        "groups": judged.n_groups,
        "bins": bins,
        "trends": dict(zip(names, found, strict=False)),
        "lead": found[-1] if len(names) > 1 else None,
    }
    return result | {"sentence": _sentence(result, names)}


def trends(
    similarity: Floats, gains: Sequence[NDArray[Any]], groups: Counts, *, seed: int
) -> list[dict[str, float] | None]:
    """Correlation of the rank of similarity with each gain, over groups, with interval and two-sided p.

    Where the gain is right or wrong and every row is a group of its own this is Spearman's rho. A group counts once,
    with its largest similarity and its mean gain, because its rows are not independent; the mean is not ranked,
    because it takes other values in larger groups. p comes from shuffling the similarities, the same for all gains;
    the statistic is the correlation in its standard errors, which keeps the test valid where similar texts are merely
    more or less uncertain (DiCiccio and Romano 2017). The interval is that of Bonett and Wright (Psychometrika 2000).

    Args:
        similarity: shape ``(n,)``.
        gains: such as 1 for a right answer and 0 for a wrong one; each of shape ``(n,)``.
        groups: numbers of the rows' groups, shape ``(n,)``.
        seed: of the permutations.

    Returns:
        For each gain ``value``, ``low``, ``high``, ``p_value`` and ``n``, the number of groups; None where there are
        fewer than four groups, or where the similarity or the gain is the same in all.
    """
    group_of = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(group_of)
    likeness = np.zeros(len(sizes))
    np.maximum.at(likeness, group_of, similarity)
    means = np.stack([np.bincount(group_of, gain) / sizes for gain in gains], axis=1)
    # In sorted order, so that the order of the rows does not decide which permutations are drawn.
    order = np.lexsort((*means.T, likeness))
    x = _centred(rankdata(likeness[order]))
    gained = _centred(means[order])

    n = len(x)
    observed = _in_errors(x[None], gained)[0]
    generator = np.random.default_rng(seed)
    extreme = np.zeros(len(gains), dtype=np.int64)
    for start in range(0, TREND_PERMUTATIONS, _CHUNK):
        copies = np.tile(x, (min(_CHUNK, TREND_PERMUTATIONS - start), 1))
        shuffled = _in_errors(generator.permuted(copies, axis=1, out=copies), gained)
        extreme += (np.abs(shuffled) >= np.abs(observed) - 1e-9).sum(axis=0)
    scale = np.sqrt((x @ x) * (gained**2).sum(axis=0))
    varied = (np.ptp(means, axis=0) > 0) & bool(np.ptp(likeness))
    result: list[dict[str, float] | None] = []
    for i, count in enumerate(extreme.tolist()):
        if n < 4 or not varied[i]:
            result.append(None)
            continue
        rho = min(1.0, max(-1.0, float(x @ gained[:, i] / scale[i])))
        low, high = _interval(rho, n)
        p = (1 + count) / (1 + TREND_PERMUTATIONS)
        result.append({"value": rho, "low": low, "high": high, "p_value": p, "n": n})
    return result


def _grams(template: str) -> set[str]:
    """The 5-grams of characters of a template; one that is shorter is its own only gram."""
    return {template[i : i + _GRAM] for i in range(len(template) - _GRAM + 1)} or {template}


def _tenths(similarity: Floats) -> list[NDArray[np.bool_]]:
    """Parts of about equal size from the least alike to the most; equal values stay together, none is below 20 rows."""
    n = len(similarity)
    wanted = max(1, min(BINS, n // FEWEST))
    values, counts = np.unique(similarity, return_counts=True)
    ends: list[float] = []
    done = 0
    for value, reached in zip(values.tolist(), np.cumsum(counts).tolist(), strict=True):
        full = reached >= n * (len(ends) + 1) / wanted and reached - done >= FEWEST
        if full and n - reached >= FEWEST:
            ends.append(value)
            done = reached
    part = np.searchsorted(ends, similarity, side="left")
    return [part == i for i in range(len(ends) + 1)]


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=0))


def _in_errors(x: Floats, gained: Floats) -> Floats:
    """Correlations ``(b, m)`` of ``x (b, n)`` with ``gained (n, m)`` in units of their robust standard error."""
    covariance, error = x @ gained, np.sqrt(x**2 @ gained**2)
    return np.divide(covariance, error, out=np.zeros(covariance.shape), where=error > 0)


def _interval(rho: float, n: int) -> tuple[float, float]:
    if abs(rho) == 1:
        return rho, rho
    reach = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)


def _sentence(result: Mapping[str, Any], names: Sequence[str]) -> str:
    trend, bins = result["trends"][names[0]], result["bins"]
    system = name_of(names[0])
    if trend is None:
        return (
            f"Whether {system} lives on tweets that it has seen cannot be told: "
            "all answers, or all similarities, are alike, or there are too few."
        )
    told = _told(trend)
    if trend["p_value"] >= ALPHA:
        return (
            f"The accuracy of {system} does not distinguishably depend on how much the nearest training tweet is like "
            f"the test tweet ({told}): nothing here says that it lives on tweets that it has seen."
        )
    ends = ""
    if len(bins) > 1:
        first, last = (bins[i]["accuracy"][names[0]] for i in (0, -1))
        ends = f", from {_estimate(first)} for the least alike to {_estimate(last)} for the most"
    turn = "rises" if trend["value"] > 0 else "falls"
    said = f"The accuracy of {system} {turn} with the likeness of the nearest training tweet{ends} ({told})."
    return f"{said} {_meaning(result, names)}" if trend["value"] > 0 else said


def _meaning(result: Mapping[str, Any], names: Sequence[str]) -> str:
    """What a rise says, given the second system's."""
    lead = result["lead"]
    if lead is None:
        return "Memorised tweets look like this, and so do easy ones; on tweets of a new kind expect the lower figure."
    other = name_of(names[1])
    if lead["p_value"] >= ALPHA:
        return f"The trend of {other} is not distinguishable from it ({_told(lead)}), so this need not be memory."
    if lead["value"] > 0:
        return (
            f"{at_start(names[1])} gains less ({_told(lead)} for the lead over it): part of the score is likely "
            "memory, and tweets of a new kind will go worse."
        )
    return f"{at_start(names[1])} gains more ({_told(lead)} for the lead over it), so it lives on likeness more."


def _told(trend: Mapping[str, float]) -> str:
    value, low, high = (signed_text(trend[key]) for key in ("value", "low", "high"))
    told = f"rank correlation {value}, 95 % interval {low} to {high}, n = {trend['n']:,}"
    return f"{told}, {p_text(trend['p_value'])}"


def _estimate(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
