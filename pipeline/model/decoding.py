"""Reading a class out of a language model: the one decoding loop of the project.

One pass over a prompt serves two readings. ``generate`` lets the model write greedily and reads what it wrote;
``loglikelihood`` asks how probable it finds each label as a whole, terminator included. The scaffold in front of
the tweet is the same for every prompt: its keys and values are computed once. All labels stand behind each prompt as a
tree; a model that writes one of them has then been read completely. What it writes instead is written token by token.
"""

import copy
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from pipeline.errors import first_line
from pipeline.model.attention import attention, unfit
from pipeline.model.encoding import Encoder
from pipeline.model.loading import ends_of, is_quantised, set_mode
from pipeline.model.prefix import NO_LOGITS, behind_prefix, last_positions, pad_left
from pipeline.model.trees import NAME as TREES
from pipeline.model.trees import SharedPrefix, plant
from pipeline.model.trie import LabelTrie

# Bounds on one batch: tokens behind the scaffold, labels included; keys and values that attention sees, scaffold
# included; positions whose logits are kept.
BATCH_TOKENS = 2048
BATCH_SEEN = 32768
BATCH_LOGITS = 512
# How far, relative to their norm, logits may lie from those of whole prompts: rounding, no more.
_EXACT, _ROUNDED = 1e-3, 0.05
_SECONDS = 30  # between two lines where there is no bar

logger = logging.getLogger(__name__)

