"""Changes to a tweet that leave its meaning to a human reader: each takes a text and a generator."""

import re
from collections.abc import Callable, Mapping

from numpy.random import Generator

from pipeline.scoring.behaviour.case import pick

Perturbation = Callable[[str, Generator], str]

_COIN = re.compile("bitcoin", re.IGNORECASE)
_LONG_WORD = re.compile(r"[A-Za-z]{5,}")
_NUMBER = re.compile(r"\d[\d,]*")
_CONTRACTED = {
    "I'm": "I am",
    "can't": "cannot",
    "won't": "will not",
    "n't": " not",
    "'ve": " have",
    "'ll": " will",
    "'re": " are",
    "I'd": "I would",
    "'s": " is",
}
_CONTRACTION = re.compile("|".join(map(re.escape, _CONTRACTED)))
_GIVEAWAYS = (
    "Giveaway: follow @{} and retweet, two winners on Friday.",
    "Giveaway by @{}: reply with your number, drawing tonight at nine.",
    "#giveaway #airdrop Tag three accounts and follow @{} to enter.",
    "Enter the raffle of @{}: like, follow, comment. Ends Sunday.",
    "Ad: 500 sats for each new account at @{}, code REF2024.",
    "Sponsored by @{}: sign up with the referral code TEN.",
)
_HANDLES = ("node_runner", "blockdesk", "sat_daily", "ledgernews", "coinroom", "hashhouse")
_TICKERS = ("BTC", "btc", "$BTC", "$btc", "#BTC", "#bitcoin", "BITCOIN", "$Btc")
_COINS = ("ethereum", "litecoin", "dogecoin", "solana", "monero")
_CODE = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
# U+200B, U+2060 and U+FEFF are removed by cleaning; the joiners U+200C and U+200D stay for Persian and for emoji.
_INVISIBLE = ("\u200b", "\u200c", "\u2060", "\u200d", "\ufeff")
# Latin letters and the Cyrillic ones that look the same.
_LOOKALIKES = str.maketrans("aceopxyiABCEHKMOPTX", "асеорхуіАВСЕНКМОРТХ")


def giveaway(text: str, rng: Generator) -> str:
    """An advertisement after the tweet."""
    return f"{text} {pick(rng, _GIVEAWAYS).replace('{}', pick(rng, _HANDLES))}"


def punctuation(text: str, rng: Generator) -> str:
    """Other or no punctuation; apostrophes stay."""
    bare = text.removesuffix(".")
    without = bare.replace(",", "")
    return pick(rng, (bare, f"{bare}...", f"{bare} .", f"{bare} -", f"{without}..", f"{without};"))


def letter_case(text: str, rng: Generator) -> str:
    """All small, all capitals, or capitals at the start of each word."""
    return pick(rng, (text.lower(), text.upper(), " ".join(word[:1].upper() + word[1:] for word in text.split(" "))))


def spaces(text: str, rng: Generator) -> str:
    """Wider gaps, or a line break."""
    words = text.split(" ")
    at = int(rng.integers(1, len(words)))
    first, rest = " ".join(words[:at]), " ".join(words[at:])
    return pick(rng, ("  ".join(words), f"{first}   {rest}", f"{first}\n{rest}", f"{first} \n\n{rest}"))


def typo(text: str, rng: Generator) -> str:
    """Two neighbouring inner letters of one longer word, swapped."""
    swaps = [
        at
        for word in _LONG_WORD.finditer(text)
        for at in range(word.start() + 1, word.end() - 2)
        if text[at] != text[at + 1]
    ]
    at = swaps[int(rng.integers(len(swaps)))]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def contractions(text: str, rng: Generator) -> str:
    """Every contraction written out."""
    return _CONTRACTION.sub(lambda match: _CONTRACTED[match[0]], text)


def link_or_handle(text: str, rng: Generator) -> str:
    """A link behind the tweet, or a handle before or behind it."""
    link = "https://t.co/" + "".join(pick(rng, _CODE) for _ in range(10))
    handle = "@" + pick(rng, _HANDLES)
    return pick(rng, (f"{text} {link}", f"{handle} {text}", f"{text} {handle}", f"{text} {handle} {link}"))


def ticker(text: str, rng: Generator) -> str:
    """Bitcoin by another spelling of its name or ticker."""
    return _COIN.sub(pick(rng, _TICKERS), text)


def coin(text: str, rng: Generator) -> str:
    """Another coin in the place of Bitcoin."""
    name = pick(rng, _COINS)
    return _COIN.sub(lambda match: name.capitalize() if match[0][0].isupper() else name, text)


def numbers(text: str, rng: Generator) -> str:
    """Every number up to a fifth larger or smaller, and never the same."""
    return _NUMBER.sub(lambda match: _nearby(match[0], rng), text)


def _nearby(written: str, rng: Generator) -> str:
    n = int(written.replace(",", ""))
    step = max(1, round(n * float(rng.uniform(0.08, 0.2))))
    return f"{n + step * (1 if rng.random() < 0.5 else -1):{',' if ',' in written else ''}}"


def invisible(text: str, rng: Generator) -> str:
    """One invisible character inside each of two longer words."""
    char = pick(rng, _INVISIBLE)
    words = [word.span() for word in _LONG_WORD.finditer(text)]
    for i in sorted(rng.permutation(len(words))[:2].tolist(), reverse=True):
        at = int(rng.integers(words[i][0] + 1, words[i][1]))
        text = text[:at] + char + text[at:]
    return text


def direction(text: str, rng: Generator) -> str:
    """Bidirectional controls around a word; one in three spells it backwards so that it still shows as it was.

    The reordering of Boucher et al. (2021), arXiv 2106.09898.
    """
    words = [word.span() for word in _LONG_WORD.finditer(text)]
    start, end = words[int(rng.integers(len(words)))]
    word = text[start:end]
    wrapped = pick(rng, (f"\u202e{word[::-1]}\u202c", f"\u2066{word}\u2069", f"{word}\u200e"))
    return text[:start] + wrapped + text[end:]


def lookalikes(text: str, rng: Generator) -> str:
    """One longer word with every letter that has a Cyrillic double replaced by it."""
    words = [word.span() for word in _LONG_WORD.finditer(text) if word[0].translate(_LOOKALIKES) != word[0]]
    start, end = words[int(rng.integers(len(words)))]
    return text[:start] + text[start:end].translate(_LOOKALIKES) + text[end:]


def swapped(slots: Mapping[str, tuple[str, str]], template: str) -> tuple[str, str]:
    """A template with the first filling of every slot, and with the second."""
    before = after = template
    for slot, (first, second) in slots.items():
        before, after = before.replace(slot, first), after.replace(slot, second)
    return before, after
