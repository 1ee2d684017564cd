"""A model on this machine as a teacher: it writes by sampling, and labels as the project's own classifiers do."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import read_json
from pipeline.errors import PipelineError
from pipeline.families import Name, asked_as, recognise
from pipeline.model.base import BaseModel, resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.loading import ends_of, family_of, load_base, load_tokenizer, place, scoring_precision
from pipeline.model.prefix import pad_left
from pipeline.task import Task

_BATCH = 8
# Tokens of a prompt that asks for a label: room for the longest tweet there may be in any alphabet.
_MAX_LENGTH = 1024
_CONTEXT = 4096  # where a model does not say
_TOP_P = 0.95
_EXPORTED = "merged"  # what pipeline.export calls the folder of a model
# An order for a model that was not taught to chat.
_PLAIN = "{instruction}\n\n{input}\n\nTweet:"


@dataclass(frozen=True)
class Written:
    """What a model wrote, and why it stopped: at its own end, or at the bound."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int


class LocalTeacher:
    """A base model that answers orders and labels tweets, asked as its family is.

    ``identity`` has what decides its answers. Labels are the likeliest ones; a bf16 model is computed in fp32 on a CPU,
    where answers else depend on which tweets share a batch.
    """

    batch = _BATCH

    def __init__(self, name: str, task: Task, device: str = "auto") -> None:
        self.base = resolve_base_model(name)
        self.name = _public_name(self.base)
        auto = place("auto", device)
        self._placement = place(scoring_precision(auto.precision, device), device)
        self._tokenizer = load_tokenizer(self.base)
        self._labels_as = family_of(self.base, self._tokenizer)
        # The embedded model is asked for labels as this project's figures are made; it writes as its makers ask it.
        self._writes_as = recognise(read_json(Path(self.base.location) / "config.json"), self._tokenizer)
        self.identity: Mapping[str, Any] = {
            "model": self.base.fingerprint,
            "precision": self._placement.precision,
            "device": self._placement.device,
            "top_p": _TOP_P,
            "asked_as": {"label": self._labels_as, "write": self._writes_as},
        }
        self._task = task
        self._model: Any = None
        self._classifier: Classifier | None = None

    def label(self, tweets: Sequence[str]) -> list[str]:
        """The likeliest label of each tweet."""
        if self._classifier is None:
            model = self._loaded()
            encoder = self._encoder(self._task, self._labels_as, min(_MAX_LENGTH, _context(model)))
            self._classifier = Classifier(model, encoder, settled=True)
        return [found.loglikelihood for found in self._classifier.decode(tweets)]

    def write(
        self, orders: Sequence[tuple[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Written]:
        """Texts for orders, each an instruction for good and the order proper, drawn with a seed.

        The same orders together, with the same seed, give the same texts on one machine.

        Raises:
            MemoryError: the GPU is too small.
        """
        model = self._loaded()
        encoders = {system: self.writer(system, _context(model) - max_tokens) for system, _ in orders}
        rows = [encoders[system].prompt(order).ids for system, order in orders]
        ids, mask = (each.to(model.device) for each in pad_left(rows, self._tokenizer.pad_token_id))
        ends = {encoder.end for encoder in encoders.values()} | ends_of(model.generation_config.eos_token_id)
        try:
            with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
                torch.manual_seed(seed)
                with torch.inference_mode():
                    drawn = model.generate(
                        input_ids=ids,
                        attention_mask=mask,
                        do_sample=True,
                        temperature=temperature,
                        top_p=_TOP_P,
                        top_k=0,
                        max_new_tokens=max_tokens,
                        eos_token_id=sorted(ends),
                        pad_token_id=self._tokenizer.pad_token_id,
                    )
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"{len(orders)} tweets could not be written on {model.device}") from error
        return [
            self._written(own[ids.shape[1] :].tolist(), ends, len(row)) for own, row in zip(drawn, rows, strict=True)
        ]

    def _written(self, ids: list[int], ends: Set[int], tokens_in: int) -> Written:
        stop = next((i for i, token in enumerate(ids) if token in ends), None)
        own = ids if stop is None else ids[:stop]
        text = self._tokenizer.decode(own, skip_special_tokens=True)
        return Written(text, "length" if stop is None else "stop", tokens_in, len(own))

    def writer(self, system: str, max_length: int) -> Encoder:
        """What makes prompts of orders: an order is to what the model is told for good as a tweet to the instruction.

        So the examples in it, which are tweets, can forge nothing.
        """
        task = dataclasses.replace(self._task, instruction=system, template=_PLAIN)
        return self._encoder(task, self._writes_as, max_length)

    def _encoder(self, task: Task, family: Name, max_length: int) -> Encoder:
        try:
            return Encoder(self._tokenizer, asked_as(task, family, self._tokenizer), max_length)
        except PipelineError as error:
            raise PipelineError(f"--teacher {self.name}: expected a model that can be asked; {error}") from error

    def _loaded(self) -> Any:
        if self._model is None:
            self._model = load_base(self.base, self._placement)
            if self._placement.precision == "fp32":
                self._model = self._model.float()
        return self._model


def _public_name(base: BaseModel) -> str:
    """What rows say of their teacher. All exports end in the same name, so that of the run stands before it."""
    folder = Path(base.location).parent
    tells = base.public_name == _EXPORTED and folder.name and folder != Path.home().resolve()
    return f"{folder.name}/{_EXPORTED}" if tells else base.public_name


def _context(model: Any) -> int:
    """Tokens that a model can see."""
    return getattr(model.config, "max_position_embeddings", None) or _CONTEXT


def seed_of(parts: Sequence[int]) -> int:
    """One seed of several."""
    return int.from_bytes(hashlib.sha256(json.dumps(list(parts)).encode()).digest()[:4]) % 2**31
