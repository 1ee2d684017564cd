"""What the stage hands from step to step: examples that can be used, and rows that cannot, with the reason."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pipeline.text import template_of

# Every reason for which a row is left out, in the order of the steps.
REASONS = (
    "empty text",
    "no label",
    "text too long",
    "retweet",
    "link",
    "no date",
    "excluded by overrides",
    "copy of a test row",
    "copy of a validation row",
    "conflicting label",
    "duplicate",
    "not sampled",
    # And those of pipeline.distill.
    "no answer",
    "refusal",
    "not a tweet",
    "too short",
    "too long",
    "label in the text",
    "doubled word",
    "other language",
    "copy of a training row",
    "copy of a new row",
    "teacher disagrees",
    "not wanted",
)


@dataclass(frozen=True)
class Example:
    """A tweet with its class. ``id`` is the row's number in the source file."""

    id: str
    text: str
    label: str

    @cached_property
    def template(self) -> str:
        """What is left of the text when its replaceable parts are masked; see ``pipeline.text``."""
        return sys.intern(template_of(self.text))  # copies are many


@dataclass(frozen=True)
class Dropped:
    """A row that is left out, why, and what stood in it."""

    id: str
    reason: str
    detail: str
    text: str
    label: str | None

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"{self.reason!r} is not among the reasons {REASONS}")

    @classmethod
    def of(cls, example: Example, reason: str, detail: str = "") -> "Dropped":
        """The record of an example that a later step leaves out."""
        return cls(example.id, reason, detail, example.text, example.label)

    def to_json(self) -> dict[str, object]:
        """The row as it stands in ``dropped.jsonl``."""
        return dict(vars(self))


class Sifted(NamedTuple):
    """What a step keeps and what it leaves out; together, everything that it was given."""

    kept: Sequence[Example]
    dropped: Sequence[Dropped]
