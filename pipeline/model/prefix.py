"""The scaffold in front of every tweet is the same: decoding computes its keys and values once."""

from collections.abc import Sequence

import torch

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
