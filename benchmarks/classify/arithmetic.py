"""What labelling a tweet cannot do without: the multiplications and additions of its matrix products, counted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.decoder import Decoder
from benchmarks.rates import Product


@dataclass(frozen=True)
class Tree:
    """The beginnings of all labels' completions, each once; ``depths`` are their lengths in tokens.

    A completion ends in a terminator, which is predicted and never read.
    """

    depths: Sequence[int]

    @classmethod
    def of(cls, completions: Iterable[Sequence[int]]) -> "Tree":
        """The tree of these completions, terminators included."""
        beginnings = {tuple(each[:n]) for each in completions for n in range(1, len(each))}
        return cls(sorted(map(len, beginnings)))

    @property
    def places(self) -> int:
        """How many places predict a token of a completion: the prompt's last one, and each beginning."""
        return 1 + len(self.depths)


def scaffold_flops(decoder: Decoder, scaffold: int) -> int:
    """Floating point operations of the tokens in front of every tweet, which a run needs once. See ``tweet_flops``."""
    return decoder.forward(scaffold) + decoder.attention(scaffold * (scaffold + 1) // 2)


def tweet_flops(decoder: Decoder, scaffold: int, prompt: int, tree: Tree) -> int:
    """Floating point operations that give every label's probability, and the greedy answer where it is a label.

    Counted are, forward and with the adapter merged into the weights:

    * the linear layers, for the prompt behind the scaffold and the beginnings of labels;
    * attention of each of these tokens to the scaffold, to the prompt up to itself or as a whole, to its own beginning;
    * the output layer, whole, where a token of a label is predicted.

    Not counted: norms, activations, softmax, rotary positions. Of the last layer only what leads to the predicting
    places is needed; it is counted like the others, which is 3 % too much for 30 layers.
    """
    pairs = prompt * scaffold + prompt * (prompt + 1) // 2
    pairs += sum(scaffold + prompt + depth for depth in tree.depths)
    return decoder.forward(prompt + len(tree.depths)) + decoder.attention(pairs) + decoder.output(tree.places)


def products(decoder: Decoder, tokens: int, places: int) -> Counter[Product]:
    """The products of a batch and how often it has each. Weights lie in memory as ``(outputs, inputs)``.

    Args:
        decoder: the model's shape.
        tokens: of a batch, without the scaffold.
        places: of a batch, where a token is predicted.
    """
    found: Counter[Product] = Counter()
    for inputs, outputs in decoder.linear:
        found[Product(tokens, inputs, outputs, transposed=True)] += decoder.layers
    found[Product(places, decoder.hidden, decoder.vocabulary, transposed=True)] += 1
    return found
