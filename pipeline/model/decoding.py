"""Reading a class out of a language model: the one decoding loop of the project.

One pass over a prompt serves two readings. ``generate`` lets the model write greedily and reads what it wrote;
``loglikelihood`` asks how probable it finds each label as a whole, terminator included. The scaffold in front of
the tweet is the same for every prompt: its keys and values are computed once.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from pipeline.model.encoding import Encoder
from pipeline.model.loading import set_mode
from pipeline.model.prefix import behind_prefix, pad_left

# Tokens of prompts in one forward pass, padding included, and a bound on its rows.
BATCH_TOKENS = 2048
BATCH_ROWS = 64


@dataclass(frozen=True)
class Decoded:
    """What the model makes of one tweet.

    ``completion`` is its greedy answer as written; ``generate`` that answer read strictly as a label, or None;
    ``log_likelihoods`` the natural log of each label's probability, in the order of ``Task.labels``;
    ``shortened`` whether the tweet lost its end to fit.
    """

    completion: str
    generate: str | None
    log_likelihoods: tuple[float, ...]
    labels: tuple[str, ...]
    shortened: bool

    @property
    def loglikelihood(self) -> str:
        """The most probable label; the first in label order where two are equal."""
        return self.labels[max(range(len(self.labels)), key=self.log_likelihoods.__getitem__)]

    @property
    def label_mass(self) -> float:
        """Probability, 0 to 1, that the model answers with any label at all."""
        return sum(map(math.exp, self.log_likelihoods))

    @property
    def probabilities(self) -> dict[str, float]:
        """Label to probability, given that the answer is a label (softmax over the log-likelihoods)."""
        top = max(self.log_likelihoods)
        weights = [math.exp(value - top) for value in self.log_likelihoods]
        return {label: weight / sum(weights) for label, weight in zip(self.labels, weights, strict=True)}

    def to_json(self) -> dict[str, object]:
        """The decoding as it stands in ``predictions.jsonl``."""
        return {
            "completion": self.completion,
            "generate": self.generate,
            "loglikelihood": self.loglikelihood,
            "log_likelihoods": dict(zip(self.labels, self.log_likelihoods, strict=True)),
        }


class Classifier:
    """A model, its encoder, and the decoding of tweets into labels."""

    def __init__(self, model: Any, encoder: Encoder) -> None:
        self.model = model
        self.encoder = encoder
        self.labels = encoder.task.labels
        ends = model.generation_config.eos_token_id
        self._ends = {encoder.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    @contextmanager
    def untuned(self) -> Iterator["Classifier"]:
        """The same model without its adapter, for the length of the block."""
        with self.model.disable_adapter():
            yield self

    def decode(self, texts: Sequence[str], *, progress: str | None = None) -> list[Decoded]:
        """Both readings of every tweet, in the order given.

        ``progress`` is the caption of a bar on stderr; None shows none. The model is left in the mode it was in.

        Raises:
            MemoryError: the GPU is too small.
        """
        prompts = self.encoder.prompts(texts)
        results: list[Decoded | None] = [None] * len(texts)
        was_training = self.model.training
        set_mode(self.model, training=False)
        bar = tqdm(total=len(texts), desc=progress, unit="tweet", disable=None if progress else True)
        try:
            with torch.inference_mode(), bar:
                prefix = self._prefix_cache()
                for batch in _batches([len(prompt.ids) for prompt in prompts]):
                    rows = [prompts[i].ids for i in batch]
                    for i, (written, scores) in zip(batch, self._decode_batch(rows, prefix), strict=True):
                        completion = self.encoder.tokenizer.decode(written)
                        results[i] = Decoded(
                            completion,
                            self.encoder.task.parse(completion),
                            tuple(scores),
                            self.labels,
                            prompts[i].shortened,
                        )
                    bar.update(len(batch))
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"{len(texts)} tweets could not be decoded on {self.model.device}") from error
        finally:
            set_mode(self.model, training=was_training)
        return [result for result in results if result is not None]

    def _prefix_cache(self) -> Any:
        """Keys and values of the scaffold that every prompt begins with, for one row."""
        ids = torch.tensor([self.encoder.prefix], device=self.model.device)
        return self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def _decode_batch(self, rows: list[list[int]], prefix: Any) -> list[tuple[list[int], list[float]]]:
        """Per row: the token ids written, without the terminator, and the log-likelihood of each label."""
        step = _Step(
            self.model, copy.deepcopy(prefix), len(self.encoder.prefix), rows, self.encoder.tokenizer.pad_token_id
        )
        first = step.prompt()  # (rows, vocabulary)
        log_probabilities = torch.log_softmax(first.float(), dim=-1)
        scores = []
        for label in self.labels:
            ids = self.encoder.completions[label]
            score = log_probabilities[:, ids[0]]
            if len(ids) > 1:
                forced = torch.tensor([ids[:-1]], device=first.device).expand(len(rows), -1)
                following = torch.log_softmax(step.forced(forced).float(), dim=-1)  # (rows, tokens, vocabulary)
                score = score + following.gather(2, _column(ids[1:], following)).sum(dim=(1, 2))
            scores.append(score)
        return list(zip(self._write(first, step), torch.stack(scores, dim=1).tolist(), strict=True))

    def _write(self, first: torch.Tensor, step: "_Step") -> list[list[int]]:
        """Greedy completion of every row, at most two tokens longer than the longest label."""
        written: list[list[int]] = [[] for _ in range(len(first))]
        open_rows = set(range(len(first)))
        logits = first
        for _ in range(self.encoder.longest_completion + 2):
            chosen = logits.argmax(dim=-1)
            for i, token in enumerate(chosen.tolist()):
                if i in open_rows:
                    if token in self._ends:
                        open_rows.discard(i)
                    else:
                        written[i].append(token)
            if not open_rows:
                break
            logits = step.next(chosen.unsqueeze(1))
        return written


class _Step:
    """Forward passes over a left-padded batch behind a shared, cached prefix.

    Shapes: rows are ``(B, L)`` after padding; the cache holds ``(B, heads, P + L + written, size)``.
    """

    def __init__(self, model: Any, cache: Any, prefix_length: int, rows: list[list[int]], pad: int) -> None:
        ids, mask = pad_left([row[prefix_length:] for row in rows], pad)
        self.model = model
        self.cache = cache
        self.cache.batch_repeat_interleave(len(rows))
        self.ids = ids.to(model.device)
        self.mask, self.positions = behind_prefix(mask.to(model.device), prefix_length)

    def prompt(self) -> torch.Tensor:
        """Logits ``(B, vocabulary)`` of the first token after the prompt."""
        return self._forward(self.ids, self.positions, keep=1)[:, -1]

    def forced(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, n, vocabulary)`` behind each of the ``(B, n)`` ids; the cache is left as it was."""
        mask, positions = self.mask, self.positions
        logits = self._append(ids)
        self.cache.crop(-ids.shape[1])
        self.mask, self.positions = mask, positions
        return logits

    def next(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, vocabulary)`` behind one more token ``(B, 1)``, which stays in the cache."""
        return self._append(ids)[:, -1]

    def _append(self, ids: torch.Tensor) -> torch.Tensor:
        n = ids.shape[1]
        self.mask = torch.cat([self.mask, torch.ones_like(ids)], dim=1)
        steps = torch.arange(1, n + 1, device=ids.device).unsqueeze(0)
        self.positions = self.positions[:, -1:] + steps
        return self._forward(ids, self.positions, keep=n)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, keep: int) -> torch.Tensor:
        logits: torch.Tensor = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=last_positions(ids.shape[1], keep).to(ids.device),
        ).logits
        return logits


def last_positions(length: int, keep: int) -> torch.Tensor:
    """Indices of the last ``keep`` of ``length`` positions, for a model's ``logits_to_keep``.

    A plain number would make a strided slice there, for which PyTorch copies the whole output layer once per row.
    """
    return torch.arange(length - keep, length)


def _column(ids: list[int], like: torch.Tensor) -> torch.Tensor:
    """Token ids as an index ``(rows, tokens, 1)`` into the last axis of ``like``."""
    return torch.tensor(ids, device=like.device).view(1, -1, 1).expand(like.shape[0], -1, 1)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of prompts in batches of like length, the longest first, so that memory is tried at once."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) == BATCH_ROWS or (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
