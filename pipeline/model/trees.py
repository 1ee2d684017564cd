"""One forward pass over many prompts and all labels behind each: what decoding computes, and nothing else.

The batch is one row without padding: the tokens of every tweet behind the scaffold, each followed by the beginnings of
all labels. The scaffold's keys and values are there already. A tweet sees the scaffold and itself, a beginning of a
label sees the scaffold, its tweet, and its own beginnings.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface

from pipeline.model.attention import refuse_more
from pipeline.model.trie import LabelTrie

NAME = "prompt_trees"


class SharedPrefix:
    """Keys and values of the scaffold, as a cache that models of transformers read and nothing is added to."""

    is_compileable = False

    def __init__(self, cache: Any) -> None:
        """Takes those of a cache with one row, ``(1, K, P, D)`` in each layer."""
        self._layers = [(layer.keys, layer.values) for layer in cache.layers]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The scaffold's keys and values and behind them those given, ``(1, K, P + N, D)``."""
        prefix = self._layers[layer]
        return torch.cat([prefix[0], keys], dim=2), torch.cat([prefix[1], values], dim=2)

    def get_seq_length(self, *_: Any) -> int:
        """Tokens of the scaffold."""
        return int(self._layers[0][0].shape[2])


def plant(rows: Sequence[list[int]], prefix: int, trie: LabelTrie, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Inputs of a model for prompts, given by what follows their first ``prefix`` tokens.

    With B rows of up to W tokens and N beginnings of labels behind each, ``slots`` ``(B, W + N)`` says which token
    stands at each place of each row (behind its end: its last one, which only such places see), ``places`` the way
    back, ``visible`` ``(B, 1, W + N, P + W + N)`` what attention adds to its scores. ``logits_to_keep`` are the B
    times N + 1 positions that predict labels' tokens, row by row, in the order of the tree.
    """
    n, width = len(trie) - 1, max(map(len, rows))
    tokens, depths = trie.tokens.tolist(), trie.depths.tolist()
    ids: list[int] = []
    positions: list[int] = []
    slots: list[list[int]] = []
    places: list[int] = []
    kept: list[int] = []
    for number, row in enumerate(rows):
        start, end = len(ids), len(ids) + len(row)
        ids += row + tokens
        positions += [*range(prefix, prefix + len(row)), *(prefix + len(row) - 1 + depth for depth in depths)]
        slots.append([*range(start, end), *[end - 1] * (width - len(row)), *range(end, end + n)])
        first = number * (width + n)
        places += [*range(first, first + len(row)), *range(first + width, first + width + n)]
        kept += range(end - 1, end + n)
    seen = torch.zeros(len(rows), width + n, prefix + width + n, dtype=torch.bool)
    seen[:, :, :prefix] = True
    seen[:, :width, prefix : prefix + width] = torch.ones(width, width, dtype=torch.bool).tril()
    lengths = torch.tensor([len(row) for row in rows])
    seen[:, width:, prefix : prefix + width] = (torch.arange(width) < lengths.unsqueeze(1)).unsqueeze(1)
    seen[:, width:, prefix + width :] = trie.visible
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        # A mask of four dimensions passes transformers untouched; attention goes by what is visible.
        "attention_mask": torch.zeros(1, 1, 1, 1),
        "slots": torch.tensor(slots),
        "places": torch.tensor(places),
        "visible": torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf).unsqueeze(1),
        "logits_to_keep": torch.tensor(kept),
    }


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    *,
    slots: torch.Tensor,
    places: torch.Tensor,
    visible: torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of prompts as ``plant`` lays them out, in the form that transformers asks for; gives ``(1, N, H, D)``.

    Query is ``(1, H, N, D)``, key and value ``(1, K, P + N, D)``. Queries that share keys are put side by side.

    Raises:
        ValueError: the model wants more of its attention than this.
    """
    refuse_more(others)
    rows, length = slots.shape
    heads, tokens, size = query.shape[1:]
    groups, shared = key.shape[1], heads // key.shape[1]
    flat = slots.reshape(-1)
    queries = query[0].transpose(0, 1)[flat].view(rows, length, groups, shared, size)
    queries = queries.permute(0, 2, 3, 1, 4).reshape(rows, groups, shared * length, size)
    keys, values = (_in_rows(states, key.shape[2] - tokens, slots) for states in (key, value))
    output = torch.nn.functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=visible.repeat(1, 1, shared, 1), scale=scaling
    )
    output = output.view(rows, groups, shared, length, size).permute(0, 3, 1, 2, 4)
    return output.reshape(rows * length, heads, size)[places].unsqueeze(0), None


def _in_rows(states: torch.Tensor, prefix: int, slots: torch.Tensor) -> torch.Tensor:
    """Keys or values ``(1, K, P + N, D)`` as ``(B, K, P + L, D)``: the scaffold's, then the row's own."""
    own = states[0, :, prefix:].transpose(0, 1)[slots].transpose(1, 2)
    return torch.cat([states[:, :, :prefix].expand(len(slots), -1, -1, -1), own], dim=2)


AttentionInterface.register(NAME, attend)
