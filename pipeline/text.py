"""What happens to a tweet's characters: one policy for preparing, training, prediction and the demo."""

import re
import unicodedata

# C0 and C1 controls but tab and newline, the bidirectional controls, and invisible characters that carry no
# meaning in a tweet. U+200C, U+200D and U+FE0F stay: Persian words and emoji sequences are made with them.
_REMOVED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_URL = re.compile(r"(?:https?://|www\.)\S+|\b(?:t\.co|bit\.ly|goo\.gl|ow\.ly|pic\.twitter\.com)/\S+", re.IGNORECASE)
_RETWEET = re.compile(r"^\s*RT\b[\s:@]", re.IGNORECASE)
_MENTION = re.compile(r"@\w+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_RETWEETED = re.compile(r"^(?:rt\s*@\w+[\s:]*)+")
_NOT_WORD = re.compile(r"[^\w@]+")


def clean(text: str) -> str:
    """The text as the model sees it.

    Line ends become ``\\n``, lone surrogates U+FFFD, control and invisible characters go, the rest is put
    into Unicode form NFC and stripped at both ends. Idempotent; plain ASCII without controls is unchanged
    but for the strip.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _SURROGATE.sub("\ufffd", text)
    return unicodedata.normalize("NFC", _REMOVED.sub("", text)).strip()


def fold(text: str) -> str:
    """The text without the differences that carry no meaning in a label: case, width, outer white space."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def template_of(text: str) -> str:
    """What is left of a tweet when its replaceable parts are masked; equal templates are duplicates.

    The ``RT @user:`` prefix and links go, mentions and numbers become one placeholder each, case,
    punctuation, emoji and white space are folded.
    """
    text = fold(clean(text))
    text = _RETWEETED.sub("", text)
    text = _URL.sub(" ", text)
    text = _MENTION.sub("@", text)
    text = _NUMBER.sub("0", text)
    # A text of emoji or punctuation alone has no words to compare: it stands for itself.
    return " ".join(_NOT_WORD.sub(_gap, text).split()) or text.strip()


def _gap(match: re.Match[str]) -> str:
    """What stays of a run of characters that are no letters: the marks that Thai and Indic words are spelt with."""
    run = match[0]
    if run.isascii():
        return " "
    # A variation selector is a mark too, but belongs to an emoji.
    marks = [c if unicodedata.category(c) in ("Mn", "Mc") and not "\ufe00" <= c <= "\ufe0f" else " " for c in run]
    return "".join(marks)


def is_retweet(text: str) -> bool:
    """Whether the tweet repeats another one in the old manner, ``RT @user: ...``."""
    return _RETWEET.match(text) is not None


def has_link(text: str) -> bool:
    """Whether the tweet holds a web address."""
    return _URL.search(text) is not None
