"""Whether an exported model answers as the run it was made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.model.decoding import Decoded
from pipeline.model.encoding import Encoder
from pipeline.text import clean


@dataclass(frozen=True)
class Parity:
    """Two decodings of the same tweets beside each other.

    A flip is a tweet whose label differs, by the greedy answer (``generate``) or by the likeliest label
    (``loglikelihood``). ``largest_difference`` is that of the natural log of a label's probability, over all labels and
    tweets; ``label_difference`` the same once the labels' probabilities sum to one.
    """

    rows: int
    generate_flips: int
    loglikelihood_flips: int
    largest_difference: float
    label_difference: float

    @property
    def flipped(self) -> float:
        """Share of tweets that flip, by the reading in which more do."""
        return max(self.generate_flips, self.loglikelihood_flips) / self.rows

    def to_json(self) -> dict[str, object]:
        """The comparison as it stands in ``parity.json``."""
        return {
            "rows": self.rows,
            "flips": {"generate": self.generate_flips, "loglikelihood": self.loglikelihood_flips},
            "largest_difference": {
                "log_likelihood": self.largest_difference,
                "probability_among_labels": self.label_difference,
            },
        }


def compare(name: str, run: Sequence[Decoded], export: Sequence[Decoded]) -> Parity:
    """What differs between the answers of a run and those of an export of it, to the same tweets.

    Args:
        name: of the export, for the error.
        run: the run's answers.
        export: the export's, in the same order.

    Raises:
        PipelineError: a likelihood of the export is no number.
    """
    pairs = list(zip(run, export, strict=True))
    if not all(math.isfinite(value) for one in export for value in one.log_likelihoods):
        raise PipelineError(f"{name}: expected log-likelihoods, got some that are no numbers; its weights are damaged")
    return Parity(
        rows=len(pairs),
        generate_flips=sum(a.generate != b.generate for a, b in pairs),
        loglikelihood_flips=sum(a.loglikelihood != b.loglikelihood for a, b in pairs),
        largest_difference=max(
            abs(x - y) for a, b in pairs for x, y in zip(a.log_likelihoods, b.log_likelihoods, strict=True)
        ),
        label_difference=max(
            abs(a.probabilities[label] - b.probabilities[label]) for a, b in pairs for label in a.labels
        ),
    )


def tokenised_otherwise(encoder: Encoder, texts: Sequence[str]) -> int:
    """For how many tweets the prompt has other tokens when a program tokenises it as one text, as most do.

    The encoder keeps the tweet apart from what stands around it, cuts it to fit, and reads no control token in it.
    """
    # A template in pieces has its start written out, which the tokenizer would put there once more.
    begun = isinstance(encoder.task.template, str)
    prompts = [str(encoder.task.prompt(clean(text))) for text in texts]
    ids = encoder.tokenizer(prompts, add_special_tokens=begun)["input_ids"]
    return sum(encoder.prompt(text).ids != one for text, one in zip(texts, ids, strict=True))
