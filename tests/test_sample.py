"""The tweets that come with the project are as dirty as real ones, and still a data set to learn from."""

import csv
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.artifacts import SPLITS, PreparedDataset, read_jsonl
from pipeline.prepare import PrepareConfig, prepare
from pipeline.text import clean, has_link, is_retweet, template_of

SOURCE = Path(__file__).resolve().parents[1] / "data" / "sample" / "btc_tweets.csv"
SHARES = {"-1": 0.14, "0": 0.45, "1": 0.41}
WORD_OF = {"-1": "Negative", "0": "Neutral", "1": "Positive"}


class Tweet(NamedTuple):
    """A row of the file."""

    date: str
    text: str
    label: str


def tweets() -> list[Tweet]:
    with SOURCE.open(encoding="utf-8", newline="") as file:
        return [Tweet(row["date"], row["tweet"], row["sentiment"]) for row in csv.DictReader(file)]


def own_tweets() -> list[Tweet]:
    """Those that hold a text and are neither retweets nor links."""
    return [t for t in tweets() if clean(t.text) and not is_retweet(clean(t.text)) and not has_link(t.text)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    out = tmp_path_factory.mktemp("sample") / "out"
    return PreparedDataset.load(prepare(PrepareConfig(source=[str(SOURCE)], out=str(out))))


def test_enough_different_texts() -> None:
    assert len({template_of(tweet.text) for tweet in own_tweets()}) >= 600


def test_class_shares_are_those_of_bitcoin_tweets() -> None:
    one_each = {template_of(tweet.text): tweet.label for tweet in own_tweets()}
    counts = Counter(one_each.values())
    assert counts.keys() == SHARES.keys()
    for label, share in SHARES.items():
        assert counts[label] / counts.total() == pytest.approx(share, abs=0.04)


def test_every_kind_of_dirt_is_there() -> None:
    rows, own = tweets(), own_tweets()
    exact = Counter(clean(tweet.text) for tweet in own)
    spellings, labels = defaultdict(set), defaultdict(set)
    for tweet in own:
        spellings[template_of(tweet.text)].add(clean(tweet.text))
        labels[template_of(tweet.text)].add(tweet.label)
    sizes = Counter(template_of(tweet.text) for tweet in own)
    dirt = {
        "empty": sum(not clean(tweet.text) for tweet in rows),
        "retweet": sum(is_retweet(clean(tweet.text)) for tweet in rows),
        "link": sum(has_link(tweet.text) for tweet in rows),
        "exact copy": sum(number > 1 for number in exact.values()),
        "copy but for mention, number or case": sum(len(texts) > 1 for texts in spellings.values()),
        "conflicting labels": sum(len(found) > 1 for found in labels.values()),
    }
    assert {kind: number for kind, number in dirt.items() if number < 3} == {}
    assert max(sizes.values()) >= 10, "no spam that is sent again and again"


def test_near_copies_differ_in_more_than_the_masked_parts(prepared: PreparedDataset) -> None:
    templates = defaultdict(set)
    for row in (row for split in SPLITS for row in prepared.rows(split)):
        templates[row.group].add(template_of(row.input))
    assert sum(len(found) > 1 for found in templates.values()) >= 3


def test_tweets_are_as_long_as_tweets() -> None:
    assert [tweet.text for tweet in own_tweets() if len(tweet.text) > 280] == []


def test_dates_are_in_order() -> None:
    dates = [tweet.date for tweet in tweets()]
    assert dates == sorted(dates)


def test_prepare_yields_splits_with_all_classes(prepared: PreparedDataset) -> None:
    assert prepared.task.labels == ("Negative", "Neutral", "Positive")
    for split in SPLITS:
        counts = Counter(row.output for row in prepared.rows(split))
        assert counts.keys() == set(prepared.task.labels)
        assert min(counts.values()) >= 10
    kept = Counter(row.output for split in SPLITS for row in prepared.rows(split))
    for label, share in SHARES.items():
        assert kept[WORD_OF[label]] / kept.total() == pytest.approx(share, abs=0.04)


def test_prepare_meets_every_reason_to_drop_a_row(prepared: PreparedDataset) -> None:
    listed = Counter(row["reason"] for row in read_jsonl(prepared.verified("dropped.jsonl")))
    assert {"empty text", "retweet", "link", "conflicting label", "duplicate"} == listed.keys()
    assert prepared.manifest["rows"]["dropped"] == listed
    assert prepared.manifest["rows"]["read"] == len(tweets())


def test_prepare_closes_the_leak_that_a_random_split_has(prepared: PreparedDataset) -> None:
    leaks = prepared.manifest["leakage"]
    assert leaks["made"]["near"] == 0 < leaks["random_split"]["near"]
