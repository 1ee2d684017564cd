"""Attention of many tweets behind one scaffold, for training: what no tweet can see is never computed.

A training batch is one row: the scaffold that all its tweets share, then each tweet without padding. Every tweet sees
the scaffold and itself. A dense mask over that row would compute every tweet against every other one and throw it away.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "shared_prefix"
# What some models (Gemma 2, gpt-oss, T5) add to attention; what else transformers hands over changes nothing here.
_MORE = ("softcap", "s_aux", "position_bias")


class _PrefixAttention(torch.autograd.Function):
    """Softmax attention (Vaswani et al. 2017) with grouped keys (Ainslie et al. 2023), and its gradient by hand.

    By hand, because autograd's gradient of picking tokens into rows adds up one number after another, although every
    token stands in one place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        slots: torch.Tensor,
        places: torch.Tensor,
        future: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Query ``(N, H, D)``, key and value ``(N, K, D)`` of a packed row; gives ``(N, H, D)``; see ``attend``."""
        shape = _Shape(query, key, slots, places)
        prefix, rows = slice(0, shape.prefix), slots.reshape(-1)
        row_query = shape.row_heads(query[rows]).mul_(scaling)
        row_key, row_value = shape.row_keys(key, rows), shape.row_keys(value, rows)
        scores = torch.bmm(row_query, row_key.transpose(1, 2))
        own = shape.by_position(scores, shape.prefix + shape.length)[..., shape.prefix :]
        own.masked_fill_(future[: shape.length, : shape.length], -torch.inf)
        weights = torch.softmax(scores, dim=-1)
        row_output = shape.from_row_heads(torch.bmm(weights, row_value))

        prefix_query = shape.prefix_heads(query[prefix]).mul_(scaling)
        prefix_key, prefix_value = key[prefix].transpose(0, 1), value[prefix].transpose(0, 1)
        scores = torch.bmm(prefix_query, prefix_key.transpose(1, 2))
        shape.by_position(scores, shape.prefix, of_prefix=True).masked_fill_(
            future[: shape.prefix, : shape.prefix], -torch.inf
        )
        prefix_weights = torch.softmax(scores, dim=-1)
        prefix_output = shape.from_prefix_heads(torch.bmm(prefix_weights, prefix_value))

        ctx.save_for_backward(
            row_query, row_key, row_value, weights, prefix_query, prefix_key, prefix_value, prefix_weights, places
        )
        ctx.shape, ctx.scaling = shape, scaling
        return torch.cat([prefix_output, row_output[places]])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of query, key and value."""
        (gradient,) = gradients
        query, key, value, weights, prefix_query, prefix_key, prefix_value, prefix_weights, places = ctx.saved_tensors
        shape: _Shape = ctx.shape
        in_rows = gradient.new_zeros(shape.rows * shape.length, *gradient.shape[1:])
        in_rows[places] = gradient[shape.prefix :]
        row_gradients = _backward(shape.row_heads(in_rows), query, key, value, weights, ctx.scaling)
        prefix_gradients = _backward(
            shape.prefix_heads(gradient[: shape.prefix]),
            prefix_query, prefix_key, prefix_value, prefix_weights, ctx.scaling,
        )  # fmt: skip
        query_gradient = torch.cat(
            [shape.from_prefix_heads(prefix_gradients[0]), shape.from_row_heads(row_gradients[0])[places]]
        )
        key_gradient, value_gradient = (
            shape.from_row_keys(of_rows, of_prefix, places)
            for of_rows, of_prefix in zip(row_gradients[1:], prefix_gradients[1:], strict=True)
        )
        return query_gradient, key_gradient, value_gradient, None, None, None, None