# The way in which a model attends is switched for each batch: threads take turns.
_ONE_AT_A_TIME = threading.RLock()


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

    def log_likelihood(self, label: str) -> float:
        """Natural log of the probability of one label."""
        return self.log_likelihoods[self.labels.index(label)]

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
    """A model, its encoder, and the decoding of tweets into labels.

    ``settled`` says that the model's weights change no more: then what the scaffold gives is computed once for good.
    """

    def __init__(self, model: Any, encoder: Encoder, *, settled: bool = False) -> None:
        self.model = model
        self.encoder = encoder
        self.labels = encoder.task.labels
        self.settled = settled
        self._trie = LabelTrie([encoder.completions[label] for label in self.labels])
        self._ends = {encoder.end} | ends_of(model.generation_config.eos_token_id)
        self._prefixes: dict[bool, Any] = {}  # whether the adapter is on -> keys and values of the scaffold
        self._tuned = True
        self._as_trees: bool | None = None  # whether the model computes prompts as trees; None until it was tried

    @property
    def parameters(self) -> int:
        """Numbers that the model holds without its adapter, those that are stored in fewer bits as well."""
        with_adapter = self.model.num_parameters()
        return int(with_adapter - sum(p.numel() for name, p in self.model.named_parameters() if "lora_" in name))

    @contextmanager
    def untuned(self) -> Iterator["Classifier"]:
        """The same model without its adapter, for the length of the block."""
        with self.model.disable_adapter():
            self._tuned = False
            try:
                yield self
            finally:
                self._tuned = True

    def decode(self, texts: Sequence[str], *, progress: str | None = None) -> list[Decoded]:
        """Both readings of every tweet, in the order given.

        ``progress`` is the caption of a bar on stderr; None shows none, and a bar below another one does not stay.
        The model is left in the mode it was in.

        Raises:
            MemoryError: the GPU is too small.
        """
        with _ONE_AT_A_TIME:
            return self._decode(texts, progress)

    def _decode(self, texts: Sequence[str], progress: str | None) -> list[Decoded]:
        prompts = self.encoder.prompts(texts)
        behind = len(self.encoder.prefix)
        results: list[Decoded | None] = [None] * len(texts)
        was_training = self.model.training
        set_mode(self.model, training=False)
        bar = tqdm(total=len(texts), desc=progress, unit="tweet", leave=None, disable=None if progress else True)
        began = told = time.monotonic()
        done = 0
        try:
            with torch.inference_mode(), bar:
                prefix = self._prefix_cache()
                for batch in _batches([len(prompt.ids) - behind for prompt in prompts], len(self._trie), behind):
                    rows = [prompts[i].ids[behind:] for i in batch]
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
                    done += len(batch)
                    if progress and bar.disable and time.monotonic() - told > _SECONDS:  # stderr is a file
                        told = time.monotonic()
                        logger.info(
                            "%s: %d of %d tweets, %.1f tweets/s", progress, done, len(texts), done / (told - began)
                        )
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"{len(texts)} tweets could not be decoded on {self.model.device}") from error
        finally:
            set_mode(self.model, training=was_training)
        return [result for result in results if result is not None]

    def _prefix_cache(self) -> Any:
        """Keys and values of the scaffold that every prompt begins with, for one row."""
        if self._tuned not in self._prefixes:
            ids = torch.tensor([self.encoder.prefix], device=self.model.device)
            cache = self.model(input_ids=ids, use_cache=True, logits_to_keep=NO_LOGITS).past_key_values
            if not self.settled:
                return cache
            self._prefixes[self._tuned] = cache
        return self._prefixes[self._tuned]

    def _decode_batch(self, rows: list[list[int]], prefix: Any) -> list[tuple[list[int], list[float]]]:
        """Per row, the tokens behind the scaffold: the ids written, without the terminator, and each label's score."""
        logits = self._logits(rows, prefix)
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        scores = [
            torch.stack([log_probabilities[:, place, token] for place, token in path]).sum(dim=0)
            for path in self._trie.paths
        ]
        written = [self._trie.follow(chosen, self._ends) for chosen in logits.argmax(dim=-1).tolist()]
        elsewhere = [i for i, ids in enumerate(written) if ids is None]
        if elsewhere:
            for i, ids in zip(elsewhere, self._write(self._step([rows[i] for i in elsewhere], prefix)), strict=True):
                written[i] = ids
        return [(ids or [], row) for ids, row in zip(written, torch.stack(scores, dim=1).tolist(), strict=True)]

    def _logits(self, rows: list[list[int]], prefix: Any) -> torch.Tensor:
        """Logits ``(B, N, vocabulary)`` at every place of the labels' tree, by the fastest way the model allows."""
        if self._as_trees is None:
            # Two of a batch are enough to see whether the model computes the same.
            why = self._try_trees(rows[:: max(1, len(rows) - 1)][:2], prefix)
            self._as_trees = not why
            if why:
                name = type(self.model).__name__
                logger.warning("%s cannot decode prompts without padding (%s); slower instead", name, why)
        return self._logits_of_trees(rows, prefix) if self._as_trees else self._padded_logits(rows, prefix)

    def _try_trees(self, rows: list[list[int]], prefix: Any) -> str:
        """Why the model cannot compute prompts as trees; empty where it can."""
        encoder = self.encoder
        why = unfit(self.model.config, len(encoder.prefix) + encoder.max_length, training=False)
        if why:
            return why
        expected = self._padded_logits(rows, prefix)
        try:
            got = self._logits_of_trees(rows, prefix)
        except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            return first_line(error)
        difference = float((got - expected).float().norm() / expected.float().norm())
        whole = self.model.dtype == torch.float32 and not is_quantised(self.model)
        return "" if difference < (_EXACT if whole else _ROUNDED) else f"its answers would differ by {difference:.1%}"

    def _logits_of_trees(self, rows: list[list[int]], prefix: Any) -> torch.Tensor:
        inputs = plant(rows, len(self.encoder.prefix), self._trie, _dtype_of(self.model))
        inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
        with attention(self.model, TREES):
            logits: torch.Tensor = self.model(**inputs, past_key_values=SharedPrefix(prefix), use_cache=True).logits
        return logits.view(len(rows), len(self._trie), -1)

    def _padded_logits(self, rows: list[list[int]], prefix: Any) -> torch.Tensor:
        step = self._step(rows, prefix)
        return torch.cat([step.prompt().unsqueeze(1), step.branches(self._trie)], dim=1)

    def _step(self, rows: list[list[int]], prefix: Any) -> "_Step":
        return _Step(
            self.model, copy.deepcopy(prefix), len(self.encoder.prefix), rows, self.encoder.tokenizer.pad_token_id
        )

    def _write(self, step: "_Step") -> list[list[int]]:
        """Greedy completion of every row, token by token, at most two tokens longer than the longest label."""
        logits = step.prompt()
        written: list[list[int]] = [[] for _ in range(len(logits))]
        open_rows = set(range(len(logits)))
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
        ids, mask = pad_left(rows, pad)
        self.model = model
        self.cache = cache
        self.cache.batch_repeat_interleave(len(rows))
        self.ids = ids.to(model.device)
        self.mask, self.positions = behind_prefix(mask.to(model.device), prefix_length)

    def prompt(self) -> torch.Tensor:
        """Logits ``(B, vocabulary)`` of the first token after the prompt."""
        return self._forward(self.ids, self.mask, self.positions, keep=1)[:, -1]

    def branches(self, trie: LabelTrie) -> torch.Tensor:
        """Logits ``(B, N, vocabulary)`` behind each of the tree's beginnings; the cache is left as it was."""
        rows, n = len(self.mask), len(trie) - 1
        visible = torch.cat(
            [
                self.mask.bool().unsqueeze(1).expand(rows, n, -1),
                trie.visible.to(self.mask.device).expand(rows, n, n),
            ],
            dim=2,
        ).unsqueeze(1)
        dtype = _dtype_of(self.model)
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)  # what attention adds to its scores
        mask.masked_fill_(~visible, torch.finfo(dtype).min)
        positions = self.positions[:, -1:] + trie.depths.to(self.positions.device)
        logits = self._forward(trie.tokens.to(mask.device).expand(rows, n), mask, positions, keep=n)
        self.cache.crop(-n)
        return logits

    def next(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, vocabulary)`` behind one more token ``(B, 1)``, which stays in the cache."""
        self.mask = torch.cat([self.mask, torch.ones_like(ids)], dim=1)
        self.positions = self.positions[:, -1:] + 1
        return self._forward(ids, self.mask, self.positions, keep=1)[:, -1]

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int) -> torch.Tensor:
        logits: torch.Tensor = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=last_positions(ids.shape[1], keep).to(ids.device),
        ).logits
        return logits


def _dtype_of(model: Any) -> torch.dtype:
    """That of a model's activations."""
    dtype: torch.dtype = model.get_input_embeddings().weight.dtype
    return dtype


def _batches(lengths: Sequence[int], places: int, prefix: int) -> Iterator[list[int]]:
    """Indices of prompts in batches of like length, the longest first, so that memory is tried at once.

    ``lengths`` are those behind the scaffold of ``prefix`` tokens, ``places`` those of the labels' tree.
    """
    batch: list[int] = []
    most = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if len(batch) == most and batch:
            yield batch
            batch = []
        if not batch:
            own = lengths[i] + places - 1
            most = max(1, min(BATCH_TOKENS // own, BATCH_SEEN // (prefix + own), BATCH_LOGITS // places))
        batch.append(i)
    if batch:
        yield batch
