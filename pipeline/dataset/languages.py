"""In which languages tweets are, and whether a new one is in another.

By py3langid (BSD-3, 5 MB, needs numpy alone), a kept-up successor of langid.py (Lui and Baldwin, ACL 2012). Of the
1,035 tweets of the sample it calls 2 foreign with more than half of the probability, and of 30 short tweets in 18 other
languages all. A model of the training tweets' character 3-grams, with no library, caught 24 of the 30 and dropped 5 %
of other people's English.
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Links, names and tickers have no language.
_NAMES = re.compile(r"https?://\S+|[@#$]\w+")
# A language is one of the training tweets' own if so many of them are in it; below that it is a slip of the detector.
_OWN_SHARE = 0.02
_SURE = 0.5
_LOOKED_AT = 2_000  # training tweets
_NO_LANGUAGE = "zxx"
_FEWEST_LETTERS = 8
_FEWEST_TEXTS = 20
# Those that are asked for most; any other is called by its code.
_NAMES_OF_LANGUAGES = {
    "ar": "Arabic", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


@dataclass(frozen=True)
class Languages:
    """The languages of a set of tweets, as ISO 639 codes, the most frequent first."""

    own: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Languages":
        """The languages that 2 % of the texts or more are in; of many texts an even selection is looked at."""
        step = max(1, len(texts) // _LOOKED_AT)
        found = Counter(language for text in texts[::step] if (language := _language(text)[0]) != _NO_LANGUAGE)
        return cls(tuple(name for name, n in found.most_common() if n >= _OWN_SHARE * found.total()))

    def foreign(self, text: str) -> str:
        """The other language that the text is in; empty where it is in one of these, or nobody can tell."""
        language, probability = _language(text)
        surely_other = self.own and language not in (*self.own, _NO_LANGUAGE) and probability > _SURE
        return language if surely_other else ""


def main_language(texts: Sequence[str], *, looked_at: int = 200) -> str:
    """The code of the language that more than half of the texts are surely in; empty where none is, or of few texts."""
    chosen = texts[:: max(1, len(texts) // looked_at)]
    sure = Counter(language for language, probability in map(_language, chosen) if probability > _SURE)
    language, n = max(sure.items(), key=lambda item: item[1], default=("", 0))
    return language if language != _NO_LANGUAGE and len(chosen) >= _FEWEST_TEXTS and 2 * n > len(chosen) else ""


def name_of_language(code: str) -> str:
    """What a language is called in a sentence: ``Spanish`` for ``es``, and its code where no name is known here."""
    return _NAMES_OF_LANGUAGES.get(code, f"in the language {code!r}")


def _language(text: str) -> tuple[str, float]:
    """Language and its probability; a text of hardly any letters has none."""
    bare = _NAMES.sub(" ", text)
    if sum(map(str.isalpha, bare)) < _FEWEST_LETTERS and bare.isascii():
        return _NO_LANGUAGE, 1.0
    language, probability = _identifier().classify(bare)
    return str(language), float(probability)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
