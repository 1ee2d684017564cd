import csv
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint
from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from pipeline.dataset.lexicons import Agreement, lexicon_agreement
from pipeline.text import clean

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
NAMES = ("Negative", "Neutral", "Positive")
OPENINGS = ("The market", "My wallet", "This coin", "Our fund", "Her token", "That whale", "The chart", "A miner")
MOODS = (
    *("is great", "looks awful", "went sideways", "is not bad", "made me happy", "is terrible", "moved", "is boring"),
    *("was the best", "is a perfect mess", "is very good", "seems nice", "hates us", "is sad", "is fine", "won again"),
)
ENDS = ("today", "at noon", "!!!")
TEXTS = [f"{a} {b} {c}" for a in OPENINGS for b in MOODS for c in ENDS]


def textblob_label(text: str) -> str:
    polarity = TextBlob(text).sentiment.polarity
    return NAMES[1 + (polarity > 0) - (polarity < 0)]


VADER = SentimentIntensityAnalyzer()


def vader_label(text: str) -> str:
    compound = VADER.polarity_scores(text)["compound"]
    return NAMES[1 + (compound >= 0.05) - (compound <= -0.05)]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(("name", "maker"), [("textblob", textblob_label), ("vader", vader_label)])
def test_labels_of_a_word_list_are_found_out(name: str, maker: Callable[[str], str]) -> None:
    found = lexicon_agreement(TEXTS, [maker(text) for text in TEXTS], NAMES, seed=1)
    assert (found[name].agreement, found[name].kappa, found[name].n) == (1, 1, len(TEXTS))
    assert found[name].machine_made
    (other,) = found.keys() - {name}
    assert not found[other].machine_made


def test_a_few_other_labels_do_not_hide_the_list() -> None:
    labels = [textblob_label(text) for text in TEXTS]
    rng = random.Random(1)
    for share, told in ((0.03, True), (0.15, False)):
        noisy = [rng.choice(NAMES) if rng.random() < share else label for label in labels]
        assert lexicon_agreement(TEXTS, noisy, NAMES, seed=1)["textblob"].machine_made == told


def test_figures_are_those_of_the_textbook() -> None:
    rng = random.Random(2)
    made = [vader_label(text) for text in TEXTS]
    labels = [rng.choice(NAMES) if rng.random() < 0.4 else label for label in made]
    found = lexicon_agreement(TEXTS, labels, NAMES, seed=1)["vader"]
    assert found.dead_zone == 0.05
    hits = sum(a == b for a, b in zip(made, labels, strict=True))
    assert found.agreement == hits / len(TEXTS)
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, len(TEXTS), method="wilson"))
    table = [[sum(pair == (a, b) for pair in zip(made, labels, strict=True)) for b in NAMES] for a in NAMES]
    assert found.kappa == pytest.approx(cohens_kappa(table).kappa)


def test_other_dead_zones_are_tried() -> None:
    # VADER has a mild liking for numbers: 0.08.
    texts = [
        *TEXTS,
        *(f"item number {word}" for word in ["seven", "eight", "nine", "ten", "forty"]),
    ]
    labels = [NAMES[1 + (c > 0.2) - (c < -0.2)] for c in (VADER.polarity_scores(text)["compound"] for text in texts)]
    found = lexicon_agreement(texts, labels, NAMES, seed=1)["vader"]
    assert found.agreement == 1
    assert found.dead_zone in (0.1, 0.2)


def test_two_classes_are_compared_where_the_list_speaks() -> None:
    labels = ["Positive" if textblob_label(text) == "Positive" else "Negative" for text in TEXTS]
    found = lexicon_agreement(TEXTS, labels, ("Negative", "Positive"), seed=1)["textblob"]
    assert found.n == sum(textblob_label(text) != "Neutral" for text in TEXTS) < len(TEXTS)
    assert found.agreement == 1
    assert found.machine_made


