"""A finished run as a Python object: ``load_classifier("data/runs/mine").predict(["love it"])``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline.artifacts import Run
from pipeline.errors import PipelineError
from pipeline.predictions import Decoding, Prediction, Reading, unusable, why_unusable
from pipeline.traces import offsets_of, threshold_of

if TYPE_CHECKING:
    from pipeline.model.decoding import Classifier
    from pipeline.model.loading import Placement
    from pipeline.model.vllm_engine import VllmClassifier
    from pipeline.scoring.estimator import TextClassifier

Precision = Literal["auto", "bf16", "fp32", "int8", "nf4"]
Device = Literal["auto", "cpu", "cuda"]


def load_classifier(
    run: str | Path | Run, *, precision: Precision = "auto", device: Device = "auto", merged: bool = False
) -> "TunedClassifier":
    """Loads a run for use.

    Args:
        run: folder written by pipeline.train, or that run as it was read.
        precision: numbers to decode in; auto is that of the run, but fp32 instead of bf16 on a CPU.
        device: where to compute; auto takes a GPU if there is one.
        merged: whether to add the adapter into the weights first: faster, and in bf16 some answers come out otherwise.

    Raises:
        PipelineError: there is no finished run, one of its files has changed, or its base model is not to be had.
    """
    _refuse_other("precision", precision, Precision)
    _refuse_other("device", device, Device)
    from pipeline.model.device import check_device

    check_device(device)
    from pipeline.model.classifier import load_classifier as load

    found = run if isinstance(run, Run) else Run.load(run)
    classifier, placement = load(found, precision=precision, device=device, merged=merged)
    return TunedClassifier(found, classifier, placement)


class TunedClassifier:
    """A tuned model that labels texts.

    ``labels`` are in the order of the task; ``threshold`` is the confidence below which the run's last evaluation would
    abstain, or None.
    """

    def __init__(self, run: Run, classifier: "Classifier | VllmClassifier", placement: "Placement") -> None:
        self.run = run
        self.placement = placement
        self.labels: tuple[str, ...] = classifier.labels
        self.threshold = threshold_of(run)
        self._classifier = classifier

    def __repr__(self) -> str:
        return (
            f"TunedClassifier({str(self.run.folder)!r}, labels={self.labels}, precision={self.placement.precision!r})"
        )

    def predict(
        self, texts: Iterable[str | None], *, decoding: Decoding = "generate", adjusted: bool = False
    ) -> list[Prediction]:
        """The answers to texts, in their order; copies are decoded once.

        What is no text, or empty, gets a prediction without a label and with a reason.

        Args:
            texts: as they are; they are cleaned as before the training.
            decoding: ``generate`` reads what the model writes, strictly; ``loglikelihood`` takes the likeliest label.
            adjusted: whether to add the offsets that the run's last evaluation found worth adding; for
                ``loglikelihood``. Answers with offsets have no threshold, so ``abstained`` is None.

        Raises:
            TypeError: one text or a table was given instead of a list of texts.
            PipelineError: there is no such decoding, or offsets are asked for, but not with ``loglikelihood``.
            MemoryError: the GPU is too small.
        """
        if isinstance(texts, str | bytes):
            raise TypeError("expected a list of texts, got one text; write [text]")
        if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # to go through it would give its names
            raise TypeError("expected a list of texts, got a table; give the column with the texts")
        _refuse_other("decoding", decoding, Decoding)
        check_adjusted(decoding, adjusted)
        texts = list(texts)
        reading = Reading(decoding, offsets_of(self.run) if adjusted else None, self.threshold)
        reasons = [why_unusable(text) for text in texts]
        asked = list(dict.fromkeys(str(text) for text, reason in zip(texts, reasons, strict=True) if not reason))
        answers = dict(zip(asked, map(reading.read, self._classifier.decode(asked)), strict=True)) if asked else {}
        return [unusable(reason) if reason else answers[str(text)] for text, reason in zip(texts, reasons, strict=True)]

    def as_estimator(self, *, decoding: Decoding = "generate", adjusted: bool = False) -> "TextClassifier":
        """The classifier as scikit-learn's tools want it, with the options of ``predict``."""
        from pipeline.scoring.estimator import TextClassifier

        _refuse_other("decoding", decoding, Decoding)
        check_adjusted(decoding, adjusted)
        return TextClassifier(self, decoding=decoding, adjusted=adjusted)

    def __deepcopy__(self, memo: dict[int, Any]) -> "TunedClassifier":
        # Nothing in it changes, and a copy would cost as much memory as the model.
        return self


def _refuse_other(name: str, given: str, kind: Any) -> None:
    if given not in get_args(kind):
        raise PipelineError(f"{name}: expected one of {', '.join(get_args(kind))}; got {given!r}")


def check_adjusted(decoding: Decoding, adjusted: bool) -> None:
    """Refuses offsets for what is no likelihood.

    Raises:
        PipelineError: they are asked for all the same.
    """
    if adjusted and decoding != "loglikelihood":
        raise PipelineError("--adjusted: expected --decoding loglikelihood with it; offsets are added to likelihoods")
