"""What happens to a tweet's characters: one policy for preparing, training, prediction and the demo."""

import re
import unicodedata
from html import unescape
from html.entities import html5
from itertools import groupby
from typing import Literal

# C0 and C1 controls but tab and newline, the bidirectional controls, and invisible characters that carry no
# meaning in a tweet. U+200C, U+200D and U+FE0F stay: Persian words and emoji sequences are made with them.
_REMOVED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
# The line end that Windows writes for one that already was its own is one line end.
_ACCENTS = re.compile("[\u0300-\u036f]")
_LINE_END = re.compile(r"\r{0,2}\n|\r")
# With the semicolon: without it, half of the web's addresses hold one (?a=1&copy=2).
_ENTITY = re.compile(r"&(?:#\d{1,8}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{1,31});")
_SURROGATE = re.compile("[\ud800-\udfff]")
_URL = re.compile(r"(?:https?://|www\.)\S+|\b(?:t\.co|bit\.ly|goo\.gl|ow\.ly|pic\.twitter\.com)/\S+", re.IGNORECASE)
_RETWEET = re.compile(r"^\s*RT\b[\s:@]", re.IGNORECASE)
_MENTION = re.compile(r"@\w+")
_CASHTAG = re.compile(r"\$[^\W\d]\w*")
# With its multiple: 8,712.32, 12:30, 9k, 100x. Currencies and % are no words, but for the dollar.
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:(?:k|m|mn|bn?|x)\b)?\$*")
_RETWEETED = re.compile(r"^(?:rt\s*@\w+[\s:]*)+")
_NOT_WORD = re.compile(r"[^\w@$]+")
# The same for plain ASCII, as a table for str.translate: four times as fast.
_ASCII_WORDS = _NOT_WORD.sub(lambda run: " " * len(run[0]), bytes(range(128)).decode())
_NOT_ASCII_OR_WORD = re.compile(r"[^\w\x00-\x7f]")
_REPEATED = re.compile(r"(?<!\S)([@$0])(?: \1)+(?!\S)")
# More marks on one character than any script has (Unicode Standard Annex 15, section 13); all of them are no words.
_MANY_MARKS = re.compile(r"[^\w\x00-\x7f]{31,}")


def clean(text: str) -> str:
    """The text as the model sees it.

    HTML entities become the characters they stand for, however often they were escaped; line ends become ``\\n``, lone
    surrogates U+FFFD; mojibake (UTF-8 that was once decoded as something else) is repaired where ftfy is sure of it;
    C1 controls become the quotes and dashes that Windows has in their places; other control and invisible characters
    go; the rest is put into Unicode form NFC and stripped at both ends. Idempotent; plain ASCII without controls and
    entities is unchanged but for the strip.
    """
    # A step may uncover work for one before it: "&am\u200bp;" holds an entity once the invisible character is gone.
    while (cleaner := _cleaner(text)) != text:
        text = cleaner
    return text


def _cleaner(text: str) -> str:
    """The text after every step once. Entities and mojibake get shorter, so there is an end."""
    while "&" in text and (unescaped := _ENTITY.sub(_character, text)) != text:
        text = unescaped
    if not text.isprintable():  # what can be printed holds neither line ends nor surrogates
        text = _SURROGATE.sub("\ufffd", _LINE_END.sub("\n", text))
    if not text.isascii():
        from pipeline import mojibake

        text = _REMOVED.sub("", mojibake.windows_controls(mojibake.repair(text)))
    elif not text.isprintable():
        text = _REMOVED.sub("", text)
    return _normal("NFC", text).strip()


def _character(entity: re.Match[str]) -> str:
    """What an entity stands for; one that HTML does not know is plain text."""
    name = entity[0][1:]
    return unescape(entity[0]) if name.startswith("#") else html5.get(name, entity[0])


def fold(text: str) -> str:
    """The text without the differences that carry no meaning in a label: case, width, outer white space."""
    if text.isascii():
        return text.lower().strip()
    # The only two characters of words that NFKC turns into marks.
    text = _normal("NFKC", text.replace("\uff9e", "\u3099").replace("\uff9f", "\u309a"))
    return _normal("NFKC", text.casefold()).strip()


def unaccented(text: str) -> str:
    """The folded text without the accents of Latin, Greek and Cyrillic letters, for people who type without them.

    Only to ask whether two names may be the same: accents can tell words apart.
    """
    return _normal("NFC", _ACCENTS.sub("", _normal("NFD", fold(text))))


def _normal(form: Literal["NFC", "NFD", "NFKC"], text: str) -> str:
    """The text in a Unicode normal form, as ``unicodedata`` makes it.

    That sorts marks by insertion, which for ten thousand on one character takes most of a second; many are sorted
    before, which changes nothing in the result.
    """
    if unicodedata.is_normalized(form, text):
        return text
    return unicodedata.normalize(form, _MANY_MARKS.sub(_sorted_marks, text))


def _sorted_marks(run: re.Match[str]) -> str:
    """The characters decomposed, with the marks between them in canonical order."""
    chars = "".join(unicodedata.normalize("NFD", char) for char in run[0])
    groups = groupby(chars, key=lambda char: unicodedata.combining(char) > 0)
    return "".join(char for _, group in groups for char in sorted(group, key=unicodedata.combining))


def template_of(text: str) -> str:
    """What is left of a tweet when its replaceable parts are masked; equal templates are duplicates.

    The ``RT @user:`` prefix and links go; mentions, cashtags and numbers with their currency and multiple become one
    placeholder each, ``@``, ``$`` and ``0``, and several of a kind in a row become one; case, punctuation, the marks
    of hashtags, emoji and white space are folded.
    """
    text = fold(clean(text))
    if text.startswith("rt"):
        text = _RETWEETED.sub("", text)
    if "/" in text or "www." in text:  # word by word, because the search in a whole tweet takes longest of all
        text = " ".join(_URL.sub(" ", word) if "/" in word or "www." in word else word for word in text.split())
    if "@" in text:
        text = _MENTION.sub("@", text)
    text = _NUMBER.sub("0", text)
    if "$" in text:
        text = _CASHTAG.sub("$", text.replace("$0", "0"))
    template = " ".join(_words(text))
    if "@ @" in template or "$ $" in template or "0 0" in template:
        template = _REPEATED.sub(r"\1", template)
    # A text of emoji or punctuation alone has no words to compare: it stands for itself.
    return template or text.strip()


def _words(text: str) -> list[str]:
    """The words and placeholders of a folded text."""
    if text.isascii():
        return text.translate(_ASCII_WORDS).split()
    marked = any(_is_mark(char) for char in set(_NOT_ASCII_OR_WORD.findall(text)))
    return _NOT_WORD.sub(_gap if marked else " ", text).split()


def _gap(match: re.Match[str]) -> str:
    """What stays of a run of characters that are no letters: the marks that Thai and Indic words are spelt with."""
    return "".join(char if _is_mark(char) else " " for char in match[0])


def _is_mark(char: str) -> bool:
    # A variation selector is a mark too, but belongs to an emoji.
    return unicodedata.category(char) in ("Mn", "Mc") and not "\ufe00" <= char <= "\ufe0f"


def is_retweet(text: str) -> bool:
    """Whether the tweet repeats another one in the old manner, ``RT @user: ...``."""
    return _RETWEET.match(text) is not None


def has_link(text: str) -> bool:
    """Whether the tweet holds a web address."""
    # The search takes longest of all that is done to a tweet, and without one of these it finds nothing.
    return ("/" in text or "www." in text.lower()) and _URL.search(text) is not None
