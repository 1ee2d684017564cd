"""Whether the labels are the output of a word list: how often TextBlob and VADER say the same."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from pipeline.dataset.polarity import polarities, sign

# Texts that are looked at: enough for an interval of one per cent either way, at 0.6 ms a text.
MOST = 2_000
# How far from zero a score counts as neutral, as people set it: TextBlob's makers say nothing, VADER's say 0.05.
_DEAD_ZONES = {"textblob": (0.0, 0.05, 0.1, 0.2), "vader": (0.05, 0.0, 0.1, 0.2, 0.5)}
# From here on labels are taken for the list's output. With a neutral class, labels that people gave agreed with
# TextBlob to at most 0.71 in six sets of short texts, and with VADER to at most 0.61, but for 0.93 on the tweets that
# it was built with. Labels that a list gave agree to 0.96 or more with any dead zone in use, to 0.92 to 0.98 if it saw
# the texts without punctuation, and to 0.83 to 0.95, mostly missed here, if without stop words too.
# Without a neutral class, texts on which the list is silent are not compared, and people agree with it more often:
# 0.97 on VADER's own tweets, 0.89 and less elsewhere.
_WITH_NEUTRAL = 0.95
_WITHOUT_NEUTRAL = 0.99
# Where nearly all texts are neutral for the list and for people, they agree without having anything in common.
_KAPPA = 0.85
# Below this number of texts chance could carry people's labels over the line.
_FEWEST = 100


@dataclass(frozen=True)
class Agreement:
    """How often a word list gives the label that a text has.

    ``agreement`` is a share of ``n`` distinct texts, with its 95 % interval (Wilson 1927); ``kappa`` is Cohen's, None
    where it is not defined. Scores within ``dead_zone`` of zero count as neutral. ``machine_made`` says that the
    labels must be taken for the list's output.
    """

    agreement: float
    low: float
    high: float
    kappa: float | None
    n: int
    dead_zone: float
    machine_made: bool

    def to_json(self) -> dict[str, float | int | None]:
        """The figures as they stand in the manifest."""
        return asdict(self)


def lexicon_agreement(
    texts: Sequence[str], labels: Sequence[str], classes: Sequence[str], *, seed: int, most: int = MOST
) -> dict[str, Agreement]:
    """Agreement of labels with the signs of TextBlob's polarity and of VADER's compound score.

    Of the dead zones that are in use the one that agrees best is taken. Only texts are compared for which the list
    says something that the labels can say too: where there is no neutral class, not those on which it is silent.

    Args:
        texts: the texts; each counts once, with its first label.
        labels: one class a text.
        classes: all classes. Their names say what is negative, neutral and positive; where they do not, there is no
            sentiment to compare and the result is empty.
        seed: of the random sample that stands for a larger set.
        most: size of that sample.

    Returns:
        Name of the list, ``textblob`` or ``vader``, to its agreement; without one that had nothing to say.
    """
    steps = polarities(classes)
    if steps is None:
        return {}
    distinct = dict(zip(reversed(texts), reversed(labels), strict=True))
    sample = sorted(distinct)
    if len(sample) > most:
        sample = random.Random(seed).sample(sample, most)  # noqa: S311 - a sample, not a secret
    signs = [sign(steps[distinct[text]]) for text in sample]
    sides = {sign(step) for step in steps.values()}
    found = {}
    for name, score in _lexicons():
        scores = [score(text) for text in sample]
        # Without a neutral class a wider zone only takes the doubtful texts out of the comparison.
        zones = _DEAD_ZONES[name] if 0 in sides else _DEAD_ZONES[name][:1]
        each = [_agreement(scores, signs, sides, zone) for zone in zones]
        known = [agreement for agreement in each if agreement is not None]
        if known:
            found[name] = max(known, key=lambda agreement: agreement.agreement)
    return found


def word_list_answers(texts: Sequence[str], classes: Sequence[str], *, otherwise: str) -> dict[str, list[str]]:
    """What the word lists answer: name of the list to one class a text.

    The sign of the score decides, with the dead zone that its makers name, between the classes whose names say which
    way they point; of several on one side, the weakest. ``otherwise`` is the answer where the list is silent and no
    class is neutral. Empty where the names of the classes say nothing.
    """
    steps = polarities(classes)
    if steps is None:
        return {}
    weakest = sorted(steps, key=lambda label: -abs(steps[label]))
    class_of = {sign(steps[label]): label for label in weakest}
    return {
        name: [class_of.get(_side(score(text), _DEAD_ZONES[name][0]), otherwise) for text in texts]
        for name, score in _lexicons()
    }


def to_json(found: Mapping[str, Agreement]) -> dict[str, dict[str, float | int | None]]:
    """All agreements as they stand in the manifest."""
    return {name: agreement.to_json() for name, agreement in found.items()}


def _lexicons() -> Iterator[tuple[str, Callable[[str], float]]]:
    # Loading them takes a second. Both have their word lists with them; the tokenizers and corpora that TextBlob can
    # fetch are not used for the polarity.
    from textblob import TextBlob
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    yield "textblob", lambda text: float(TextBlob(text).polarity)
    vader = SentimentIntensityAnalyzer()
    yield "vader", lambda text: float(vader.polarity_scores(text)["compound"])


def _agreement(scores: Sequence[float], signs: Sequence[int], sides: set[int], dead_zone: float) -> Agreement | None:
    answers = [_side(score, dead_zone) for score in scores]
    pairs = [pair for pair in zip(answers, signs, strict=True) if pair[0] in sides]
    if not pairs:
        return None
    n, hits = len(pairs), sum(a == b for a, b in pairs)
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    said, given = zip(*pairs, strict=True)
    # With one answer on both sides there is nothing that chance could have got wrong.
    kappa = float(cohen_kappa_score(said, given)) if len({*said, *given}) > 1 else None
    enough = _WITH_NEUTRAL if 0 in sides else _WITHOUT_NEUTRAL
    return Agreement(
        agreement=hits / n,
        low=max(0.0, float(interval.low)),
        high=min(1.0, float(interval.high)),
        kappa=kappa,
        n=n,
        dead_zone=dead_zone,
        machine_made=n >= _FEWEST and hits >= enough * n and kappa is not None and kappa >= _KAPPA,
    )


def _side(score: float, dead_zone: float) -> int:
    """Which side a score is on. VADER's makers count 0.05 itself as positive; TextBlob is silent at 0 exactly."""
    return 0 if abs(score) < dead_zone or score == 0 else sign(score)
