import codecs
import gzip
import random
import re
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.encoding import codec_of, to_utf8
from pipeline.errors import PipelineError

FRENCH = "text,label\nLe marché est à la hausse, très élevé,1\nBitcoin dépasse déjà les prévisions,1\nÀ bientôt,0\n"
ENGLISH = "text,label\nIt’s a “great” day – isn’t it… £5 or café au lait,1\nWe’re here – don’t,0\n"
POLISH = "text,label\nZażółć gęślą jaźń, świetny dzień,1\nCena bitcoina spadła, źle się dzieje,0\n"
RUSSIAN = "text,label\nБиткоин растёт, отличный день,1\nЦены падают, всё плохо,0\n"
JAPANESE = "text,label\n今日はビットコインが上がった、嬉しい,1\n価格が下がって悲しい,0\n"
CHINESE = "text,label\n今天比特币上涨，很开心,1\n价格下跌，很难过,0\n"
KOREAN = "text,label\n오늘 비트코인이 올랐다 기쁘다,1\n가격이 떨어져서 슬프다,0\n"

DETECTED = [
    *((FRENCH, "cp1252"), (FRENCH, "latin-1"), (FRENCH, "mac_roman"), (ENGLISH, "cp1252"), (ENGLISH, "mac_roman")),
    *((POLISH, "cp1250"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp")),
    *((CHINESE, "gb18030"), (KOREAN, "cp949")),
]
MARKED = ["utf-8-sig", "utf-16", "utf-32"]
UNMARKED = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize(("text", "encoding"), DETECTED)
def test_an_encoding_is_detected_from_a_few_lines(text: str, encoding: str) -> None:
    content, found = to_utf8("t.csv", text.encode(encoding))
    assert content.decode() == text
    assert found == {"latin-1": "cp1252"}.get(encoding, encoding)


NOISE = random.Random(0).randbytes(5_000)


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"%PDF-1.4\n"])
def test_a_small_picture_is_known_by_its_beginning(start: bytes) -> None:
    with pytest.raises(PipelineError, match="got a binary file, which begins with"):
        codec_of("t.csv", start + NOISE[:40] + b"love it\n")


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH, "utf-8", "UTF-8"),
        (FRENCH, "utf-8-sig", "UTF-8"),
        (FRENCH, "utf-16", "UTF-16-LE"),
        (RUSSIAN, "cp1251", "cp1251"),
        ("a,b\n", "ascii", "UTF-8"),
    ],
)
def test_the_encoding_is_told_as_it_was_found(text: str, encoding: str, told: str) -> None:
    codec, errors, name = codec_of("t.csv", text.encode(encoding))
    assert name == told
    assert text.encode(encoding).decode(codec, errors) == text
    mixed = ENGLISH.encode() * 5 + "é,1\n".encode("cp1252")
    assert codec_of("t.csv", mixed)[2] == "UTF-8 with some cp1252"


@pytest.mark.parametrize(
    "content",
    [
        *(NOISE, b"\x89PNG\r\n\x1a\n" + NOISE, b"%PDF-1.7\n%text\n" + zlib.compress(FRENCH.encode() * 50 + NOISE)),
        *(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x00\x3e" * 90, b"text,label\n" + gzip.compress(NOISE)),
    ],
)
def test_what_is_no_text_is_refused(content: bytes) -> None:
    for read in (to_utf8, codec_of):
        with pytest.raises(PipelineError, match=r"^t.csv: expected a text, got a binary file"):
            read("t.csv", content)
        read("t.csv", content, "latin-1")  # who names an encoding knows better


def test_stray_control_characters_make_no_text_a_binary_file() -> None:
    text = (
        "text,label\n"
        + "".join(f"so happy today, so happy all of this day\x00 {i},1\n" for i in range(500))
        + "\x1b[31mred\x1b[0m,\x1a\n"
    )
    content, found = to_utf8("t.csv", text.encode())
    assert (content.decode(), found) == (text, "ASCII")


@pytest.mark.parametrize("encoding", [*MARKED, *UNMARKED])
@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN, JAPANESE])
def test_unicode_is_known_by_its_mark_or_its_zeros(text: str, encoding: str) -> None:
    content, found = to_utf8("t.csv", text.encode(encoding))
    assert content.decode() == text
    assert found.lower().startswith(encoding.removesuffix("-sig"))
    assert ("with BOM" in found) == (encoding in MARKED)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        # a line of UTF-8, one of cp1252, one of both
        (
            "one 🚀 “up”\n".encode()
            + "café – it’s\n".encode("cp1252")
            + "both 🚀 caf".encode()
            + b"\xe9 and it\x92s\n",
            "one 🚀 “up”\ncafé – it’s\nboth 🚀 café and it’s\n",
        ),
        # mostly cp1252; two of its characters happen to be UTF-8, three do not
        ((FRENCH + "Ã© raté\nÃ©\n").encode("cp1252") + "it’s\n".encode(), FRENCH + "Ã© raté\nÃ©\nit’s\n"),
        # a byte without a meaning in cp1252, and a character that was cut
        ("it’s – “so”\ncafé\n".encode("cp1252") + b"odd \x9d end\n", "it’s – “so”\ncafé\nodd \x9d end\n"),
        ("“one” “two”\n“three”\n".encode() + "“cut”".encode()[:-1], "“one” “two”\n“three”\n“cutâ€"),
    ],
    ids=["mixed", "by chance", "undefined", "cut"],
)
def test_mixed_bytes_are_read_line_by_line(raw: bytes, text: str) -> None:
    assert to_utf8("t.txt", raw)[0].decode() == text


def test_mixed_bytes_are_reported() -> None:
    raw = "één 🚀\n".encode() * 20 + "café\n".encode("cp1252")
    assert to_utf8("t.txt", raw)[1] == "UTF-8, 1 of 22 lines cp1252"


def test_mojibake_that_was_saved_in_mac_roman_is_still_mac_roman() -> None:
    wrong = "".join(f"{word.encode().decode('latin-1')} {i},1\n" for i, word in enumerate(["£949", "36°", "£20"] * 8))
    content, found = to_utf8("t.csv", wrong.encode("mac_roman"))
    assert (content.decode(), found) == (wrong, "mac_roman")


def test_a_forced_encoding_is_obeyed_or_refused_with_the_place() -> None:
    assert to_utf8("t.csv", b"caf\xe9", "cp1251") == ("cafй".encode(), "cp1251")
    assert to_utf8("t.csv", codecs.BOM_UTF8 + b"a", "utf-8")[0] == b"a"
    with pytest.raises(PipelineError, match=r"t\.csv, line 2: expected utf-8-sig, got the byte 0xe9; give another"):
        to_utf8("t.csv", b"a\ncaf\xe9\n", "utf-8")
    for wrong in ("no-such", "hex", "a\0"):
        with pytest.raises(PipelineError, match="--encoding: expected the name of an encoding"):
            to_utf8("t.csv", b"a", wrong)


def test_a_damaged_utf_16_file_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"t\.csv, line 1: expected utf-16-le, got the byte"):
        to_utf8("t.csv", b"\xff\xfea\x00\x00\xdc")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=80) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_become_utf_8_or_one_line(raw: bytes) -> None:
    try:
        content, _ = to_utf8("t.csv", raw)
    except PipelineError as error:
        assert re.match(r"t\.csv(, line \d+: expected utf|: expected a text, got a binary file)", str(error))  # noqa: PT017
    else:
        content.decode()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=40))
def test_utf_8_stays_as_it_is(text: str) -> None:
    assert to_utf8("t.csv", text.encode())[0].decode() == text
