from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.annotating import Unlabelled, read_unlabelled
from pipeline.errors import PipelineError

LABELS = ("Negative", "Neutral", "Positive")


def read(path: Path, **options: Any) -> Unlabelled:
    known: dict[str, Any] = {"text_column": None, "label_column": None, "mapping": None, "prefix": "labelled:"}
    return read_unlabelled(str(path), LABELS, **{**known, "drop_retweets": True, "drop_links": True, **options})


def test_tweets_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    path.write_text("id,tweet\n7,sold it all\n8,\n9,RT @a: sold it\n10,see https://a.example/b\n", encoding="utf-8")
    found = read(path)
    assert [(example.id, example.text, example.label) for example in found.examples] == [
        ("labelled:1", "sold it all", "")
    ]
    assert [row.reason for row in found.dropped] == ["empty text", "retweet", "link"]
    assert found.human == {}
    assert len(read(path, drop_links=False, drop_retweets=False).examples) == 3


def test_labels_of_people_are_read_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    lines = ("tweet,sentiment", "sold it all,-1", "up again,positive", "who knows,?", "RT @a: up,1", "RT @a: so,?")
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    found = read(path)
    assert [example.label for example in found.examples] == ["", "", ""]
    assert found.human == {"labelled:1": "Negative", "labelled:2": "Positive", "labelled:4": "Positive"}
    assert [row.label for row in found.dropped] == ["Positive", None]


def test_columns_may_be_named_and_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    path.write_text("a,b\nsold it all,-1\n", encoding="utf-8")
    assert read(path, text_column="a").examples[0].text == "sold it all"
    assert read(path, text_column="a", label_column="b").human == {"labelled:1": "Negative"}
    with pytest.raises(PipelineError, match="no column 'c'"):
        read(path, text_column="c")
    with pytest.raises(PipelineError, match="no column 'd'"):
        read(path, text_column="a", label_column="d")
    path.write_text("tweet\n\n", encoding="utf-8")
    with pytest.raises(PipelineError):
        read(path)


def test_plain_text_is_one_tweet_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tweets.txt"
    path.write_text("sold it all\nup again\n", encoding="utf-8")
    assert [example.text for example in read(path).examples] == ["sold it all", "up again"]
