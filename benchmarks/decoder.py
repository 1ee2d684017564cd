"""The shape of a model, and the multiplications and additions of its matrix products, counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Decoder:
    """The shape of a model of the LLaMA family, in numbers of its ``config.json``."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Decoder":
        """The shape that a ``config.json`` describes.

        Raises:
            PipelineError: it describes something else.
        """
        try:
            heads = int(config["num_attention_heads"])
            return cls(
                layers=int(config["num_hidden_layers"]),
                hidden=int(config["hidden_size"]),
                intermediate=int(config["intermediate_size"]),
                heads=heads,
                key_value_heads=int(config.get("num_key_value_heads") or heads),
                head_size=int(config.get("head_dim") or config["hidden_size"] // heads),
                vocabulary=int(config["vocab_size"]),
            )
        except KeyError as error:
            raise PipelineError(f"config.json: expected a model of the LLaMA family; it has no {error}") from error

    @property
    def linear(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear layers of one layer: queries, keys, values, output; gate, up, down."""
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        return (
            *((self.hidden, out) for out in (queries, keys, keys)),
            (queries, self.hidden),
            *((self.hidden, self.intermediate),) * 2,
            (self.intermediate, self.hidden),
        )

    def forward(self, tokens: int) -> int:
        """Floating point operations of all linear layers but the output layer, forward, for so many tokens.

        A product of matrices ``(m, k)`` and ``(k, n)`` takes ``2 m k n``.
        """
        return 2 * self.layers * tokens * sum(inputs * outputs for inputs, outputs in self.linear)

    def attention(self, pairs: int) -> int:
        """Scores, and mixtures of values, of ``pairs`` of a token with one that it sees, forward."""
        return 2 * 2 * self.layers * self.heads * self.head_size * pairs

    def output(self, places: int) -> int:
        """The output layer for so many places, forward."""
        return 2 * self.hidden * self.vocabulary * places
