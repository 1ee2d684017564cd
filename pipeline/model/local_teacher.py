"""A model on this machine as a teacher: it writes by sampling, and labels as the project's own classifiers do."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.loading import ends_of, load_base, load_tokenizer, place, scoring_precision
from pipeline.task import Task

_BATCH = 8
_MAX_LENGTH = 256  # tokens of a prompt that asks for a label
_TOP_P = 0.95


@dataclass(frozen=True)
class Written:
    """What a model wrote, and why it stopped: at its own end, or at the bound."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int


class LocalTeacher:
    """A base model that answers orders and labels tweets.

    ``identity`` has what decides its answers. Labels are the likeliest ones; a bf16 model is computed in fp32 on a CPU,
    where answers else depend on which tweets share a batch.
    """

    batch = _BATCH

    def __init__(self, name: str, task: Task, device: str = "auto") -> None:
        self.base = resolve_base_model(name)
        self.name = self.base.public_name
        auto = place("auto", device)
        self._placement = place(scoring_precision(auto.precision, device), device)
        self.identity: Mapping[str, Any] = {
            "model": self.base.fingerprint,
            "precision": self._placement.precision,
            "device": self._placement.device,
            "top_p": _TOP_P,
        }
        self._tokenizer = load_tokenizer(self.base)
        self._task = task
        self._model: Any = None
        self._classifier: Classifier | None = None

    def label(self, tweets: Sequence[str]) -> list[str]:
        """The likeliest label of each tweet."""
        if self._classifier is None:
            encoder = Encoder(self._tokenizer, self._task, _MAX_LENGTH)
            self._classifier = Classifier(self._loaded(), encoder, settled=True)
        return [found.loglikelihood for found in self._classifier.decode(tweets)]

    def write(
        self, orders: Sequence[tuple[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Written]:
        """Texts for orders, each an instruction for good and the order proper, drawn with a seed.

        The same orders together, with the same seed, give the same texts on one machine.
        """
        model, tokenizer = self._loaded(), self._tokenizer
        prompts = [self._prompt(system, order) for system, order in orders]
        context = getattr(model.config, "max_position_embeddings", None) or 4096
        room = max(16, context - max_tokens)
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=not self._chats)
        encoded = {name: encoded[name][:, -room:].to(model.device) for name in ("input_ids", "attention_mask")}
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            with torch.inference_mode():
                drawn = model.generate(
                    **encoded,
                    do_sample=True,
                    temperature=temperature,
                    top_p=_TOP_P,
                    top_k=0,
                    max_new_tokens=min(max_tokens, context - encoded["input_ids"].shape[1]),
                    pad_token_id=tokenizer.pad_token_id,
                )
        width = encoded["input_ids"].shape[1]
        return [
            self._written(ids[width:].tolist(), int(mask.sum()))
            for ids, mask in zip(drawn, encoded["attention_mask"], strict=True)
        ]

    def _written(self, ids: list[int], tokens_in: int) -> Written:
        ends = {self._tokenizer.eos_token_id} | ends_of(self._model.generation_config.eos_token_id)
        stop = next((i for i, token in enumerate(ids) if token in ends), None)
        own = ids if stop is None else ids[:stop]
        text = self._tokenizer.decode(own, skip_special_tokens=True)
        return Written(text, "length" if stop is None else "stop", tokens_in, len(own))

    @property
    def _chats(self) -> bool:
        return self._tokenizer.chat_template is not None

    def _prompt(self, system: str, order: str) -> str:
        """The prompt as the model was taught to read it, or, where nobody says how, as plain text."""
        order = self._plain(order)
        if not self._chats:
            return f"{system}\n\n{order}\n\nTweet:"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": order}]
        prompt: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return prompt

    def _plain(self, text: str) -> str:
        """The text without control tokens: examples are tweets, and a tweet may hold what ends a message."""
        for token in sorted(self._tokenizer.get_added_vocab(), key=len, reverse=True):
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text

    def _loaded(self) -> Any:
        if self._model is None:
            self._model = load_base(self.base, self._placement)
            if self._placement.precision == "fp32":
                self._model = self._model.float()
        return self._model


def seed_of(parts: Sequence[int]) -> int:
    """One seed of several."""
    return int.from_bytes(hashlib.sha256(json.dumps(list(parts)).encode()).digest()[:4]) % 2**31
