"""The scaffold in front of every tweet is the same: its keys and values are computed once a batch, not once a tweet."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

# For a model's ``logits_to_keep``: no position at all, where only keys and values are wanted.
NO_LOGITS = torch.tensor([], dtype=torch.long)
# Up to this many tokens the rows of a batch are trained as one row. Attention then also computes what the mask hides,
# which costs the square of this number; up to here the padding and the second pass that it saves cost more.
PACKED_TOKENS = 512


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
    Short batches are computed as one row without padding, longer ones as rows behind the prefix's keys and values.
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
        """Loss and logits of rows ``(B, L)`` without their prefix; ``labels`` are ``(B, K)`` for the kept positions.

        The first label of every row must be one that the loss ignores.
        """
        if len(self.prefix) + int(attention_mask.sum()) <= PACKED_TOKENS:
            inputs = self._packed(input_ids, attention_mask.bool(), logits_to_keep)
            labels = labels.reshape(1, -1)  # the ignored label between two rows parts them for the loss
        else:
            inputs = self._batched(input_ids, attention_mask, logits_to_keep)
        output = self.model(**inputs, labels=labels, **loss_arguments)
        return {"loss": output.loss, "logits": output.logits}

    def _packed(self, ids: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor) -> dict[str, Any]:
        """One row of N tokens, the prefix and then every row without its padding, each blind to the others."""
        rows, width = ids.shape
        prefix = torch.tensor(self.prefix, device=ids.device)
        packed = torch.cat([prefix, ids[mask]])
        row = torch.arange(rows, device=ids.device).unsqueeze(1).expand(rows, width)[mask]
        owner = torch.cat([torch.full_like(prefix, -1), row])  # (N,)
        visible = ((owner.unsqueeze(1) == owner) | (owner == -1)).tril()
        dtype = self.model.get_input_embeddings().weight.dtype
        hidden = torch.zeros(visible.shape, dtype=dtype, device=ids.device)
        hidden.masked_fill_(~visible, torch.finfo(dtype).min)
        _, positions = behind_prefix(mask.long(), len(prefix))
        ends = len(prefix) + mask.sum(dim=1).cumsum(dim=0).unsqueeze(1)  # (B, 1), where each row ends in the pack
        return {
            "input_ids": packed.unsqueeze(0),
            "attention_mask": hidden.view(1, 1, *hidden.shape),
            "position_ids": torch.cat([torch.arange(len(prefix), device=ids.device), positions[mask]]).unsqueeze(0),
            "logits_to_keep": (ends - width + keep).reshape(-1),
            "use_cache": False,
        }

    def _batched(self, ids: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor) -> dict[str, Any]:
        """The padded rows behind the keys and values of the prefix, which are computed once."""
        prefix = torch.tensor([self.prefix], device=ids.device)
        cache = self.model(input_ids=prefix, use_cache=True, logits_to_keep=NO_LOGITS).past_key_values
        cache.batch_repeat_interleave(len(ids))
        mask, positions = behind_prefix(mask, len(self.prefix))
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": cache,
            "logits_to_keep": keep,
            "use_cache": True,
        }
