"""Which kinds of tweets a system is worse at than at the rest, with a correction for how many were looked at."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, false_discovery_control, fisher_exact

from pipeline.scoring.comparison import ALPHA, PERMUTATIONS, POWER
from pipeline.scoring.intervals import patterns_of
from pipeline.scoring.parts import Answers, accuracy, difference, macro_f1
from pipeline.scoring.verdict import name_of
from pipeline.text import has_link

Mask = NDArray[np.bool_]

FEWEST = 30
_NAMED = 3
SEEN = {
    "with a mention": re.compile(r"(?<!\w)@\w"),
    "with a cashtag": re.compile(r"(?<!\w)\$[^\W\d]"),
    "with a hashtag": re.compile(r"(?<!\w)#\w"),
    "with an emoji": re.compile("[\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff\ufe0f\u20e3]"),
    # Not one that is part of a name or of an address.
    "with a number": re.compile(r"(?<![\w@#/])\d"),
    "with a line break": re.compile("\n"),
    "with a question mark": re.compile("[?？؟]"),
}
# Tickers have three letters and are always in capitals.
_LONG_WORD = re.compile(r"(?<![\w@#$/])[^\W\d_]{4,}(?!\w)")


@dataclass(frozen=True)
class Segment:
    """A kind of tweets: what follows "tweets" in a sentence, and which rows are of it, shape ``(n,)``."""

    name: str
    inside: Mask


def segments_of(rows: Sequence[Mapping[str, Any]], answers: Answers, labels: Sequence[str]) -> list[Segment]:
    """The kinds of tweets that are looked at; they overlap, and some may have no row.

    Thirds by the number of characters, what a tweet contains, whether it was cut to fit the model, whether the test
    has near-duplicates of it, and its true class.

    Args:
        rows: the rows of ``predictions.jsonl``, of which ``input`` and, if it is there, ``shortened`` are read.
        answers: of the same rows.
        labels: the ``k`` classes.
    """
    texts = [str(row["input"]) for row in rows]
    lengths = np.array([len(text) for text in texts])
    short, middle = (int(end) for end in np.quantile(lengths, [1 / 3, 2 / 3], method="inverted_cdf"))
    group_sizes = np.unique(answers.groups, return_inverse=True, return_counts=True)
    kinds: dict[str, ArrayLike] = {
        f"of up to {short} characters": lengths <= short,
        f"of {short + 1} to {middle} characters": (lengths > short) & (lengths <= middle),
        f"of {middle + 1} characters or more": lengths > middle,
        "with a link": [has_link(text) for text in texts],
        **{name: [pattern.search(text) is not None for text in texts] for name, pattern in SEEN.items()},
        "with a word in capitals": [any(word.isupper() for word in _LONG_WORD.findall(text)) for text in texts],
        "with non-Latin letters": [_has_other_letters(text) for text in texts],
        "cut to fit the model": [bool(row.get("shortened")) for row in rows],
        "with near-copies": group_sizes[2][group_sizes[1]] > 1,
    }
    segments = [Segment(name, np.asarray(inside, dtype=bool)) for name, inside in kinds.items()]
    return segments + [Segment(f"labelled {label}", answers.y_true == i) for i, label in enumerate(labels)]


def judge(segments: Sequence[Segment], answers: Answers, *, system: str, seed: int) -> dict[str, Any]:
    """Accuracy and macro-F1 in every segment, and which are distinguishably worse or better than the rest.

    A segment is judged where it and the rest have 30 groups each. p is that of Fisher's exact test, or of
    ``permutation_p`` where rows are not independent; q is p after Benjamini and Hochberg (1995) over all that were
    judged. ``weak`` and ``strong`` are those with q below 0.05.

    Args:
        segments: as ``segments_of`` makes them.
        answers: of the same rows.
        system: whose answers they are, for the sentence.
        seed: of the resampling.

    Returns:
        ``judged``, the weakest first, ``not_judged``, ``test``, ``needed`` and ``sentence``, as in ``metrics.json``.
    """
    independent = answers.n_groups == len(answers.groups)
    judged: list[dict[str, Any]] = []
    not_judged = []
    for segment in segments:
        part, rest = answers.part(segment.inside), answers.part(~segment.inside)
        found: dict[str, Any] = {
            "name": segment.name,
            "n": len(part.groups),
            "groups": part.n_groups,
            "rest_groups": rest.n_groups,
        }
        if min(found["groups"], found["rest_groups"]) < FEWEST:
            not_judged.append(found)
            continue
        here, elsewhere = accuracy(part, seed=seed), accuracy(rest, seed=seed)
        table = [[int(side.right.sum()), int((~side.right).sum())] for side in (part, rest)]
        p = float(fisher_exact(table).pvalue) if independent else permutation_p(answers, segment.inside, seed=seed)
        found |= {
            "accuracy": here,
            "rest_accuracy": elsewhere,
            "macro_f1": macro_f1(part, seed=seed),
            "difference": difference(here, elsewhere),
            "p_value": p,
        }
        judged.append(found)
    for found, q in zip(judged, _adjusted([found["p_value"] for found in judged]), strict=True):
        sides = ("weak", "strong")
        found |= {"q_value": q, "finding": sides[found["difference"]["value"] > 0] if q < ALPHA else "same"}
    judged.sort(key=lambda found: (found["difference"]["value"], found["name"]))
    result = {
        "test": "Fisher, exact" if independent else "permutation over groups",
        "judged": judged,
        "not_judged": not_judged,
        "needed": _needed(judged),
    }
    return result | {"sentence": _sentence(result, name_of(system))}


def permutation_p(answers: Answers, inside: Mask, *, seed: int, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p of a difference in accuracy between a segment and the rest, for rows in groups.

    The statistic is the difference over its standard error, which sums the residuals of each group first, so rows of
    one group count together. Its distribution under the null hypothesis comes from shuffling which groups are inside;
    a group on both sides counts there as two. A statistic in standard errors keeps the test valid where groups inside
    are larger than outside (Janssen 1997; Chung and Romano 2013). p is twice that of the smaller tail.
    """
    unit, unit_of = np.unique(answers.groups * 2 + inside, return_inverse=True)
    is_inside = unit % 2 == 1
    rows, right = np.bincount(unit_of), np.bincount(unit_of, answers.right).astype(np.int64)
    mean = right.sum() / rows.sum()
    # What each group moves the difference by; 0 where it has no row on a side.
    share = np.where(is_inside, 1 / rows[is_inside].sum(), -1 / rows[~is_inside].sum()) * (right - mean * rows)
    moves = np.bincount(np.unique(unit // 2, return_inverse=True)[1], share)
    observed = _studentised(moves.sum(), (moves**2).sum())

    patterns, multiplicity = patterns_of(np.stack([rows, right], axis=1))
    residual = patterns[:, 1] - mean * patterns[:, 0]
    table = np.stack([patterns[:, 0], residual, residual**2], axis=1)
    generator = np.random.default_rng(seed)
    drawn = generator.multivariate_hypergeometric(multiplicity, int(is_inside.sum()), size=permutations)
    n_in, sum_in, square_in = (drawn @ table).T
    n_all, sum_all, square_all = multiplicity @ table
    shuffled = _studentised(
        sum_in / n_in - (sum_all - sum_in) / (n_all - n_in),
        square_in / n_in**2 + (square_all - square_in) / (n_all - n_in) ** 2,
    )
    # A shuffle that gives the observed value must count on either side, whatever the last bit of its sum.
    tails = ((shuffled <= observed + 1e-9).sum(), (shuffled >= observed - 1e-9).sum())
    return min(1.0, 2 * (1 + int(min(tails))) / (1 + permutations))


def gap_needed(n: int, rest_right: int, rest_n: int, alpha: float) -> float | None:
    """How much lower accuracy must be in ``n`` rows than in the rest to be found four times out of five.

    Found is what Fisher's exact test rejects at ``alpha``, the rest's count being as observed. With at most ``c``
    right answers rejected, the power is the binomial's cdf at ``c``, whose inverse is a quantile of the beta
    distribution.

    Returns:
        The gap, or None: even no right answer at all would not be found that often.
    """
    share = rest_right / rest_n

    def p(right: int) -> float:
        return float(fisher_exact([[right, n - right], [rest_right, rest_n - rest_right]]).pvalue)

    # p rises with the number of right answers up to the rest's share.
    critical = bisect_right(range(int(n * share) + 1), alpha, key=p) - 1
    return None if critical < 0 else share - float(beta.ppf(1 - POWER, critical + 1, n - critical))


def _studentised(value: ArrayLike, variance: ArrayLike) -> NDArray[np.float64]:
    """A value in its standard errors; 0 where nothing varies."""
    value, error = np.asarray(value, dtype=np.float64), np.sqrt(np.asarray(variance, dtype=np.float64))
    return np.asarray(np.divide(value, error, out=np.zeros(value.shape), where=error > 1e-12))


def _has_other_letters(text: str) -> bool:
    """Whether there is a letter of another script than Latin; a letter in fancy dress counts as what it is."""
    return not text.isascii() and any(
        ord(char) > 0x7F and unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lo")
        for char in set(unicodedata.normalize("NFKC", text))
        if not unicodedata.name(char, "").startswith("LATIN")
    )


def _adjusted(p_values: Sequence[float]) -> list[float]:
    return [float(q) for q in false_discovery_control(p_values, method="bh")] if p_values else []


def _needed(judged: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the smallest segment would have had to lack, if it were the only weak one."""
    if not judged:
        return None
    smallest = min(judged, key=lambda found: (found["groups"], found["name"]))
    rest = smallest["rest_groups"]
    right = round(smallest["rest_accuracy"]["value"] * rest)
    gap = gap_needed(smallest["groups"], right, rest, ALPHA / len(judged))
    return {"name": smallest["name"], "groups": smallest["groups"], "gap": gap}


def _sentence(result: Mapping[str, Any], system: str) -> str:
    judged, needed = result["judged"], result["needed"]
    if needed is None:
        return f"No kind of tweet was judged: each, or its rest, has fewer than {FEWEST} independent test tweets."
    weak = [found for found in judged if found["finding"] == "weak"]
    kinds = f"{len(judged)} kind{'' if len(judged) == 1 else 's'} of tweets"
    if weak:
        listed = "; ".join(
            f"tweets {found['name']} (accuracy {found['accuracy']['value']:.3f}, {found['accuracy']['low']:.3f} to "
            f"{found['accuracy']['high']:.3f}, n = {found['n']:,}, against {found['rest_accuracy']['value']:.3f} "
            "on the rest)"
            for found in weak[:_NAMED]
        )
        more = f"; and {len(weak) - _NAMED} more" if len(weak) > _NAMED else ""
        return f"Of {kinds}, {system} is distinguishably worse than elsewhere at {len(weak)}: {listed}{more}."
    gap = needed["gap"]
    if gap is None:
        power = "even no right answer at all would not have been found four times out of five"
    else:
        power = f"accuracy would have had to be {gap:.3f} lower to be found four times out of five"
    return (
        f"Of {kinds}, {system} is distinguishably worse than elsewhere at none. Among the fewest, tweets "
        f"{needed['name']} ({needed['groups']:,} independent ones), {power}."
    )
