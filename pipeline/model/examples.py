"""From rows to training batches: what is learnt, in which order, and how a batch is laid out for the model."""

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from pipeline.artifacts import Row
from pipeline.model.encoding import Encoder
from pipeline.model.prefix import pad_left

IGNORED = -100  # the label that PyTorch's cross-entropy skips

# How often a class is seen: as often as n ** exponent, where n is the number of its training tweets.
SAMPLING = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}


@dataclass(frozen=True)
class Example:
    """Token ids of one training tweet: all behind the scaffold that the tweets share, and the completion alone."""

    ids: list[int]
    completion: list[int]


def encode_examples(encoder: Encoder, rows: Sequence[Row]) -> tuple[list[Example], int]:
    """One example a row, and the number of tweets that lost their end to fit."""
    prompts = encoder.prompts([row.input for row in rows])
    completions = [encoder.completions[row.output] for row in rows]
    examples = [
        Example(prompt.ids[len(encoder.prefix) :] + completion, completion)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    return examples, sum(prompt.shortened for prompt in prompts)


def quotas(counts: Mapping[str, int], sampling: str) -> dict[str, int]:
    """How many tweets of each class make one pass of as many tweets as there are, by the method of ``SAMPLING``.

    Shares are rounded by largest remainder; every class gets one at least.
    """
    wanted = {label: n ** SAMPLING[sampling] for label, n in counts.items() if n}
    scale = sum(counts.values()) / sum(wanted.values())
    exact = {label: weight * scale for label, weight in wanted.items()}
    whole = {label: max(1, math.floor(share)) for label, share in exact.items()}
    for label in sorted(exact, key=lambda label: whole[label] - exact[label]):
        if sum(whole.values()) < sum(counts.values()):
            whole[label] += 1
    return whole


def in_order(labels: Sequence[str], length: int, sampling: str, seed: int) -> list[int]:
    """Which example is seen when: ``length`` indices into ``labels``, drawn anew in every pass.

    In a pass each class has its quota. Within a class no tweet comes again before all others have come.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    members: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    share = quotas({label: len(indices) for label, indices in members.items()}, sampling)
    streams = {label: _again_and_again(indices, draw) for label, indices in members.items()}
    order: list[int] = []
    while len(order) < length:
        one_pass = [index for label, n in share.items() for index in itertools.islice(streams[label], n)]
        draw.shuffle(one_pass)
        order += one_pass
    return order[:length]


def _again_and_again(indices: list[int], draw: random.Random) -> Iterator[int]:
    while True:
        yield from draw.sample(indices, len(indices))


class Schedule(Dataset[Example]):
    """Every example of a training in the order in which it is seen.

    Within a batch the longest come first, so that what shares a forward pass is of like length, and memory is
    tried at once.
    """

    def __init__(self, examples: Sequence[Example], order: Sequence[int], batch_size: int) -> None:
        self._examples = examples
        self._order: list[int] = []
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            self._order += sorted(batch, key=lambda index: -len(examples[index].ids))

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> Example:
        return self._examples[self._order[place]]


class PackedCollator:
    """Lays a batch out as one row: the scaffold once, then every tweet without padding; see ``attention.attend``."""

    def __init__(self, encoder: Encoder) -> None:
        self.prefix = encoder.prefix
        self._longest = encoder.longest_completion

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Inputs of the model, and ``labels`` ``(B, 1 + C)`` for the B * C positions whose logits are kept.

        C is the length of the longest completion; shorter ones are filled up with ``IGNORED``. So is the first column:
        the Trainer, which counts labels, holds it for a token that nothing predicts.
        """
        rows = [example.ids for example in examples]
        prefix, width = len(self.prefix), max(map(len, rows))
        ids = [*self.prefix, *itertools.chain.from_iterable(rows)]
        positions = [*range(prefix), *itertools.chain.from_iterable(range(prefix, prefix + len(row)) for row in rows)]
        starts = list(itertools.accumulate(map(len, rows), initial=prefix))
        slots = [[start + min(i, len(row) - 1) for i in range(width)] for start, row in zip(starts, rows, strict=False)]
        places = [number * width + i for number, row in enumerate(rows) for i in range(len(row))]
        kept = [_predicting(end, example, self._longest) for end, example in zip(starts[1:], examples, strict=True)]
        side = max(prefix, width)
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            # A mask of four dimensions passes transformers untouched; attention goes by the slots.
            "attention_mask": torch.zeros(1, 1, 1, 1),
            "slots": torch.tensor(slots),
            "places": torch.tensor(places),
            "future": torch.ones(side, side, dtype=torch.bool).triu(1),
            "logits_to_keep": torch.tensor(kept).reshape(-1),
            "labels": torch.tensor(
                [[IGNORED, *e.completion] + [IGNORED] * (self._longest - len(e.completion)) for e in examples]
            ),
        }


