"""What is said of one tweet: by the tuned model, by the same model untuned, by TF-IDF, and which words carried it."""

import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.predictions import Prediction, Reading
from pipeline.text import clean

if TYPE_CHECKING:
    from pipeline.demo.shelf import Bag, Loaded
    from pipeline.model.decoding import Classifier, Decoded

MAX_CHARACTERS = 1000
# Each is one text more to decode.
MAX_WORDS = 40
# How far a word must move the label's log-probability to be marked, and to be marked as strong: by a tenth of the
# probability, and by a third or more.
_MARKED, _STRONG = 0.1, 0.5
NO_LABEL = "no label"
# In the order of the legend.
EFFECTS = ("strongly for", "for", "against", "strongly against")


@dataclass(frozen=True)
class Answer:
    """A system's answer as the page shows it: the label or that it is none, each label's probability, and a note."""

    label: str
    probabilities: Mapping[str, float]
    note: str


@dataclass(frozen=True)
class Words:
    """What each word did for ``label``.

    ``effects`` holds pieces of the tweet that give it again when joined, each with what leaving it out takes from the
    label's log-probability; None for what was not left out. ``asked`` of ``total`` words were.
    """

    label: str
    effects: Sequence[tuple[str, float | None]]
    asked: int
    total: int


def checked(tweet: object) -> str:
    """The tweet, cleaned as the model gets it.

    Raises:
        PipelineError: it is empty, too long, or no text; the message is for the person who typed it.
    """
    if isinstance(tweet, str) and len(tweet) > MAX_CHARACTERS:
        raise PipelineError(f"A tweet of at most {MAX_CHARACTERS:,} characters, please; this one has {len(tweet):,}.")
    if not isinstance(tweet, str) or not (text := clean(tweet)):
        raise PipelineError("Type a tweet first.")
    return text


def tuned(loaded: "Loaded", text: str) -> tuple["Decoded", Prediction]:
    """What the tuned model makes of a text, and how it is read."""
    (decoded,) = loaded.classifier.decode([text])
    return decoded, Reading(threshold=loaded.threshold).read(decoded)


def untuned(classifier: "Classifier", text: str) -> "Decoded":
    """What the same model makes of it without the adapter."""
    with classifier.untuned():
        (decoded,) = classifier.decode([text])
    return decoded


def of_tuned(decoded: "Decoded", prediction: Prediction, threshold: float | None, why_none: str) -> Answer:
    """The tuned model's answer for the page; ``why_none`` tells why there is no threshold, where there is none."""
    note = f"{_read(decoded)} {_sure(prediction, threshold, why_none)}{_cut(decoded)}"
    return Answer(decoded.generate or NO_LABEL, decoded.probabilities, note)


def of_untuned(decoded: "Decoded") -> Answer:
    """The untuned model's answer for the page."""
    return Answer(decoded.generate or NO_LABEL, decoded.probabilities, _read(decoded))


def of_bag(bag: "Future[Bag]", text: str) -> Answer:
    """TF-IDF's answer for the page, once it is fitted; without probabilities where it cannot be."""
    try:
        (found,) = bag.result()([text])
    except PipelineError as error:
        return Answer("", {}, f"Not there: {str(error).partition(';')[0]}.")  # what to do is for a command's options
    note = "Counts words and runs of characters, fitted on the run's training tweets."
    return Answer(found["predicted"], found["probabilities"], note)


def _read(decoded: "Decoded") -> str:
    if decoded.generate is not None:
        return f"Wrote {decoded.completion!r}, read as {decoded.generate}."
    return (
        f"Wrote {decoded.completion!r}, which is no label. All labels together have a probability of "
        f"{decoded.label_mass:.1%}, so the bars say little."
    )


def _sure(prediction: Prediction, threshold: float | None, why_none: str) -> str:
    if threshold is None:
        return f"No threshold to abstain below: {why_none}."
    if prediction.abstained:
        return f"Would abstain: less sure than {threshold:.1%}, the threshold of its evaluation."
    return f"Sure enough to answer: the threshold of its evaluation is {threshold:.1%}."


def _cut(decoded: "Decoded") -> str:
    return " Only the beginning of the tweet was read." if decoded.shortened else ""


def words(classifier: "Classifier", text: str, label: str, whole: "Decoded") -> Words:
    """Leaves out each word in turn, and sees how much less probable the label is then.

    Args:
        classifier: the tuned model.
        text: cleaned.
        label: whose probability among all labels is watched.
        whole: what the model makes of the text as it is.
    """
    found = list(re.finditer(r"\S+", text))
    asked = found[:MAX_WORDS]
    # With a word goes the white space behind it.
    variants = [(text[: word.start()] + text[word.end() :].lstrip()).rstrip() for word in asked]
    before = _log_share(whole, label)
    effects: list[tuple[str, float | None]] = []
    place = 0
    for word, decoded in zip(asked, classifier.decode(variants), strict=True):
        effects += [(text[place : word.start()], None)] if place < word.start() else []
        effects.append((word[0], before - _log_share(decoded, label)))
        place = word.end()
    effects += [(text[place:], None)] if place < len(text) else []
    return Words(label, effects, len(asked), len(found))


def _log_share(decoded: "Decoded", label: str) -> float:
    """Natural log of the label's probability, given that the answer is a label."""
    top = max(decoded.log_likelihoods)
    total = math.log(sum(math.exp(value - top) for value in decoded.log_likelihoods))
    return decoded.log_likelihood(label) - top - total


def marked(found: Words) -> list[tuple[str, str | None]]:
    """The words with one of ``EFFECTS`` each, or None; what draws them puts the spaces in."""
    return [
        (piece.strip(), None if effect is None else _kind(effect)) for piece, effect in found.effects if piece.strip()
    ]


def _kind(effect: float) -> str | None:
    if abs(effect) < _MARKED:
        return None
    strong = abs(effect) >= _STRONG
    return EFFECTS[0 if strong else 1] if effect > 0 else EFFECTS[3 if strong else 2]


def told(found: Words) -> str:
    """The same in a sentence."""
    known = [(piece, effect) for piece, effect in found.effects if effect is not None]
    word, effect = max(known, key=lambda pair: abs(pair[1]))
    if abs(effect) < _MARKED:
        said = f"No word alone carries {found.label}: without any one of them it is about as probable."
    else:
        change = math.exp(-effect)
        times = "more than 10" if change >= 10 else "less than 0.01" if change < 0.01 else f"{change:.2g}"
        more = "more" if change > 1 else "less"
        said = f"Without {word!r}, {found.label} would be {more} probable: {times} times as much. "
        said += "Words are left out one by one."
    if found.asked < found.total:
        said += f" Only the first {found.asked} of {found.total} words were."
    return said


def as_json(name: str, decoded: "Decoded", prediction: Prediction) -> dict[str, Any]:
    """The answer of the API."""
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": dict(prediction.probabilities),
        "completion": decoded.completion,
        "abstained": prediction.abstained,
        "reason": prediction.reason,
        "run": name,
    }
