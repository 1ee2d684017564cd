"""How batches are laid out for a model: the fastest way in which it computes the same as on whole prompts."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import first_line
from pipeline.model.attention import NAME as PACKED
from pipeline.model.attention import attention, unfit
from pipeline.model.encoding import Encoder
from pipeline.model.examples import IGNORED, Example, PackedCollator, PaddedCollator
from pipeline.model.loading import is_quantised
from pipeline.model.lower_layers import LowerLayers

logger = logging.getLogger(__name__)

# How far, relative to their norm, logits may lie from those of whole prompts: rounding, no more.
_EXACT, _ROUNDED = 1e-3, 0.05

Collator = Callable[[Sequence[Example]], dict[str, Any]]


class Layout:
    """What lays batches out, and the blocks in which the model computes on them and as it is used.

    ``collator`` makes batches of examples; they are for a model within ``training()``. Inside of that block
    ``decoding()`` is one in which the model is the usual one again.
    """

    def __init__(
        self, model: Any, encoder: Encoder, examples: Sequence[Example], *, last_layers: int | None, scratch: Path
    ) -> None:
        """Finds the fastest way, trying it on two tweets; says so where a model allows only a slower one.

        Args:
            model: the PEFT model.
            encoder: encodes the prompts.
            examples: all of the training.
            last_layers: how many layers have adapters, from above; None for all.
            scratch: folder for what the layers below them compute.
        """
        self._model = model
        self._usual = model.config._attn_implementation
        self._lower: LowerLayers | None = None
        packed, padded = PackedCollator(encoder), PaddedCollator(encoder)
        self.collator: Collator = padded
        self._attention = self._usual
        trial = sorted(examples[:16], key=lambda example: len(example.ids))[:: max(1, len(examples[:16]) - 1)]
        why = unfit(model.config, encoder.max_length, training=True)
        if not why:
            expected = self._logits(padded, trial)
            why = self._try(packed, PACKED, trial, expected)
        if why:
            self._tell("packed rows", why)
            return
        lowest = model.config.num_hidden_layers - (last_layers or model.config.num_hidden_layers)
        if not lowest:
            return
        try:
            sample = LowerLayers(model, lowest, packed, trial, scratch / "trial.bin", bar=False)
        except (AttributeError, TypeError) as error:
            self._tell("the last layers alone", first_line(error))
            return
        finally:
            (scratch / "trial.bin").unlink(missing_ok=True)
        self._lower = sample
        if why := self._try(sample, PACKED, trial, expected):
            self._lower, self.collator = None, packed
            self._tell("the last layers alone", why)
            return
        self._lower = self.collator = LowerLayers(model, lowest, packed, examples, scratch / "lower_layers.bin")
        logger.info("the %d layers below the adapters are computed: %.0f MB", lowest, self._lower.megabytes)

    @contextmanager
    def training(self) -> Iterator[None]:
        """A block in which the model takes the batches of ``collator``."""
        with attention(self._model, self._attention):
            if self._lower is None:
                yield
            else:
                with self._lower.left_out():
                    yield

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """A block, inside that of ``training``, in which the model is the usual one."""
        with attention(self._model, self._usual):
            if self._lower is None:
                yield
            else:
                with self._lower.back():
                    yield

    def _try(self, collator: Collator, name: str, trial: Sequence[Example], expected: torch.Tensor) -> str:
        """Takes a way if it gives the logits that are expected; else it tells why it does not."""
        before = self.collator, self._attention
        self.collator, self._attention = collator, name
        try:
            with self.training():
                got = self._logits(collator, trial)
        except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            self.collator, self._attention = before
            return first_line(error)
        difference = float((got - expected).norm() / expected.norm())
        whole = self._model.dtype == torch.float32 and not is_quantised(self._model)
        if difference < (_EXACT if whole else _ROUNDED):
            return ""
        self.collator, self._attention = before
        return f"its answers would differ by {difference:.1%}"

    def _logits(self, collator: Collator, examples: Sequence[Example]) -> torch.Tensor:
        """Logits ``(tokens with a label, vocabulary)``."""
        inputs = {name: tensor.to(self._model.device) for name, tensor in collator(examples).items()}
        labelled = inputs.pop("labels")[:, 1:].flatten() != IGNORED
        with torch.inference_mode():
            logits: torch.Tensor = self._model(**inputs).logits.flatten(0, 1)[labelled].float()
        return logits

    def _tell(self, what: str, why: str) -> None:
        logger.warning("%s cannot be trained on %s (%s); slower instead", type(self._model).__name__, what, why)
