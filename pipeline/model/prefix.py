"""The scaffold in front of every tweet is the same: its keys and values are computed once a batch, not once a tweet."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

# For a model's ``logits_to_keep``: no position at all, where only keys and values are wanted.
NO_LOGITS = torch.tensor([], dtype=torch.long)


def pad_left(rows: Sequence[list[int]], pad: int, *, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids as one tensor ``(B, L)``, padded on the left, and its mask ``(B, L)``, 0 where it is padding.

    ``L`` is the longest row's length, rounded up to a ``multiple``.
    """
    width = -(-max(map(len, rows)) // multiple) * multiple
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def behind_prefix(mask: torch.Tensor, prefix_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention mask and positions of left-padded rows that follow a cached prefix.

    ``mask`` is ``(B, L)``, 0 where a row is padding. Gives the mask ``(B, P + L)`` over prefix and row, and the
    positions ``(B, L)``, which count the prefix and skip the padding.
    """
    prefix = torch.ones(len(mask), prefix_length, dtype=mask.dtype, device=mask.device)
    return torch.cat([prefix, mask], dim=1), prefix_length + (mask.cumsum(dim=1) - 1).clamp(min=0)


def last_positions(length: int, keep: int) -> torch.Tensor:
    """Indices of the last ``keep`` of ``length`` positions, for a model's ``logits_to_keep``.

    A plain number would make a strided slice there, for which PyTorch copies the whole output layer once per row.
    """
    return torch.arange(length - keep, length)


class SharedPrefix(nn.Module):
    """A causal language model for training whose inputs lack the prefix that they share.

    Every example attends to one computation of the prefix, and the gradient flows back through it from all of them.
    Loss and gradients are those of the plain computation, but that dropout draws one mask for the prefix.
    """

    def __init__(self, model: Any, prefix: list[int]) -> None:
        super().__init__()
        self.model = model
        self.prefix = prefix
        self.config = model.config  # the Trainer looks here

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        logits_to_keep: torch.Tensor,
        **loss_arguments: Any,
    ) -> Any:
        """Loss and logits of rows ``(B, L)`` without their prefix; ``labels`` are ``(B, K)`` for the kept positions."""
        prefix = torch.tensor([self.prefix], device=input_ids.device)
        cache = self.model(input_ids=prefix, use_cache=True, logits_to_keep=NO_LOGITS).past_key_values
        cache.batch_repeat_interleave(len(input_ids))
        mask, positions = behind_prefix(attention_mask, len(self.prefix))
        output = self.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **loss_arguments,
        )
        return {"loss": output.loss, "logits": output.logits}
