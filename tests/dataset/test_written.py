"""What a model hands in as a tweet: what is taken off, what is refused, and what of people's tweets must pass."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.languages import Languages
from pipeline.dataset.records import Example
from pipeline.dataset.written import Rules, is_refusal, objection, sift, unwrapped
from pipeline.text import clean

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "btc_tweets.csv"
RULES = Rules(("Negative", "Neutral", "Positive"), 15, 280, None)
ENGLISH = Languages(("en",))


def sample() -> list[str]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return [text for row in csv.DictReader(file) if (text := clean(row["tweet"]))]


@pytest.mark.parametrize(
    ("handed_in", "tweet"),
    [
        ("1. sold it all, never again", "sold it all, never again"),
        ("12) sold it all", "sold it all"),
        ("(3) sold it all", "sold it all"),
        ("- sold it all", "sold it all"),
        ("• sold it all", "sold it all"),
        ("Tweet 4: sold it all", "sold it all"),
        ("Tweet: sold it all", "sold it all"),
        ('"sold it all"', "sold it all"),
        ("“sold it all”", "sold it all"),
        ("«sold it all»", "sold it all"),
        ("「全部売った」", "全部売った"),
        ("`sold it all`", "sold it all"),
        ("**sold** it __all__", "sold it all"),
        ("## sold it all", "sold it all"),
        ("```\nsold it all\n```", "sold it all"),
        ('1. "**sold it all**"', "sold it all"),
        ("sold &amp; gone\x00", "sold & gone"),
        # What people write stays as it is.
        ("1.5 BTC gone in a day", "1.5 BTC gone in a day"),
        ("-9% before breakfast", "-9% before breakfast"),
        ("#bitcoin down again", "#bitcoin down again"),
        ('"safe" they said, "audited" they said', '"safe" they said, "audited" they said'),
        ("3 years and 2 wallets", "3 years and 2 wallets"),
        ("i *love* this", "i *love* this"),
    ],
)
def test_what_is_around_a_tweet_is_taken_off(handed_in: str, tweet: str) -> None:
    assert unwrapped(handed_in) == tweet


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_unwrapping_has_an_end_and_needs_no_second_time(text: str) -> None:
    assert unwrapped(unwrapped(text)) == unwrapped(text)


REFUSED = {
    "refusal": [
        "As an AI language model, I don't have a wallet.",
        "Being an AI, I hold no coins at all",
        "I'm an AI assistant and have no opinion",
        "I'm sorry, but I can't help with that request.",
        "I cannot write tweets that mock people.",
        "I can’t create negative content about a company.",
        "Sorry, I'm unable to generate that kind of text",
        "Als KI habe ich dazu keine Meinung, tut mir leid",
        "Es tut mir leid, aber das kann ich nicht schreiben.",
        "En tant qu'IA, je ne possède rien du tout",
        "Désolé, je ne peux pas écrire ce genre de tweet",
        "Como modelo de lenguaje no tengo opiniones",
        "Lo siento, no puedo escribir ese tipo de mensajes",
        "Desculpe, não posso ajudar com isso de modo algum",
        "Mi dispiace, non posso scrivere questo tweet",
        "Bir yapay zeka modeli olarak fikrim yok benim",
        "Извините, я не могу написать такой твит для вас",
        "作为人工智能,我不能写这样的内容,请您理解一下",
        "AIとして、そのようなツイートを書くことはできません",
        "인공지능 언어 모델로서 저는 의견이 없습니다 정말",
    ],
    "not a tweet": [
        "Sure! Here are 5 tweets for you",
        "Here are the requested tweets",
        "Here's one example of such a tweet",
        "Certainly, the tweets you asked for:",
        "[Your name] just lost it all, again",
        "bought at [price] and sold at [price]",
        '{"tweet": "sold it all yesterday"}',
        '["sold it all yesterday"]',
        "thanks {exchange} for locking me out",
    ],
    "too short": ["", "gm", "btc $9!", "12345 67890 12345 6789"],
    "too long": ["so it goes on " * 30],
    "retweet": ["RT @someone: sold it all yesterday"],
    "link": ["read this now https://example.com/a before you sell"],
    "label in the text": [
        "feeling negative about all of this today",
        "Sentiment: awful, and it will get worse",
        "the mood is NEUTRAL I would say, nothing more",
        "what a Positive. day this has been for us",
        "class = sad, my coins are gone for good",
    ],
    "doubled word": [
        "wow wow that was my rent money",
        "Oh, oh there goes the neighbourhood",
        "haha... haha they locked the door again",
        "down down down it goes with my savings",
        "哎呀哎呀又跌了,这次真的受不了了,全部都没有了吧",
    ],
}


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in REFUSED.items() for text in texts])
def test_what_is_no_tweet_is_refused_with_its_reason(reason: str, text: str) -> None:
    found = objection(unwrapped(text), RULES)
    assert found is not None
    assert found[0] == ("empty text" if not text else reason)


@pytest.mark.parametrize(
    "text",
    [
        "Sorry mum, I can't afford dinner, bought the dip again",
        "I can't help but smile at all this green today",
        "I am unable to withdraw my coins from this exchange",
        "I won't write bitcoin off yet, not after last year",
        "sure, another maintenance window in the worst minute",
        "here we go again, fifth time this week",
        "they say it is positively the last delay",
        "[BREAKING] exchange halts withdrawals until Monday",
        "very very slow confirmation today, what is going on",
        "lo siento, no puedo más con esta caída, vendo todo",
        "as an airline pilot i get paid in fiat, sadly",
    ],
)
def test_what_people_write_passes(text: str) -> None:
    assert objection(unwrapped(text), RULES) is None


def test_hardly_a_real_tweet_is_refused() -> None:
    own = Languages.of(sample())
    rules = Rules(RULES.labels, 1, 1_000, own, drop_retweets=False, drop_links=False)
    refused = [(text, found) for text in sample() if (found := objection(text, rules))]
    assert len(refused) <= 0.02 * len(sample()), refused


def test_of_tweets_that_nobody_wrote_to_order_only_the_form_counts() -> None:
    rules = Rules(RULES.labels, 5, 280, None, drop_links=False, written=False)
    for text in ("feeling negative today", "wow wow nice", "read https://example.com/a", "As an AI fan I buy"):
        assert objection(text, rules) is None
    assert objection("RT @a: sold", rules) == ("retweet", "")


def test_other_languages_are_those_that_the_training_tweets_are_not_in() -> None:
    rules = Rules(RULES.labels, 5, 280, Languages.of(sample()))
    foreign = ["Vendí todo ayer y hoy sube un ocho por ciento, odio mi vida", "ビットコインがまた下がった、もう無理"]
    foreign += ["Der Kurs fällt schon wieder, ich habe keine Lust mehr", "Биткоин снова упал, я потерял все деньги"]
    for text in foreign:
        found = objection(text, rules)
        assert found is not None
        assert found[0] == "other language"
    german = Languages.of([*foreign[2:3] * 10, "Endlich wieder grün im Portfolio, was für ein schöner Tag"])
    assert german.own == ("de",)
    assert not german.foreign(foreign[2])
    assert german.foreign("I sold it all yesterday and today it is up again")
    assert not Languages(()).foreign(foreign[0])


def test_is_refusal_looks_past_outer_space() -> None:
    assert is_refusal("\n  As an AI language model I cannot. ")
    assert not is_refusal("sold it all yesterday")


LONG = "the exchange has been down for {} hours now and support has not said a single word about our withdrawals"


def test_copies_of_what_is_there_are_left_out_and_each_is_named() -> None:
    real = {
        "train": [Example("1", "my rent money is gone and so is the cat", "Negative")],
        "val": [Example("2", LONG.format(5), "Negative")],
        "test": [Example("3", "sold everything on the night train, again", "Negative")],
    }
    earlier = [Example("written:1", "the whale moved nine old keys and nobody called", "Negative")]
    texts = {
        "a": "My rent money is gone, and so is the cat!!",
        "b": LONG.format(7).replace("single ", ""),  # a near copy: another number, a word less
        "c": "@you sold everything on the night train, again $BTC",
        "d": "the whale moved nine old keys and nobody called #btc",
        "e": "nothing like the others, a quiet loss on a loud day",
        "f": "nothing like the others, a quiet loss on a loud day!",
        "g": "wow wow this one breaks a rule as well",
    }
    sifted = sift([Example(name, text, "Negative") for name, text in texts.items()], RULES, real, earlier)
    assert [example.id for example in sifted.kept] == ["e"]
    assert {row.id: (row.reason, row.detail) for row in sifted.dropped} == {
        "a": ("copy of a training row", "of 1"),
        "b": ("copy of a validation row", "of 2"),
        "c": ("copy of a test row", "of 3"),
        "d": ("copy of a new row", "of written:1"),
        "f": ("copy of a new row", "of e"),
        "g": ("doubled word", "wow wow"),
    }
