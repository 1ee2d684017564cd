import time
from pathlib import Path

import pytest

from pipeline.dataset.cleaning import LONGEST, clean_rows
from pipeline.dataset.reading import Table
from pipeline.dataset.records import Dropped, Example, Sifted


def sift(*rows: tuple[str | None, str | None], retweets: bool = True, links: bool = True, prefix: str = "") -> Sifted:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    table = Table(Path("t"), {}, range(1, len(rows) + 1))
    return clean_rows(table, texts, labels, drop_retweets=retweets, drop_links=links, prefix=prefix)


def test_kept_rows_are_clean_and_named_by_their_number() -> None:
    assert sift((None, "Up"), (" cafe\u0301\0\r\n\ud83d ", "Up"), prefix="test:").kept == [
        Example("test:2", "caf\u00e9\n\ufffd", "Up")
    ]


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        (None, "Up", "empty text"),
        (" \u200b\ufeff\n", "Up", "empty text"),
        ("", None, "empty text"),
        ("to the moon", None, "no label"),
        ("x" * (LONGEST + 1), "Up", "text too long"),
        ("RT @someone: to the moon", "Up", "retweet"),
        ("read www.example.com", "Up", "link"),
        ("RT @someone: https://example.com", "Up", "retweet"),
    ],
)
def test_reasons(text: str | None, label: str | None, reason: str) -> None:
    sifted = sift((text, label))
    assert not sifted.kept
    assert [(row.id, row.reason, row.label) for row in sifted.dropped] == [("1", reason, label)]


def test_filters_can_be_switched_off() -> None:
    rows = (("RT @someone: up", "Up"), ("see https://example.com", "Up"))
    assert [e.id for e in sift(*rows, retweets=False).kept] == ["1"]
    assert [e.id for e in sift(*rows, links=False).kept] == ["2"]
    assert [e.id for e in sift(*rows, retweets=False, links=False).kept] == ["1", "2"]


def test_text_of_the_longest_length_stays_whole() -> None:
    assert len(sift((" " + "x" * LONGEST + " ", "Up")).kept[0].text) == LONGEST


def test_a_very_long_text_is_dropped_quickly_and_says_how_long_it_was() -> None:
    # Combining marks in the wrong order: the time to put them into normal form grows with the square of their number.
    started = time.monotonic()
    sifted = sift(("a" + "\u0301\u0323" * 40_000, "Up"))
    assert time.monotonic() - started < 2
    assert sifted.dropped[0].detail == "80,001 characters, more than 10,000; only the first 280 are shown"
    assert len(sifted.dropped[0].text) <= 280


def test_an_unknown_reason_is_a_bug() -> None:
    with pytest.raises(ValueError, match="not among the reasons"):
        Dropped("1", "other", "", "", None)
