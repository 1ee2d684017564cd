"""What the numbers say, in sentences: computed from them, and never more than they bear."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {
    "tuned": "the tuned model",
    "untuned": "the untuned model",
    "few_shot": "the untuned few-shot model",
    "embeddings": "the classifier on embeddings",
    "tfidf": "the TF-IDF classifier",
    "textblob": "the word list of TextBlob",
    "vader": "the word list of VADER",
    "majority": "the majority guess",
}
# Alarms of the prepared data after which a score says nothing of sentiment, and what the verdict says first then.
_SPOILT = {
    "machine_made": "The labels are those of a word list: this measures imitation of it and says nothing of sentiment.",
    "unlearnable": "The labels look unrelated to the texts, so a score on them means little.",
}
_FEW_GROUPS = 30
_MANY_UNPARSED = 0.1


def verdict(metrics: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The verdict's level and sentences from the other parts of ``metrics.json``.

    The level is ``better`` when macro-F1 is distinguishably higher than that of every baseline and accuracy is
    nowhere distinguishably lower; ``worse`` when macro-F1 is distinguishably lower than that of any baseline; else
    ``mixed``. Labels that are no measure of sentiment allow no ``better``. Distinguishable: the 95 % interval of the
    difference excludes 0, and p is below 0.05 after Holm.
    """
    spoilt = [kind for kind in metrics["data_alarms"] if kind in _SPOILT]
    by_metric = {
        metric: {c["b"]: c for c in metrics["comparisons"] if c["metric"] == metric}
        for metric in ("macro_f1", "accuracy")
    }
    macro, accuracy = by_metric["macro_f1"], by_metric["accuracy"]
    worse = [name for name, c in macro.items() if c["distinguishable"] and c["difference"] < 0]
    better = [name for name, c in macro.items() if c["distinguishable"] and c["difference"] > 0]
    unclear = [name for name, c in macro.items() if not c["distinguishable"]]
    less_accurate = [name for name, c in accuracy.items() if c["distinguishable"] and c["difference"] < 0]
    if worse:
        level = "worse"
    elif better and not unclear and not less_accurate and not spoilt:
        level = "better"
    else:
        level = "mixed"
    sentences = [
        *(_SPOILT[kind] for kind in spoilt),
        _headline(metrics["candidate"], worse, better, unclear),
        *(_difference(macro[name], accuracy[name]) for name in _worth_telling(metrics, macro, better)),
        _smallest_class(metrics),
        *_never_answered(metrics),
        _unparsed(metrics),
        *_cut_short(metrics),
        *_power(metrics, accuracy),
        *_cautions(metrics),
    ]
    return level, sentences


def name_of(system: str) -> str:
    """What a system is called in a sentence; ``tfidf of mine`` is the baseline that stands in the report ``mine``."""
    baseline, of, report = system.partition(" of ")
    return f"{NAMES.get(baseline, baseline)}{of}{report}"


def at_start(system: str) -> str:
    """What a system is called at the start of a sentence; a name that a user gave keeps its letters."""
    name = name_of(system)
    return name if name == system else capitalised(name)


def system_name(system: str) -> str:
    """What a system is called in a table or figure; a name that a user gave stays as it is."""
    name = name_of(system)
    return name if name == system else capitalised(name.removeprefix("the "))