def test_order_of_classes_and_steps_do_not_matter() -> None:
    five = {"Negative": "Very negative", "Neutral": "Neutral", "Positive": "Very positive"}
    labels = [five[textblob_label(text)] for text in TEXTS]
    classes = ("Negative", "Neutral", "Positive", "Very negative", "Very positive")
    assert lexicon_agreement(TEXTS, labels, classes, seed=1)["textblob"].agreement == 1


def test_where_all_is_neutral_nothing_is_said() -> None:
    texts = [f"fee per byte {i}" for i in range(500)]
    found = lexicon_agreement(texts, ["Neutral"] * 490 + ["Positive"] * 10, NAMES, seed=1)
    assert found["textblob"].agreement == 0.98
    assert not found["textblob"].machine_made
    assert lexicon_agreement(texts, ["Neutral"] * 500, NAMES, seed=1)["textblob"].kappa is None


def test_no_alarm_from_a_handful_of_texts() -> None:
    few = [text for text in TEXTS if textblob_label(text) != "Neutral"][:60]
    found = lexicon_agreement(few, [textblob_label(text) for text in few], NAMES, seed=1)["textblob"]
    assert found.agreement == 1
    assert not found.machine_made


def test_topics_are_not_compared() -> None:
    assert lexicon_agreement(TEXTS, ["Sports"] * len(TEXTS), ("Politics", "Sports"), seed=1) == {}


def test_without_a_neutral_class_a_silent_list_is_left_out() -> None:
    texts = ["at noon", "fee per byte"]
    assert lexicon_agreement(texts, ["Positive", "Negative"], ("Negative", "Positive"), seed=1) == {}


def test_copies_count_once_and_large_sets_are_sampled() -> None:
    labels = [textblob_label(text) for text in TEXTS]
    found = lexicon_agreement(TEXTS * 3, labels * 3, NAMES, seed=1)["textblob"]
    assert found.n == len(TEXTS)
    first = lexicon_agreement(["good", "good"], ["Positive", "Negative"], NAMES, seed=1)["textblob"]
    assert (first.n, first.agreement) == (1, 1)
    sampled = lexicon_agreement(TEXTS, labels, NAMES, seed=1, most=100)
    assert sampled["textblob"].n == 100
    assert sampled == lexicon_agreement(TEXTS[::-1], labels[::-1], NAMES, seed=1, most=100)


def test_manifest() -> None:
    agreement = Agreement(0.5, 0.4, 0.6, None, 10, 0.0, False)
    assert agreement.to_json() == {
        **{"agreement": 0.5, "low": 0.4, "high": 0.6, "kappa": None, "n": 10},
        **{"dead_zone": 0.0, "machine_made": False},
    }


@pytest.mark.parametrize(
    ("file", "text", "label", "values", "made_by"),
    [
        ("btc_1897.csv", "tweet", "sentiment", "-1.0 0.0 1.0", "textblob"),
        ("tfns/sent_valid.csv", "text", "label", "0 2 1", None),
        ("crypto_surge.csv", "Comment Text", "Sentiment", "Negative Neutral Positive", None),
        ("cryptolin/CryptoLin_IE.csv", "news", "final_manual_labelling", "-1 0 1", None),
    ],
)
def test_public_sets(file: str, text: str, label: str, values: str, made_by: str | None) -> None:
    path = DATA / file
    if not path.is_file():
        pytest.skip(f"{file} is not on this machine")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    name_of = dict(zip(values.split(), NAMES, strict=True))
    labels = [name_of[row[label]] for row in rows]
    classes = [name for name in NAMES if name in labels]
    found = lexicon_agreement([clean(row[text]) for row in rows], labels, classes, seed=42, most=800)
    assert [name for name in found if found[name].machine_made] == ([made_by] if made_by else [])
    if made_by:
        assert found[made_by].agreement == 1
    else:
        assert max(each.agreement for each in found.values()) < 0.8
