"""Made-up tweets with copies, near-copies and noise, in any number; the same seed gives the same tweets."""

import csv
import random
from collections.abc import Callable, Iterator
from itertools import accumulate, product
from pathlib import Path

_COMMON = (
    "the to a and of in is for on it this that with at be are was we you they not but from by as or if so now up down "
    "bitcoin market price coin buy sell hold today week news crypto high low new more all just get out good bad will "
    "people money exchange wallet block trade chart time dip moon crash rally miners fees support break still never"
)
_PARTS = "ba co da fe ga hi jo ka lu me no pa qui ro sa te u va wo ya zen bri cal dor el fin gra mon tri stel"
_LABELS, _WEIGHTS = ("negative", "neutral", "positive"), (15, 45, 40)
_EMOJI = "\U0001f680\U0001f4c8\U0001f4c9\U0001f525\U0001f602"
_COPIES = 0.45  # share of tweets that repeat an earlier one, most of them with another word or two
_CAMPAIGN = 0.02  # share of tweets that are one spam message with its own words in each

# Few words are frequent and most are rare, as in any language (Zipf's law).
_VOCABULARY = [*_COMMON.split(), *("".join(each) for n in (2, 3, 4) for each in product(_PARTS.split(), repeat=n))]
_CUMULATED = list(accumulate(1 / (rank + 3) for rank in range(len(_VOCABULARY))))


def tweets(rows: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Texts with labels."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    spam = made_up_words(rng, 14)
    seen: list[tuple[list[str], str]] = []
    for _ in range(rows):
        kind = rng.random()
        if kind < _CAMPAIGN:
            words, label = _changed(spam, rng, rng.randint(1, 2)), "positive"
        elif kind < _CAMPAIGN + _COPIES and seen:
            # The early ones are repeated most often.
            words, label = seen[int(len(seen) * rng.random() ** 2)]
            words = _changed(words, rng, rng.choice((0, 0, 1, 1, 2, 4)))
        else:
            words, label = made_up_words(rng, rng.randint(6, 22)), rng.choices(_LABELS, _WEIGHTS)[0]
            seen.append((words, label))
        yield _noisy(words, rng), label


def write_csv(path: Path, rows: int, seed: int = 0) -> None:
    """A file as ``pipeline.prepare`` reads it, with the columns text and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(tweets(rows, seed))


def made_up_words(rng: random.Random, size: int) -> list[str]:
    """Words of which few are frequent and most are rare."""
    return rng.choices(_VOCABULARY, cum_weights=_CUMULATED, k=size)


def of_length(rng: random.Random, tokens: int, count: Callable[[str], list[int]]) -> str:
    """Words of as many tokens together as fit, which leaves out a few at most."""
    words = made_up_words(rng, tokens)  # a word is a token or more
    fitting, beyond = 1, len(words) + 1
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if len(count(" ".join(words[:middle]))) <= tokens:
            fitting = middle
        else:
            beyond = middle
    return " ".join(words[:fitting])


def counter(model: Path) -> Callable[[str], list[int]]:
    """Token ids of a text, by the tokenizer alone: transformers would make this process a large one."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def _changed(words: list[str], rng: random.Random, times: int) -> list[str]:
    words = list(words)
    for word in made_up_words(rng, times):
        words[rng.randrange(len(words))] = word
    return words


def _noisy(words: list[str], rng: random.Random) -> str:
    """With what differs between copies: a mention, a price, a ticker, an emoji, a link."""
    parts = list(words)
    for noise in (
        f"@user{rng.randint(1, 9999)}",
        f"${rng.randint(1, 99_999):,}",
        rng.choice(("$btc", "$eth", "#bitcoin")),
        rng.choice(_EMOJI),
    ):
        if rng.random() < 0.3:
            parts.insert(rng.randrange(len(parts) + 1), noise)
    link = f" https://t.co/{rng.getrandbits(48):x}" if rng.random() < 0.4 else ""
    return " ".join(parts) + link