def candidate_of(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scores of the system that is judged."""
    scores: Mapping[str, Any] = metrics["systems"][metrics["candidate"]]
    return scores


def capitalised(text: str) -> str:
    """Words of ours with their first letter large, as at the start of a sentence; never what a user has named."""
    return text[:1].upper() + text[1:]


def p_text(p: float) -> str:
    """A p value as it is printed: never as 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def number_text(x: float) -> str:
    """A number with three digits after the point, and never a zero below zero."""
    return f"{x:z.3f}".replace("-", "−")


def signed_text(x: float) -> str:
    """A difference with its sign; one that rounds to zero from below has none."""
    return "0.000" if x < 0 and round(x, 3) == 0 else f"{x:+.3f}".replace("-", "−")


def percent_text(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def _headline(candidate: str, worse: Sequence[str], better: Sequence[str], unclear: Sequence[str]) -> str:
    if not (worse or better or unclear):
        return f"{at_start(candidate)} was compared with no baseline, so nothing here says what its scores are worth."
    clauses = []
    if worse:
        clauses.append(f"worse than {_systems(worse)}")
    if better:
        every = "every baseline: " if len(better) > 1 and not worse and not unclear else ""
        clauses.append(f"better than {every}{_systems(better)}")
    if unclear:
        clauses.append(f"not distinguishable from {_systems(unclear)}")
    return f"By macro-F1, {name_of(candidate)} is {'; it is '.join(clauses)}."


def _worth_telling(
    metrics: Mapping[str, Any], macro: Mapping[str, Mapping[str, Any]], better: Sequence[str]
) -> list[str]:
    """The strongest of the other systems, and all that it is not better than; the page has a table of all."""
    strongest = max(macro, key=lambda name: metrics["systems"][name]["macro_f1"]["value"], default=None)
    return [name for name in macro if name == strongest or name not in better]


def _difference(macro: Mapping[str, Any], accuracy: Mapping[str, Any]) -> str:
    return (
        f"Against {name_of(macro['b'])}, macro-F1 is {_amount(macro, '95 % interval ')}, "
        f"and accuracy is {_amount(accuracy)}."
    )


def _amount(comparison: Mapping[str, Any], interval_name: str = "") -> str:
    difference = comparison["difference"]
    if abs(difference) < 0.0005:
        amount = "the same"
    else:
        amount = f"{abs(difference):.3f} {'higher' if difference > 0 else 'lower'}"
    if comparison["distinguishable"] or abs(difference) < 0.0005:
        sure = ""
    elif comparison["low"] <= 0 <= comparison["high"]:
        sure = ", which luck alone could give"
    else:
        sure = ", on which interval and test disagree, so it stays undecided"
    interval = f"{signed_text(comparison['low'])} to {signed_text(comparison['high'])}"
    return f"{amount} ({interval_name}{interval}; {p_text(comparison['p_holm'])}){sure}"


def _smallest_class(metrics: Mapping[str, Any]) -> str:
    label = metrics["smallest_class"]
    scores = candidate_of(metrics)["per_class"][label]
    interval = scores["intervals"]["recall"]
    return (
        f"Of the smallest class, {label}, with {_tweets(scores['support'])}, {name_of(metrics['candidate'])} finds "
        f"{percent_text(scores['recall'])} (95 % interval {percent_text(interval['low'])} to "
        f"{percent_text(interval['high'])})."
    )


def _never_answered(metrics: Mapping[str, Any]) -> list[str]:
    """The classes that have test rows and are no answer of the candidate, in a sentence if there are any."""
    classes = candidate_of(metrics)["per_class"]
    missing = [label for label, one in classes.items() if one["support"] and not one["predicted"]]
    if not missing or len(missing) == len(metrics["rows"]["support"]):  # then no answer could be read, see below
        return []
    return [f"{at_start(metrics['candidate'])} never answers {_listed(missing)}."]


def _cut_short(metrics: Mapping[str, Any]) -> list[str]:
    training = metrics.get("training")
    if not training or not training["cut_short"]:
        return []
    return [
        f"Its training was ended by max_steps {training['settings']['max_steps']:,} while validation was still getting "
        "better: longer training may give more."
    ]


def _unparsed(metrics: Mapping[str, Any]) -> str:
    found = candidate_of(metrics)
    count = sum(row[-1] for row in found["confusion"]["matrix"])
    interval = found["unparsed_interval"]
    advice = ""
    if metrics["candidate"] == "tuned" and found["unparsed_rate"] > _MANY_UNPARSED:
        advice = ". It has not learnt to answer with labels: train longer (--epochs, --max_steps) or with more tweets"
    return (
        f"{percent_text(found['unparsed_rate'])} of its answers ({count:,} of {metrics['rows']['n']:,}; 95 % interval "
        f"{percent_text(interval['low'])} to {percent_text(interval['high'])}) could not be read as a label; "
        f"they count as wrong{advice}."
    )


def _power(metrics: Mapping[str, Any], accuracy: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What could have been seen against the strongest baseline."""
    if not accuracy:
        return []
    strongest = max(accuracy, key=lambda name: metrics["systems"][name]["macro_f1"]["value"])
    smallest = accuracy[strongest]["smallest_detectable"]
    n = _tweets(metrics["rows"]["n"])
    against = f"to the strongest baseline, {name_of(strongest)},"
    if smallest is None:
        return [
            f"With {n}, no difference in accuracy {against} would be found four times out of five: "
            "the two disagree on too few rows, or the rows are too few."
        ]
    return [
        f"With {n}, a difference in accuracy {against} must be about {smallest:.3f} to be found four times out of "
        "five; a smaller one can go unseen."
    ]


def _cautions(metrics: Mapping[str, Any]) -> list[str]:
    sentences = []
    if metrics["picked_from"] > 1:
        sentences.append(
            f"It was picked as the best of {metrics['picked_from']:,} on these very rows, which flatters it: confirm "
            "it on rows that none of them has been scored on."
        )
    support, groups = metrics["rows"]["support"], metrics["rows"]["groups"]
    absent = [label for label, n in support.items() if n == 0]
    if absent:
        sentences.append(
            f"The test has no row of {_listed(absent)}: nothing is known there, and macro-F1 counts "
            f"{'it' if len(absent) == 1 else 'them'} as 0."
        )
    if groups < _FEW_GROUPS:
        sentences.append(f"With only {groups:,} independent rows every interval is rough; score more rows.")
    if candidate_of(metrics)["accuracy"]["value"] in (0.0, 1.0):
        sentences.append(
            "All answers are right, or all are wrong, so resampling shows no doubt: read the interval of accuracy."
        )
    return sentences


def _tweets(n: int) -> str:
    return f"{n:,} test tweet{'' if n == 1 else 's'}"


def _systems(names: Sequence[str]) -> str:
    return _listed([name_of(name) for name in names])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
