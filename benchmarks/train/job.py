"""What a program is asked to train."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """One training, the same for every program.

    ``model`` is a folder that transformers can load, ``dataset`` a prepared folder, ``out`` the folder for the adapter.
    The learning rate of AdamW rises over ``warmup_steps`` and falls linearly to 0. LoRA is on all linear layers but the
    output layer, without dropout. ``micro_batch_size`` is for the program that splits its batches. ``settings`` are the
    program's own, those that may differ.
    """

    model: str
    dataset: str
    out: str
    steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    warmup_steps: int
    seed: int
    max_length: int
    rank: int
    alpha: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def logging_steps(self) -> int:
        """After how many steps a program says its loss; the last one is a mean over about a tenth of the steps."""
        return max(1, self.steps // 10)
