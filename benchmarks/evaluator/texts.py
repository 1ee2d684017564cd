"""Made-up tweets whose words tell their class, and words of sentiment that mostly agree with it."""

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.evaluator.worlds import LABELS
from benchmarks.tweets import made_up_words

# The lists of words know these, and none of the made-up ones.
_SENTIMENT = {
    "Negative": ("hate", "awful", "terrible", "worst", "sad"),
    "Neutral": ("today", "about", "again", "maybe", "here"),
    "Positive": ("love", "great", "wonderful", "best", "happy"),
}
_SHARES = (25, 35, 40)
_TELLING = 3
# Shares of tweets with a word of their own class's sentiment, and with a link.
_AGREEING, _LINKS = 0.6, 0.3


def tweets(n: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts, none like another, and their classes."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    labels = rng.choices(LABELS, _SHARES, k=n)
    return [_tweet(rng, label) for label in labels], labels


def write_table(path: Path, texts: Sequence[str], labels: Sequence[str]) -> Path:
    """A file as ``pipeline.prepare`` reads it."""
    return _write(path, ("text", "label"), zip(texts, labels, strict=True))


def write_answers(path: Path, ids: Sequence[str], answers: Sequence[str]) -> Path:
    """A file as ``pipeline.evaluate --against`` reads it."""
    return _write(path, ("id", "prediction"), zip(ids, answers, strict=True))


def _write(path: Path, header: tuple[str, str], rows: Iterable[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def _tweet(rng: random.Random, label: str) -> str:
    telling = [f"{label[:3].lower()}{chr(97 + rng.randrange(20))}o" for _ in range(_TELLING)]
    feeling = label if rng.random() < _AGREEING else rng.choice(LABELS)
    parts = [*made_up_words(rng, rng.randint(7, 14)), *telling, rng.choice(_SENTIMENT[feeling])]
    rng.shuffle(parts)
    return " ".join(parts) + (f" https://t.co/{rng.getrandbits(40):x}" if rng.random() < _LINKS else "")
