"""Repair of texts that were once decoded in the wrong encoding.

Apart from ``pipeline.text``, because loading ftfy takes longer than ``--help`` may.
"""

import re

from ftfy import TextFixerConfig, fix_encoding
from ftfy.chardata import CHARMAP_ENCODINGS
from ftfy.fixes import fix_c1_controls

# Only what can be undone without a loss; ftfy's guesses at lost bytes stay off. C1 controls come after it.
_REPAIR = TextFixerConfig(fix_c1_controls=False, restore_byte_a0=False, replace_lossy_sequences=False, explain=False)
# What the first and the following bytes of a UTF-8 character decode to in the encodings that ftfy knows. Without two
# such characters side by side there is no mojibake; to look for them takes a hundredth of the time of the repair.
_FIRST, _NEXT = (
    "".join({char for encoding in CHARMAP_ENCODINGS for char in bytes(codes).decode(encoding)})
    for codes in (range(0xC2, 0xF5), range(0x80, 0xC0))
)
_SUSPECT = re.compile(f"[{re.escape(_FIRST)}][{re.escape(_NEXT)}]")


def repair(text: str) -> str:
    """The text without mojibake (UTF-8 that was decoded as something else), where ftfy is sure of it."""
    return fix_encoding(text, _REPAIR) if _SUSPECT.search(text) else text


def windows_controls(text: str) -> str:
    """The text with C1 controls as the quotes and dashes that Windows has in their places."""
    return fix_c1_controls(text)