def _backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    weights: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of (unscaled) query, key and value of one batched attention, all ``(batch, positions, D)``."""
    of_weights = torch.bmm(gradient, value.transpose(1, 2))
    of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
    return (
        torch.bmm(of_scores, key).mul_(scaling),
        torch.bmm(of_scores.transpose(1, 2), query),
        torch.bmm(weights.transpose(1, 2), gradient),
    )


class _Shape:
    """How one packed row lies in memory, and the ways between tokens and batches of matrices.

    N tokens, of them P ``prefix`` and the others in B ``rows`` of L ``length`` slots; H heads in K groups of G.
    """

    def __init__(self, query: torch.Tensor, key: torch.Tensor, slots: torch.Tensor, places: torch.Tensor) -> None:
        self.prefix = len(query) - len(places)
        self.rows, self.length = slots.shape
        self.size = query.shape[2]
        self.groups = key.shape[1]
        self.heads = query.shape[1] // self.groups

    def row_heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(B * L, H, D)`` as ``(B * K, G * L, D)``, a copy."""
        split = tokens.view(self.rows, self.length, self.groups, self.heads, self.size).permute(0, 2, 3, 1, 4)
        return split.reshape(self.rows * self.groups, self.heads * self.length, self.size)

    def from_row_heads(self, batches: torch.Tensor) -> torch.Tensor:
        """The way back of ``row_heads``."""
        split = batches.view(self.rows, self.groups, self.heads, self.length, self.size).permute(0, 3, 1, 2, 4)
        return split.reshape(self.rows * self.length, self.groups * self.heads, self.size)

    def prefix_heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(P, H, D)`` as ``(K, G * P, D)``, a copy."""
        split = tokens.view(self.prefix, self.groups, self.heads, self.size).permute(1, 2, 0, 3)
        return split.contiguous().view(self.groups, self.heads * self.prefix, self.size)

    def from_prefix_heads(self, batches: torch.Tensor) -> torch.Tensor:
        """The way back of ``prefix_heads``."""
        split = batches.view(self.groups, self.heads, self.prefix, self.size).permute(2, 0, 1, 3)
        return split.reshape(self.prefix, self.groups * self.heads, self.size)

    def row_keys(self, tokens: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Keys or values ``(N, K, D)`` as ``(B * K, P + L, D)``: the prefix's, then the row's own."""
        own = tokens[slots].view(self.rows, self.length, self.groups, self.size).transpose(1, 2)
        shared = tokens[: self.prefix].transpose(0, 1).expand(self.rows, -1, -1, -1)
        return torch.cat([shared, own], dim=2).view(self.rows * self.groups, -1, self.size)

    def from_row_keys(self, of_rows: torch.Tensor, of_prefix: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Gradient of keys or values ``(N, K, D)``; that of the prefix comes from every row and from itself."""
        split = of_rows.view(self.rows, self.groups, self.prefix + self.length, self.size)
        shared = split[:, :, : self.prefix].sum(dim=0).add_(of_prefix).transpose(0, 1)
        own = split[:, :, self.prefix :].transpose(1, 2).reshape(-1, self.groups, self.size)
        return torch.cat([shared, own[places]])

    def by_position(self, scores: torch.Tensor, keys: int, *, of_prefix: bool = False) -> torch.Tensor:
        """A view of scores as ``(..., G, query position, key position)``."""
        return scores.view(len(scores), self.heads, self.prefix if of_prefix else self.length, keys)


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
    future: torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a packed row, in the form that transformers asks for; gives ``(1, N, H, D)``.

    Query is ``(1, H, N, D)``, key and value ``(1, K, N, D)``: first the prefix of P tokens, then the rows.
    ``slots`` ``(B, L)`` says which token stands at each place of each row (anything right of its end: only later
    places see it), ``places`` ``(N - P)`` the way back: at which of the B * L places each token behind the prefix
    stands. ``future`` ``(S, S)`` is true above the diagonal, S at least P and L.

    Raises:
        ValueError: the model wants more of its attention than this.
    """
    refuse_more(others)
    tokens = (states[0].transpose(0, 1) for states in (query, key, value))
    output: torch.Tensor = _PrefixAttention.apply(*tokens, slots, places, future, scaling)  # type: ignore[no-untyped-call]
    return output.unsqueeze(0), None


AttentionInterface.register(NAME, attend)


def refuse_more(others: Mapping[str, Any]) -> None:
    """Refuses what transformers hands to attention beyond queries, keys and values, as far as it changes the outcome.

    Raises:
        ValueError: the model wants more of its attention than this project's kinds of it.
    """
    more = [name for name in _MORE if others.get(name) is not None]
    if more:
        raise ValueError(f"its attention needs {', '.join(more)}")


def unfit(config: Any, max_length: int, *, training: bool) -> str:
    """Why a model cannot compute on rows without padding, as far as its config tells; else nothing."""
    dropout: float = getattr(config, "attention_dropout", 0)
    if training and dropout:
        return "it drops attention weights"  # which would need another gradient
    # Some configs name a window that is not used.
    window: int | None = (
        getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    )
    if window is not None and window < max_length:
        return f"it looks back no further than {window} tokens"
    return ""


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Lets the model attend in the way that transformers knows by this name, for the length of the block."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
