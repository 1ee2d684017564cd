import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.columns import Columns, find_columns, rename_columns, texts_of, unused
from pipeline.dataset.reading import Table
from pipeline.errors import PipelineError


def table(*names: str, lacking: dict[str, int] | None = None) -> Table:
    return Table(Path("tweets.csv"), {name: ["x"] for name in names}, [1], lacking or {})


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("date", "tweet", "sentiment"), Columns("tweet", "sentiment", "date")),
        (("Comment Text", "Sentiment", "URL"), Columns("Comment Text", "Sentiment", None)),
        (("instruction", "input", "output"), Columns("input", "output", None)),
        (("", "full_text", "LABEL", "created-at"), Columns("full_text", "LABEL", "created-at")),
        (("text", "label", "date", "time"), Columns("text", "label", None)),
        (("text", "New_Sentiment_State"), Columns("text", "New_Sentiment_State", None)),
        (("Review", "stars"), Columns("Review", "stars", None)),
        (("text", "body", "label", "score"), Columns("text", "label", None)),
    ],
)
def test_usual_names_are_found(names: tuple[str, ...], found: Columns) -> None:
    assert find_columns(table(*names)) == found


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tweet", "text", "label"), "the text, got several: 'tweet', 'text'; give --text_column"),
        (("Tweet", "Sentiment", "New_Sentiment_State"), "the label, got several: .*; give --label_column"),
        (
            ("headline", "label"),
            "the text, got none .* 'headline', 'label'; give --text_column NAME, or FILE=LABEL where",
        ),
        (("headline",), r"the text and one with the label, got none of the usual names \(as text, .*\) among"),
        (("text",), "the label, got none .* 'text'; give --label_column NAME, or FILE=LABEL where"),
    ],
)
def test_nothing_is_guessed(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        find_columns(table(*names))


def test_the_names_in_the_error_are_usual() -> None:
    with pytest.raises(PipelineError) as error:
        find_columns(table("x", "y"))
    texts, labels = (part.split(", ") for part in re.findall(r"\(as (.*?)\)", str(error.value))[0].split("; "))
    for text, label in zip(texts, labels, strict=True):
        assert find_columns(table(text, label)) == Columns(text, label, None)


def test_one_error_names_all_columns_that_are_not_clear_and_the_usual_names() -> None:
    with pytest.raises(PipelineError) as error:
        find_columns(table("cuando", "opinión", "nota"))
    assert "expected one column with the text and one with the label, got none of the usual names" in str(error.value)
    assert "(as text, tweet, comment, review; label, sentiment, class, rating)" in str(error.value)
    assert "give --text_column NAME --label_column NAME, or FILE=LABEL" in str(error.value)
    with pytest.raises(
        PipelineError, match=r"got several: 'tweet', 'text' and none .*; give --text_column NAME --label"
    ):
        find_columns(table("tweet", "text", "mood"))


@pytest.mark.parametrize(
    ("names", "dates", "found"),
    [
        (("fecha", "Texto", "Valoración"), "03/04/2025", Columns("Texto", "Valoración", "fecha")),
        (("tarih", "metin", "duygu"), "2025-04-03 10:00", Columns("metin", "duygu", "tarih")),
        (("Datum", "Kommentar", "STIMMUNG"), "23.4.2025", Columns("Kommentar", "STIMMUNG", "Datum")),
        (("data", "avis", "etiqueta"), "so many data", Columns("avis", "etiqueta", None)),
        # An English name goes first, and two of a language are none.
        (("date", "fecha", "text", "texto", "label", "klasse"), "2025-04-03", Columns("text", "label", "date")),
        (("fecha", "datum", "texto", "clase"), "2025-04-03", Columns("texto", "clase", None)),
    ],
)
def test_names_in_other_languages_are_found_and_dates_where_they_are_dates(
    names: tuple[str, ...], dates: str, found: Columns
) -> None:
    assert find_columns(Table(Path("t.csv"), {name: [dates, "", None] for name in names}, [1, 2, 3])) == found


def test_columns_that_nobody_reads_are_told() -> None:
    file = table("", "text", "label", "author", "lang", "Likes")
    assert unused(file, Columns("text", "label", None), ["AUTHOR"]) == (
        "columns not used: 'lang', 'Likes'; --date_column names one with dates"
    )
    assert unused(file, Columns("text", "label", "lang"), ["author", "likes"]) is None
    many = table("text", "label", "date", *(f"c{i}" for i in range(9)))
    assert (unused(many, Columns("text", "label", "date"), ()) or "").endswith("'c5' and 3 more")


def test_named_columns_win() -> None:
    file = table("tweet", "text", "Label", "label", "when")
    assert find_columns(file, text="TEXT", label="label", date="When") == Columns("text", "label", "when")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"text": "words"}, "no column 'words'; the columns are 'text', 'label'; give one of them with --text_column"),
        ({"label": "words"}, "no column 'words'.*--label_column"),
        ({"date": "words"}, "no column 'words'.*--date_column"),
        ({"label": "text"}, "text and label are both 'text'"),
    ],
)
def test_wrong_names_are_refused(named: dict[str, str], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        find_columns(table("text", "label"), **named)


def test_another_file_is_read_under_the_names_of_the_source() -> None:
    columns = Columns("tweet", "mood", "date")
    other = rename_columns(table("TEXT", "Mood", "created at", "more", lacking={"TEXT": 4}), columns)
    assert (other.columns, other.lacking) == (("tweet", "mood", "date", "more"), {"tweet": 4})
    with pytest.raises(PipelineError, match=r"expected one column 'tweet' as in the source, .* got 'text', 'input', "):
        rename_columns(table("text", "input", "label"), columns)


def test_a_row_without_the_key_is_refused_only_where_it_matters() -> None:
    assert find_columns(table("text", "label", "geo", lacking={"geo": 4})).text == "text"
    with pytest.raises(PipelineError, match="row 7: expected the key 'text'"):
        find_columns(table("text", "label", lacking={"text": 7}))
    assert find_columns(table("text", "label", lacking={"label": 7})).label == "label"


@pytest.mark.parametrize("cell", [5, 1.5, True, ["a"], {"a": 1}, b"bytes"])
def test_texts_must_be_texts(cell: Any) -> None:
    file = Table(Path("tweets.json"), {"text": ["a", None, cell]}, [1, 2, 3])
    with pytest.raises(PipelineError, match=rf"row 3: expected a text in 'text', got .*{type(cell).__name__}"):
        texts_of(file, "text")


def test_texts_and_nulls_pass() -> None:
    assert texts_of(Table(Path("t"), {"text": ["NA", None, ""]}, [1, 2, 3]), "text") == ["NA", None, ""]
