"""The task: labels in their order, the prompt, and how a completion is read as a label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.errors import PipelineError
from pipeline.text import fold

SENTIMENT_LABELS = ("Negative", "Neutral", "Positive")
SENTIMENT_INSTRUCTION = "Detect the sentiment of the tweet."

# The prompt of Stanford Alpaca for an instruction with an input. The completion follows the last newline.
ALPACA_TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


@dataclass(frozen=True)
class Prompt:
    """A prompt in three parts, because only the scaffold may contain special tokens.

    The tweet stands alone so that the encoder can treat it as plain text, whatever it contains.
    """

    before: str
    text: str
    after: str

    def __str__(self) -> str:
        return self.before + self.text + self.after


@dataclass(frozen=True)
class Task:
    """Labels, instruction and template. Every command reads them from the prepared data set's manifest.

    ``labels`` has an order: of the confusion matrix, of every array of probabilities, and, where the classes
    are ordered, from low to high. ``template`` is a text, or pieces that a tokenizer sees one by one and in which
    control tokens are written out, as ``families`` has them. An answer is ``before_label``, a label and the control
    token ``end``, None for the tokenizer's end of sequence. ``turn`` is what a chat has between a tweet that was
    answered, by the label in its slot ``{label}``, and the next one; None where there are no turns.
    """

    labels: tuple[str, ...] = SENTIMENT_LABELS
    instruction: str = SENTIMENT_INSTRUCTION
    template: str | tuple[str, ...] = ALPACA_TEMPLATE
    before_label: str = ""
    end: str | None = None
    turn: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.labels) <= 20:
            raise PipelineError(f"labels: expected 2 to 20 classes, got {len(self.labels)}: {', '.join(self.labels)}")
        for label in self.labels:
            if fold(label) == "unparsed":
                raise PipelineError(f"labels: {label!r} is what an answer without a label is called; rename it")
            if label != label.strip() or not fold(label) or "\n" in label:
                raise PipelineError(f"labels: {label!r} is empty, has outer spaces or a line break; rename it")
        if len(self._label_of) != len(self.labels):
            raise PipelineError(
                f"labels: {', '.join(self.labels)} are not distinct when case and width are ignored; rename one"
            )
        if self.before_label.strip():
            raise PipelineError(f"before_label: expected white space before a label, got {self.before_label!r}")
        template = "".join(self.template)
        for slot in ("{instruction}", "{input}"):
            if template.count(slot) != 1:
                raise PipelineError(f"template: expected {slot} exactly once, found it {template.count(slot)} times")
        if template.index("{instruction}") > template.index("{input}"):
            raise PipelineError("template: expected {instruction} before {input}")
        if self.turn is not None and "".join(self.turn).count("{label}") != 1:
            raise PipelineError("turn: expected {label} exactly once")

    @cached_property
    def _label_of(self) -> dict[str, str]:
        return {fold(label): label for label in self.labels}

    def prompt(self, text: str) -> Prompt:
        """The prompt for one tweet. Slots are filled by splitting, so braces in a tweet mean nothing."""
        before, after = "".join(self.template).split("{input}")
        return Prompt(before.replace("{instruction}", self.instruction), text, after)

    def pieces(self) -> tuple[list[str], list[str]]:
        """What stands before the tweet and behind it, piece by piece, the instruction not yet in its slot."""
        given = (self.template,) if isinstance(self.template, str) else self.template
        sides: tuple[list[str], list[str]] = ([], [])
        side = 0
        for piece in given:
            head, slot, tail = piece.partition("{input}")
            sides[side].extend([head] if head else [])
            if slot:
                side = 1
                sides[side].extend([tail] if tail else [])
        return sides

    def parse(self, completion: str) -> str | None:
        """The label that the model's answer is, or None.

        Strict: the whole answer must be one label, case and outer white space aside. A label inside a
        sentence, two labels, or an unfinished one is no label.
        """
        return self._label_of.get(fold(completion))

    def to_json(self) -> dict[str, object]:
        """The task as it stands in a manifest."""
        return {
            "labels": list(self.labels),
            "instruction": self.instruction,
            "template": self.template if isinstance(self.template, str) else list(self.template),
            "before_label": self.before_label,
            "end": self.end,
            **({} if self.turn is None else {"turn": list(self.turn)}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Task":
        """The inverse of ``to_json``.

        Raises:
            PipelineError: a key is missing or has the wrong type.
        """
        labels, instruction, template = (value.get(key) for key in ("labels", "instruction", "template"))
        before_label, end = value.get("before_label", ""), value.get("end")
        template, turn = (
            tuple(map(str, each)) if isinstance(each, list) else each for each in (template, value.get("turn"))
        )
        if not (
            isinstance(labels, Sequence)
            and isinstance(instruction, str)
            and isinstance(template, str | tuple)
            and isinstance(before_label, str)
            and isinstance(end, str | None)
            and isinstance(turn, tuple | None)
        ):
            raise PipelineError("task: expected labels (a list), instruction and template (texts) in the manifest")
        return cls(tuple(str(label) for label in labels), instruction, template, before_label, end, turn)
