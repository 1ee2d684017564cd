"""The completions of all labels as one tree, so that a single forward pass behind a prompt scores every one."""

from collections.abc import Collection, Sequence

import torch


class LabelTrie:
    """The N beginnings that labels' completions can have, each once, shorter ones first.

    Place 0 stands for the prompt itself and place i for the i-th beginning. A completion ends in a terminator, and
    whole completions are no beginnings: nothing is predicted after them.
    """

    def __init__(self, completions: Sequence[Sequence[int]]) -> None:
        whole = [tuple(completion) for completion in completions]
        beginnings = {completion[:n] for completion in whole for n in range(1, len(completion))}
        nodes = sorted(beginnings, key=lambda node: (len(node), node))
        self.beginnings = [(), *nodes]  # the tokens that lead to each place
        self._place = {node: i for i, node in enumerate(self.beginnings)}
        # Per completion, where each of its tokens is predicted, and the token.
        self.paths = [[(self._place[one[:n]], token) for n, token in enumerate(one)] for one in whole]
        self.tokens = torch.tensor([node[-1] for node in nodes], dtype=torch.long)  # (N,)
        self.depths = torch.tensor([len(node) for node in nodes], dtype=torch.long)  # (N,), 1 right after the prompt
        # (N, N): what a beginning may attend to, its own beginnings and itself.
        self.visible = torch.tensor([[a[: len(b)] == b for b in nodes] for a in nodes], dtype=torch.bool)

    def __len__(self) -> int:
        """Number of places, the prompt's included."""
        return len(self._place)

    def follow(self, chosen: Sequence[int], ends: Collection[int]) -> list[int] | None:
        """What greedy decoding writes, given the token it chooses at each place; None if it leaves the tree."""
        written: tuple[int, ...] = ()
        while written in self._place:
            token = chosen[self._place[written]]
            if token in ends:
                return list(written)
            written += (token,)
        return None
