"""Texts whose words tell their class, as clearly as a test wants it."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from pipeline.dataset.records import Example

LABELS = ("Down", "Flat", "Up")


def word(number: int) -> str:
    """A word for each number, of letters alone."""
    return "".join(chr(97 + int(digit)) for digit in f"{number:03d}")


def texts_of(classes: list[int], seed: int, *, telling: int = 2, length: int = 8) -> list[str]:
    """One text a class number: ``telling`` of its words are of its class, the others of all."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(
            [word(100 * (c + 1) + int(i)) for i in rng.integers(0, 20, telling)]
            + [word(500 + int(i)) for i in rng.zipf(1.5, length - telling) % 400]
        )
        for c in classes
    ]


def examples_of(texts: list[str], classes: list[int]) -> list[Example]:
    return [Example(str(i), text, LABELS[c]) for i, (text, c) in enumerate(zip(texts, classes, strict=True), start=1)]


def alone(examples: list[Example]) -> dict[str, int]:
    """Every example in a group of its own."""
    return {example.id: i for i, example in enumerate(examples)}


def word_model(seed: int = 0) -> Pipeline:
    return make_pipeline(
        TfidfVectorizer(sublinear_tf=True),
        LogisticRegression(C=2.0, class_weight="balanced", max_iter=2_000, random_state=seed),
    )
