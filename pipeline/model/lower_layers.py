"""Frozen layers below the adapters give every tweet the same in every epoch: computed once, kept on disk."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from pipeline.errors import ShortageError
from pipeline.model.attention import NAME, attention
from pipeline.model.examples import Example, PackedCollator

_BATCH_TOKENS = 4096


class LowerLayers:
    """The first layers of a model, which no adapter changes, and what they make of every training tweet.

    ``states`` maps a file of ``(tokens, hidden)``: the scaffold, then each tweet behind it, in the order of the
    examples. The file is as large as tokens x hidden x 2 or 4 bytes; it is read as it is needed.
    """

    def __init__(
        self,
        model: Any,
        count: int,
        collator: PackedCollator,
        examples: Sequence[Example],
        path: Path,
        *,
        bar: bool = True,
    ) -> None:
        """Computes the states.

        Args:
            model: the PEFT model, its layers in ``get_decoder().layers``.
            count: number of layers from below.
            collator: what lays batches out.
            examples: all of the training.
            path: the file to write; one that is there is replaced.
            bar: whether to show one while it computes.

        Raises:
            ShortageError: the disk has no room for the file.
        """
        self._decoder = model.get_decoder()
        self._layers = self._decoder.layers
        self._count = count
        self._collator = collator
        self._prefix = len(collator.prefix)
        ends = torch.tensor([self._prefix, *(len(example.ids) for example in examples)]).cumsum(0).tolist()
        self._start = {id(example): start for example, start in zip(examples, ends[:-1], strict=True)}
        hidden = model.config.hidden_size
        needed = ends[-1] * hidden * model.dtype.itemsize
        path.unlink(missing_ok=True)
        _allocate(path, needed)
        flat = torch.from_file(str(path), shared=True, size=ends[-1] * hidden, dtype=model.dtype)
        self.states = flat.view(-1, hidden)
        self._compute(model, examples, bar=bar)

    @property
    def megabytes(self) -> float:
        """Size of the file."""
        return self.states.numel() * self.states.element_size() / 1e6

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch as ``PackedCollator`` lays it out, with what comes out of the frozen layers in place of tokens."""
        batch = self._collator(examples)
        del batch["input_ids"]
        rows = [self.states[(start := self._start[id(e)]) : start + len(e.ids)] for e in examples]
        return batch | {"inputs_embeds": torch.cat([self.states[: self._prefix], *rows]).unsqueeze(0)}

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """The model without its frozen layers, for the length of the block."""
        with self._without(range(self._count)):
            yield

    @contextlib.contextmanager
    def back(self) -> Iterator[None]:
        """The whole model again, for the length of a block inside that of ``left_out``."""
        with self._without(range(0)):
            yield

    @contextlib.contextmanager
    def _without(self, numbers: range) -> Iterator[None]:
        before = self._decoder.layers
        # What is left out keeps its place, so that weights keep their names.
        self._decoder.layers = nn.ModuleList(
            _LeftOut() if number in numbers else layer for number, layer in enumerate(self._layers)
        )
        try:
            yield
        finally:
            self._decoder.layers = before

    def _compute(self, model: Any, examples: Sequence[Example], *, bar: bool) -> None:
        norm, above = self._decoder.norm, range(self._count, len(self._layers))
        shown = tqdm(total=len(examples), desc="frozen layers", unit="tweet", leave=None, disable=None if bar else True)
        try:
            self._decoder.norm = nn.Identity()  # it comes after the last layer
            with (
                torch.inference_mode(),
                attention(model, NAME),
                self._without(above),
                shown,
            ):
                for batch in _batches(examples):
                    inputs = {name: t.to(model.device) for name, t in self._collator(batch).items()}
                    del inputs["labels"], inputs["logits_to_keep"]
                    states = self._decoder(**inputs, use_cache=False).last_hidden_state[0].cpu()
                    self.states[: self._prefix] = states[: self._prefix]
                    start = self._start[id(batch[0])]
                    self.states[start : start + len(states) - self._prefix] = states[self._prefix :]
                    shown.update(len(batch))
        finally:
            self._decoder.norm = norm


def _allocate(path: Path, size: int) -> None:
    """Makes a file of so many bytes that the disk has room for: writing into a mapped one that has none kills."""
    free = shutil.disk_usage(path.parent).free
    try:
        if free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ShortageError(
            f"{path}: {error.strerror}; what the frozen layers compute needs {size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB"
            " are free; free some disk, or set lora.last_layers null"
        ) from error


class _LeftOut(nn.Module):
    """Stands where a layer was."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """What it was given."""
        return hidden_states


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Neighbours, so many that their tokens stay within a bound."""
    start = 0
    while start < len(examples):
        end, tokens = start, 0
        while end < len(examples) and (end == start or tokens + len(examples[end].ids) <= _BATCH_TOKENS):
            tokens += len(examples[end].ids)
            end += 1
        yield examples[start:end]
        start = end