class PaddedCollator:
    """Lays a batch out as every model takes it: whole prompts, padded on the left."""

    def __init__(self, encoder: Encoder) -> None:
        self._prefix = encoder.prefix
        self._pad = encoder.tokenizer.pad_token_id
        self._longest = encoder.longest_completion

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Inputs of the model, and ``labels`` ``(B, 1 + C)`` for the C positions before the last, as above."""
        ids, mask = pad_left([self._prefix + example.ids for example in examples], self._pad, multiple=8)
        width = ids.shape[1]
        kept = torch.arange(width - self._longest - 1, width - 1)
        # Rows end together, so shorter completions are filled up in front.
        labels = [[IGNORED] * (1 + self._longest - len(e.completion)) + e.completion for e in examples]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0),
            "logits_to_keep": kept,
            "labels": torch.tensor(labels),
        }


def _predicting(end: int, example: Example, longest: int) -> list[int]:
    """The positions that predict a completion which ends before ``end``, the last one again where it is short."""
    n = len(example.completion)
    return [end - n - 1 + min(i, n - 1) for i in range(longest)]


class CompletionLoss:
    """Mean cross-entropy of the completions' tokens, each weighted by the class it stands for.

    ``weights`` gives one a class, in the order of the task's labels; None weighs them alike.
    """

    def __init__(self, encoder: Encoder, weights: Sequence[float] | None = None) -> None:
        self._completions = [encoder.completions[label] for label in encoder.task.labels]
        self._weights = weights

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Loss of one forward pass, with ``labels`` ``(B, 1 + C)`` and logits for their last C columns, row by row.

        ``num_items_in_batch`` counts the tokens with a label in all passes of the optimizer step, so that the passes'
        losses add up to the mean.
        """
        targets, logits = labels[:, 1:], outputs.logits.flatten(0, 1).float()
        losses = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="none")
        if self._weights is not None:
            losses = losses.view_as(targets) * self._weights_of(targets).unsqueeze(1)
        return losses.sum() / ((targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)

    def _weights_of(self, targets: torch.Tensor) -> torch.Tensor:
        """Weight of each row ``(B,)``: its class is the one whose completion it holds."""
        rows = [[token for token in row if token != IGNORED] for row in targets.tolist()]
        weights = self._weights or ()
        return torch.tensor([weights[self._completions.index(row)] for row in rows], device=targets.device)


def class_weights(counts: Mapping[str, int], labels: Sequence[str], method: str) -> list[float] | None:
    """Weights whose mean over the training tweets is 1; None for ``none``.

    A class of n tweets weighs 1 / n (``balanced``, as in scikit-learn) or 1 / sqrt(n) (``sqrt``), up to that mean. A
    class without tweets weighs 1.
    """
    if method == "none":
        return None
    exponent = {"balanced": 1.0, "sqrt": 0.5}[method]
    raw = {label: counts.get(label, 0) ** -exponent if counts.get(label) else None for label in labels}
    mean = sum(counts[label] * weight for label, weight in raw.items() if weight) / sum(counts.values())
    return [1.0 if (weight := raw[label]) is None else weight / mean for label in labels]
