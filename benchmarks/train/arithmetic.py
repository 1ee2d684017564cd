"""What a training step cannot do without: the multiplications and additions of its matrix products, counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.decoder import Decoder
from benchmarks.rates import Product


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
    return _tokens(decoder, tokens, rank) + _attention(decoder, pairs) + 2 * decoder.output(tweet.completion)


def step_flops(decoder: Decoder, scaffold: int, tweets: Sequence[Tweet], rank: int) -> int:
    """Floating point operations that one optimizer step over these tweets cannot do without."""
    return scaffold_flops(decoder, scaffold, rank) + sum(tweet_flops(decoder, scaffold, each, rank) for each in tweets)


def products(decoder: Decoder, tokens: int, places: int) -> Counter[Product]:
    """The products of a step with frozen weights and how often it has each: forward, and backward to the inputs.

    Weights lie in memory as ``(outputs, inputs)``: backward as the product needs them, forward the other way round.

    Args:
        decoder: the model's shape.
        tokens: of a batch, the scaffold once.
        places: of a batch, whose next token is trained.
    """
    found: Counter[Product] = Counter()
    for rows, times, layers in (
        (tokens, decoder.layers, decoder.linear),
        (places, 1, ((decoder.hidden, decoder.vocabulary),)),
    ):
        for inputs, outputs in layers:
            found[Product(rows, inputs, outputs, transposed=True)] += times
            found[Product(rows, outputs, inputs, transposed=False)] += times
    return found


def tweets_seen(rows: int, batch_size: int, steps: int) -> int:
    """How many tweets ``steps`` batches hold when the last batch of each pass over the ``rows`` may be short."""
    passes, rest = divmod(steps, -(-rows // batch_size))
    return passes * rows + rest * batch_size


def _tokens(decoder: Decoder, tokens: int, rank: int) -> int:
    """Linear layers and their LoRA matrices, forward and backward."""
    lora = sum(2 * rank * (inputs + outputs) for inputs, outputs in decoder.linear)
    return 2 * decoder.forward(tokens) + 3 * decoder.layers * tokens * lora


def _attention(decoder: Decoder, pairs: int) -> int:
    """Attention of ``pairs`` of a token with one that it sees: two products forward, four backward."""
    return 3 * decoder.attention(pairs)
