import re
import time
import unicodedata

import pytest
from ftfy import fix_encoding
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.mojibake import _REPAIR, _SUSPECT
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
printable_ascii = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="&"))
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
        *(0x00, 0x07, 0x0B, 0x0C, 0x1B, 0x7F, 0x81, 0x9D, 0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x202A, 0x202B, 0x202C),
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
        ("one\r\r\ntwo", "one\ntwo"),
        ("a &lt;3 b &amp; c &#39;d&#x27; &quot;e&quot;", "a <3 b & c 'd' \"e\""),
        ("&amp;amp;lt;3", "<3"),  # escaped three times
        ("&am\u200bp;", "&"),
        ("&lt\u037e", "<"),  # a Greek question mark is a semicolon in NFC
        ("&#8203;&#0;&#xD800;&#13;", "\ufffd\ufffd"),
        ("AT&T R&D ?a=1&copy=2&lt=3 &unknown; &notit; &;", "AT&T R&D ?a=1&copy=2&lt=3 &unknown; &notit; &;"),
        ("don\u00e2\u20ac\u2122t caf\u00c3\u00a9", "don\u2019t caf\u00e9"),
        ("\u00e2\x80\x9cup\u00e2\x80\x9d", "\u201cup\u201d"),  # the same through Latin-1
        ("don\x92t stop \x96 up\x85", "don\u2019t stop \u2013 up\u2026"),
        ("\u0432\u0402\u045aup\u0432\u0402\u045c", "\u201cup\u201d"),  # through Windows-1251
    ],
)
def test_clean_of_examples(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@pytest.mark.parametrize(
    "text",
    [
        "\u201cquotes\u201d and \u2018quotes\u2019 \u2013 dashes \u2014 and more\u2026",
        "\ufb01ne \uff37\uff29\uff24\uff25 \u2122 \u20ac5 \u00bd",
        "\u00c0 bient\u00f4t, \u00e7a va? \u00c3 \u00c2",
        "S\u00c3O PAULO, \u0130stanbul, \u0141\u00f3d\u017a, \u00c5s",
        "\u0440\u0430\u0441\u0442\u0451\u0442 \u2014 \u00ab\u0443\u0440\u0430\u00bb",
        "\u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
        "\U0001f680\U0001f680 to the moon \u2764\ufe0f",
    ],
)
def test_clean_leaves_good_text_alone(text: str) -> None:
    assert clean(text) == text


entities = st.sampled_from(
    ["&", "amp;", "lt;", "#38;", "#x26;", "&amp;", "&#146;", "&NewLine;", ";", "#", "\u037e", "\u200b"]
)
broken = st.sampled_from(["latin-1", "cp1252", "cp1251", "mac_roman", "cp437"])


@quick
@given(st.lists(entities | st.text(max_size=2), max_size=12).map("".join))
def test_clean_is_idempotent_on_entities(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@quick
@given(any_text, broken, st.integers(1, 3))
def test_clean_is_idempotent_on_mojibake(text: str, encoding: str, times: int) -> None:
    for _ in range(times):
        text = text.encode("utf-8", "replace").decode(encoding, "replace")
    assert clean(clean(text)) == clean(text)


@quick
@given(any_text, broken)
def test_the_quick_look_for_mojibake_misses_none(text: str, encoding: str) -> None:
    for each in (text, text.encode("utf-8", "replace").decode(encoding, "replace")):
        if not re.search("[\x80-\x9f]", each) and fix_encoding(each, _REPAIR) != each:
            assert _SUSPECT.search(each)


def test_clean_ends_soon_on_what_was_escaped_many_times() -> None:
    started = time.monotonic()
    assert clean("&" + "amp;" * 2_400 + "lt;" + "\u00e9") == "<\u00e9"
    assert time.monotonic() - started < 5


# Marks of many classes, characters that become several, and some that are no marks.
marks = st.text("\u0301\u0323\u0327\u0345\u05b0\u3099\u0344\u0f73\u0f81\uff9e\u00e9\u2764\ufe0f", max_size=200)


@quick
@given(st.tuples(st.sampled_from(["", "a", "\u00e9", "\u30ab", " "]), marks).map("".join))
def test_many_marks_are_put_in_the_usual_order(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text).strip()
    normal = unicodedata.normalize("NFKC", text).casefold()
    assert fold(text) == unicodedata.normalize("NFKC", normal).strip()


@pytest.mark.parametrize("marks", ["\u0345\u0301\u0323\u05b0\u3099", "\u0f73", "\uff9e\u0301"])
def test_the_time_for_marks_grows_with_their_number_alone(marks: str) -> None:
    text = "a" + marks * (100_000 // len(marks))  # by insertion: half a minute
    started = time.monotonic()
    fold(clean(text))
    assert time.monotonic() - started < 5


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


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("$BTC to the moon", "$ to the moon"),
        ("$btc $ETH, $DOGE1 to the moon", "$ to the moon"),
        ("#BTC to the #moon", "btc to the moon"),
        ("up $9,000.50 or $9k or 9K or 1.5m or 2bn or 100x", "up 0 or 0 or 0 or 0 or 0 or 0"),
        ("up 5% or 5 % or \u20ac20 or 20\u20ac or 20$", "up 0 or 0 or 0 or 0 or 0"),
        ("pump $btc 5 times", "pump $ 0 times"),
        ("5km and 4kids, web3 and $1inch", "0km and 0kids web0 and 0inch"),
        ("@a @b, @c: join 1 2 3 go", "@ join 0 go"),
        ("big\u2026 https://t.co/abc\u2026 x", "big x"),
        ("(www.example.org/a) up t.co/abc", "up"),
        ("a@b.com @ 5pm", "a@ com @ 0pm"),
        ("to \U0001f680the\U0001f680 moon\u2764\ufe0f", "to the moon"),
        ("$BTC", "$"),
        ("http://t.co/abc", ""),
        ("\U0001f680", "\U0001f680"),
    ],
)
def test_template_of_examples(text: str, template: str) -> None:
    assert template_of(text) == template
    assert template_of(template) == template


@quick
@given(printable_ascii)
def test_a_template_of_plain_text_is_its_own_template(text: str) -> None:
    assert template_of(template_of(text)) == template_of(text)


@quick
@given(printable_ascii.filter(lambda text: any(c.isalnum() for c in text)))
def test_the_short_way_for_ascii_gives_what_the_long_way_gives(text: str) -> None:
    # One emoji at the end takes the whole text off the short way, and leaves no trace.
    assume(template_of(text).split() and not text.rstrip().lower().split()[-1].startswith(("http", "www")))
    assert template_of(f"{text} \U0001f680") == template_of(text)


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
