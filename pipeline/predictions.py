"""What is said of one text: a label or none, how sure, and why; the same for the command and the library."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.text import clean
from pipeline.traces import adjusted_label

if TYPE_CHECKING:
    from pipeline.model.decoding import Decoded

Decoding = Literal["generate", "loglikelihood"]

_SHOWN = 80


@dataclass(frozen=True)
class Prediction:
    """The answer to one text.

    ``label`` is None where the model's answer is no label, or where the text could not be used; ``reason`` says so, and
    that a text was cut, and is empty otherwise. ``probabilities`` has each label's, given that the answer is a label,
    in the order of the task, and ``confidence`` is that of ``label``. ``abstained`` tells whether the run's evaluation
    found that answers as unsure as this one are better withheld; None where it settled no threshold. ``completion`` is
    what the model wrote.
    """

    label: str | None
    confidence: float | None
    probabilities: Mapping[str, float]
    abstained: bool | None
    completion: str
    reason: str


@dataclass(frozen=True)
class Reading:
    """How answers are read: what the model writes or its likeliest label, perhaps with offsets; and a threshold."""

    decoding: Decoding = "generate"
    offsets: Mapping[str, float] | None = None
    threshold: float | None = None

    def read(self, decoded: "Decoded") -> Prediction:
        """The prediction that follows from what a model made of a text."""
        label = decoded.generate
        if self.offsets is not None:
            label = adjusted_label(dict(zip(decoded.labels, decoded.log_likelihoods, strict=True)), self.offsets)
        elif self.decoding == "loglikelihood":
            label = decoded.loglikelihood
        probabilities = decoded.probabilities
        confidence = None if label is None else probabilities[label]
        # The threshold was settled for answers without offsets, an unparsed one counting as one of confidence 0.
        settled = self.threshold is not None and self.offsets is None
        abstained = (confidence or 0.0) < self.threshold if settled and self.threshold is not None else None
        reasons = []
        if label is None:
            reasons.append(f"unparsed: the model wrote {decoded.completion[:_SHOWN]!r}")
        if decoded.shortened:
            reasons.append("shortened: only its beginning was read")
        return Prediction(label, confidence, probabilities, abstained, decoded.completion, "; ".join(reasons))


def unusable(reason: str) -> Prediction:
    """The prediction for what could not be read."""
    return Prediction(None, None, {}, None, "", reason)


def why_unusable(text: object) -> str:
    """Why a value is no text that a model can read; empty where it is one."""
    if text is None or (isinstance(text, float) and math.isnan(text)):  # NaN, as pandas has it for an empty cell
        return "empty: there is no text"
    if not isinstance(text, str):
        return f"no text: expected a text, got {str(text)[:40]} ({type(text).__name__})"
    return "" if clean(text) else "empty: nothing is left to read"
