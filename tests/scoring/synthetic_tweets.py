"""Tweets of made-up words, drawn from a seed, for comparing one set of them with another."""

import numpy as np

from pipeline.artifacts import Row

LABELS = ("Negative", "Neutral", "Positive")
_WORDS = [f"{a}{b}" for a in ("ba", "ko", "mi", "re", "tu", "wo") for b in ("lan", "ner", "pix", "sor", "tev", "zum")]


def make_rows(
    n: int,
    seed: int,
    *,
    labels: tuple[str, ...] = LABELS,
    shares: tuple[float, ...] | None = None,
    words: tuple[str, ...] = (),
    mean_length: float = 9,
    per_group: int = 1,
    first: int = 0,
) -> list[Row]:
    """Rows with independent words; ``words`` are a tenth of all; rows of a group share their label."""
    rng = np.random.default_rng(seed)
    of_group = rng.choice(len(labels), size=n, p=shares)
    lengths = 1 + rng.poisson(mean_length, size=n)
    rows: list[Row] = []
    for i in range(n):
        usual = rng.integers(len(_WORDS), size=lengths[i])
        planted = rng.random(lengths[i]) < 0.1
        chosen = [words[w % len(words)] if words and p else _WORDS[w] for w, p in zip(usual, planted, strict=True)]
        text = f"@{' '.join(chosen)}" if rng.random() < 0.3 else " ".join(chosen)
        group = i // per_group
        rows.append(Row(f"{first + i}", "", text, labels[of_group[group]], first + group))
    return rows
