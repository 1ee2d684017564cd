import csv
import random
from itertools import islice
from pathlib import Path

import pytest
from sklearn.metrics.cluster import pair_confusion_matrix

from benchmarks.finders import agreement, every_pair
from benchmarks.tweets import tweets, write_csv
from pipeline.dataset.duplicates import group_duplicates
from pipeline.text import template_of


def test_agreement_against_scikit_learn() -> None:
    rng = random.Random(0)
    for groups in (2, 5, 30):
        found, truth = ([rng.randrange(groups) for _ in range(60)] for _ in range(2))
        (_, only_found), (only_true, both) = pair_confusion_matrix(truth, found) // 2
        expected = both + only_found, both / (both + only_true), both / (both + only_found)
        assert agreement(found, truth) == pytest.approx(expected)
    assert agreement([0, 1, 2], [0, 1, 2]) == (0, 1.0, 1.0)


def test_made_up_tweets_hold_the_structure_that_is_measured() -> None:
    texts = list(dict.fromkeys(template_of(text) for text, _ in tweets(600)))
    ours, truth = group_duplicates(texts), every_pair(texts)
    assert agreement(ours, truth)[1:] == (1.0, 1.0)
    assert 200 < len(set(ours)) < len(texts) < 600
    # More rows bring new words.
    words = [len({word for text, _ in tweets(rows) for word in text.split()}) for rows in (500, 2_000)]
    assert words[1] > 2 * words[0]


def test_made_up_tweets_depend_on_the_seed_alone(tmp_path: Path) -> None:
    assert list(tweets(50)) == list(islice(tweets(80), 50))
    assert list(tweets(50)) != list(tweets(50, seed=1))
    write_csv(tmp_path / "a.csv", 50)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["text", "label"], *map(list, tweets(50))]
