"""What a training step cannot do without: the multiplications and additions of its matrix products, counted."""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Tweet:
    """Lengths of one training example in tokens: its prompt behind the shared scaffold, and its completion."""

    prompt: int
    completion: int


def scaffold_flops(decoder: Decoder, scaffold: int, rank: int) -> int:
    """Floating point operations of the tokens in front of every tweet, which a batch needs once. See ``tweet_flops``.

    Args:
        decoder: the model's shape.
        scaffold: number of these tokens.
        rank: of the LoRA matrices, which all linear layers have but the output layer.
    """
    return _tokens(decoder, scaffold, rank) + _attention(decoder, scaffold * (scaffold + 1) // 2)


def tweet_flops(decoder: Decoder, scaffold: int, tweet: Tweet, rank: int) -> int:
    """Floating point operations of the tokens of one tweet behind the scaffold, forward and backward.

    A product of matrices ``(m, k)`` and ``(k, n)`` takes ``2 m k n``. Counted is what the loss of the completion and
    the gradient of the LoRA matrices need:

    * the prompt behind the scaffold and the completion without its last token, which is predicted and never read;
    * the frozen weights once forward and once backward (the gradient of their inputs, none of their own);
    * ``x A B`` of LoRA forward, and backward the gradients of ``A``, of ``B``, of what is between them and of ``x``;
    * attention of each token to the scaffold and to the tweet up to itself: two products forward, four backward;
    * the output layer for the places that predict the completion, forward and backward.

    Not counted: norms, activations, softmax, rotary positions, the loss, the optimizer, and what is computed again.
    The first layer needs no gradient of its inputs, and the last one only what leads to the predicting places; they are
    counted like the others, which is 3 % too much.
    """
    tokens = tweet.prompt + tweet.completion - 1
    pairs = tokens * scaffold + tokens * (tokens + 1) // 2
    output = 2 * 2 * decoder.hidden * decoder.vocabulary * tweet.completion
    return _tokens(decoder, tokens, rank) + _attention(decoder, pairs) + output


def step_flops(decoder: Decoder, scaffold: int, tweets: Sequence[Tweet], rank: int) -> int:
    """Floating point operations that one optimizer step over these tweets cannot do without."""
    return scaffold_flops(decoder, scaffold, rank) + sum(tweet_flops(decoder, scaffold, each, rank) for each in tweets)


def tweets_seen(rows: int, batch_size: int, steps: int) -> int:
    """How many tweets ``steps`` batches hold when the last batch of each pass over the ``rows`` may be short."""
    passes, rest = divmod(steps, -(-rows // batch_size))
    return passes * rows + rest * batch_size


def _tokens(decoder: Decoder, tokens: int, rank: int) -> int:
    """Linear layers and their LoRA matrices, forward and backward."""
    frozen = sum(2 * inputs * outputs for inputs, outputs in decoder.linear)
    lora = sum(2 * rank * (inputs + outputs) for inputs, outputs in decoder.linear)
    return decoder.layers * tokens * (2 * frozen + 3 * lora)


def _attention(decoder: Decoder, pairs: int) -> int:
    """Scores and mixtures of values of ``pairs`` of a token with one that it sees, forward and backward."""
    return 6 * 2 * decoder.layers * decoder.heads * decoder.head_size * pairs
