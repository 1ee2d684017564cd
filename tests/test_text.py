import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import clean, fold, has_link, is_retweet, template_of

quick = settings(max_examples=200, deadline=None, derandomize=True)
# Characters of every kind, among them lone surrogates, controls and unassigned code points.
any_text = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"]))
# As above, but half of the characters are those that the policy speaks of.
hostile_text = st.text(
    st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"])
    | st.sampled_from(
        "\r\n\t\x00\x1f\x85\ud83d\ude00\u00a0\u061c\u200b\u200d\u202e\u2066\ufe0f\ufeffe\u0301\u00a8\u1100\u1161"
    )
)
printable_ascii = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
ascii_word = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1).filter(lambda word: word not in ("rt", "www"))


@quick
@given(any_text | hostile_text)
def test_clean_takes_any_text_and_is_idempotent(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode("utf-8")
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
    assert not [c for c in once if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n"]
    assert not [c for c in once if unicodedata.bidirectional(c) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "PDI")]


@quick
@given(printable_ascii)
def test_clean_only_strips_plain_ascii(text: str) -> None:
    assert clean(text) == text.strip(" ")


@pytest.mark.parametrize(
    "emoji",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family, joined by U+200D
        "\u2764\ufe0f\u200d\U0001f525",  # a heart on fire, with a variation selector
        "\U0001f3f3\ufe0f\u200d\U0001f308",  # a rainbow flag
        "\U0001f44d\U0001f3fd",  # a thumb with a skin tone
        "\U0001f1f3\U0001f1f4",  # the flag of Norway
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # a Persian word with U+200C
    ],
)
def test_clean_keeps_sequences_that_are_made_with_invisible_characters(emoji: str) -> None:
    assert clean(f"to the moon {emoji} now") == f"to the moon {emoji} now"


@pytest.mark.parametrize(
    "code",
    [
        *(0x00, 0x07, 0x0B, 0x0C, 0x1B, 0x7F, 0x85, 0x9F, 0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x202A, 0x202B, 0x202C),
        *(0x202D, 0x202E, 0x2060, 0x2064, 0x2066, 0x2067, 0x2068, 0x2069, 0x206F, 0xFEFF),
    ],
)
def test_clean_removes_controls_and_what_cannot_be_seen(code: int) -> None:
    assert clean(f"bit{chr(code)}coin") == "bitcoin"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("one\r\ntwo\rthree\nfour", "one\ntwo\nthree\nfour"),
        ("a\tb", "a\tb"),
        ("\ud83d", "\ufffd"),
        ("cafe\u0301", "caf\u00e9"),
        ("cafe\u200b\u0301", "caf\u00e9"),
        ("\u00a0 up \u3000\n", "up"),
        ("\u200b \ufeff", ""),
        ("", ""),
    ],
)
def test_clean_of_examples(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@quick
@given(any_text)
def test_fold_is_idempotent_and_ignores_case(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(text.casefold()) == fold(text)


def test_fold_ignores_width_and_outer_space_only() -> None:
    full_width = "\uff30\uff4f\uff53\uff49\uff54\uff49\uff56\uff45"
    assert fold(f" {full_width}\n") == fold("positive") == "positive"
    assert fold("very positive") != fold("verypositive")


@quick
@given(any_text | hostile_text)
def test_template_takes_any_text(text: str) -> None:
    assert template_of(text) == template_of(clean(text))
    template_of(text).encode("utf-8")


ORIGINAL = "Day 41: @mira_k says BTC hits 64,250.75 tonight! Proof: https://t.co/AbC123"


@pytest.mark.parametrize(
    "copy",
    [
        "Day 41: @other_one says BTC hits 64,250.75 tonight! Proof: https://t.co/AbC123",
        "Day 41: @mira_k says BTC hits 64,250.75 tonight! Proof: www.example.org/x?y=1",
        "Day 2: @mira_k says BTC hits 9 tonight! Proof: bit.ly/3xyz",
        "DAY 41: @MIRA_K SAYS btc HITS 64,250.75 TONIGHT! PROOF: HTTPS://T.CO/ABC123",
        "Day 41 - @mira_k says:  BTC hits 64,250.75\ntonight \U0001f680 Proof https://t.co/AbC123 \u2764\ufe0f",
        "RT @someone: Day 41: @mira_k says BTC hits 64,250.75 tonight! Proof: https://t.co/AbC123",
        "RT@someone: Day 41: @mira_k says BTC hits 64,250.75 tonight! Proof: https://t.co/AbC123",
        "RT @a: RT @b: Day 41: @mira_k says BTC hits 64,250.75 tonight! Proof: https://t.co/AbC123",
        "Day \uff14\uff11: @mira_k says \uff22\uff34\uff23 hits 64,250.75 tonight! Proof: https://t.co/AbC123",
        "Day 41: @mira_k says B\u200bTC hits 64,250.75 tonight! Proof: https://t.co/AbC123",
    ],
    ids=["mention", "link", "number", "case", "punctuation", "retweet", "retweet-close", "twice", "width", "invisible"],
)
def test_copies_have_the_template_of_the_original(copy: str) -> None:
    assert template_of(copy) == template_of(ORIGINAL)


@quick
@given(st.lists(ascii_word, min_size=1), st.lists(ascii_word, min_size=1))
def test_template_tells_different_words_apart(left: list[str], right: list[str]) -> None:
    assert (template_of(" ".join(left)) == template_of(" ".join(right))) == (left == right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("the rally is good", "the rally is bad"),
        ("not good", "good"),
        ("@mira up", "mira up"),
        ("\U0001f680", "\U0001f621"),
        ("\u0926\u093f\u0932", "\u0926\u0941\u0932"),  # Devanagari words that differ in a vowel sign
        ("\u0e14\u0e35", "\u0e14\u0e38"),  # Thai: good, fierce
    ],
)
def test_template_tells_different_texts_apart(left: str, right: str) -> None:
    assert template_of(left) != template_of(right)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RT @mira: up", True),
        ("rt @mira up", True),
        ("  RT @mira: up", True),
        ("RT: up", True),
        ("RT if you hold", True),
        ("RT@mira up", True),
        ("RTX cards are for miners", False),
        ("please RT @mira", False),
        ("art @mira", False),
        ("", False),
    ],
)
def test_is_retweet(text: str, expected: bool) -> None:
    assert is_retweet(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://example.org", True),
        ("see HTTP://EXAMPLE.ORG/a", True),
        ("see www.example.org now", True),
        ("(t.co/abc)", True),
        ("pic.twitter.com/abc", True),
        ("bit.ly/3x", True),
        ("the site bitcoin.org is slow", False),
        ("cost.co/op is no shortener", False),
        ("https: not a link", False),
        ("ratio 3/4, mail me at a@b.com", False),
        ("", False),
    ],
)
def test_has_link(text: str, expected: bool) -> None:
    assert has_link(text) is expected
