"""The untuned model with examples in its prompt: what a model can do that was shown the task but not tuned for it."""

import random
from collections.abc import Sequence

from pipeline.artifacts import Row
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder

# Of an example's tweet; longer ones would fill the model's context and make every prompt slow.
_LONGEST_EXAMPLE = 280  # characters


def with_examples(classifier: Classifier, train: Sequence[Row], per_class: int, seed: int) -> Classifier | None:
    """The classifier with training rows before every prompt, as earlier turns of the chat that it continues.

    The rows are drawn from the classes in turn, so that the last examples favour no class; a class with fewer rows
    shows all it has. Where the model's context is too short for so many, fewer are shown; None where not even one a
    class fits.

    Args:
        classifier: whose model is asked; switch its adapter off with ``untuned`` while decoding.
        train: the rows to draw from.
        per_class: examples of each class, at least 1.
        seed: of the draw.
    """
    draw = random.Random(seed)  # noqa: S311 - a draw, not a secret
    by_class: dict[str, list[Row]] = {label: [] for label in classifier.labels}
    for row in train:
        by_class[row.output].append(row)
    drawn = [draw.sample(rows, min(per_class, len(rows))) for rows in by_class.values()]
    encoder = classifier.encoder
    context = getattr(classifier.model.config, "max_position_embeddings", None)
    for count in range(per_class, 0, -1):
        rounds = [[rows[i] for rows in drawn if i < len(rows)] for i in range(count)]
        for each in rounds:
            draw.shuffle(each)
        examples = [(row.input[:_LONGEST_EXAMPLE], row.output) for each in rounds for row in each]
        extended = Encoder(encoder.tokenizer, encoder.task, encoder.max_length, examples)
        if context is None or len(extended.prefix) - len(encoder.prefix) + encoder.max_length <= context:
            return Classifier(classifier.model, extended)
    return None
