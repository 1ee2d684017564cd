"""Cells with an expected label (MFT), or an expected move of a probability (DIR)."""

from collections.abc import Mapping
from itertools import product

from numpy.random import Generator

from pipeline.scoring.behaviour.case import Cell, Draft, Polarity
from pipeline.scoring.behaviour.tweets import TWEETS

Names = Mapping[Polarity, str]

_THINGS = (
    "The new bitcoin wallet",
    "This bitcoin exchange",
    "My first bitcoin course",
    "The bitcoin app on my phone",
    "Yesterday's bitcoin meetup",
    "The bitcoin podcast I listened to",
)
_GOOD = ("good", "great", "excellent", "wonderful", "fantastic", "lovely", "superb", "delightful")
_BAD = ("bad", "terrible", "awful", "dreadful", "horrible", "disappointing", "lousy", "miserable")
_MILDLY_GOOD = ("good", "nice", "useful", "helpful", "pleasant")
_MILDLY_BAD = ("bad", "slow", "annoying", "confusing", "disappointing")
_FEEL_GOOD = ("I love", "I adore", "I really enjoy", "I'm delighted with", "I'm so happy with")
_FEEL_BAD = ("I hate", "I can't stand", "I loathe", "I'm disgusted with", "I'm furious about")
_FACTS = (
    "A bitcoin block is mined about every ten minutes.",
    "The bitcoin meetup begins at seven in the town hall.",
    "One bitcoin can be divided into one hundred million satoshis.",
    "The bitcoin price is shown in the lower left corner.",
    "Bitcoin was first described in a paper of nine pages.",
    "The lecture on bitcoin is in room twelve.",
    "A bitcoin address is a string of letters and digits.",
    "The next bitcoin workshop is on Tuesday at noon.",
    "The bitcoin course is taught in Spanish and in English.",
    "Which page of the handbook lists the bitcoin fees?",
    "The bitcoin app is available for two operating systems.",
    "The office on the second floor answers questions about bitcoin taxes.",
    "Bitcoin transactions are collected into blocks.",
    "The table lists the bitcoin price at the end of each month.",
    "The bitcoin exchange has its seat in Lisbon.",
    "The bitcoin wallet asks for a password of eight characters.",
    "The conference on bitcoin takes place in March.",
    "The article defines the words bitcoin, block and node.",
    "The bitcoin machine stands at the entrance of the station.",
    "The survey has eleven questions about bitcoin.",
)
_PAST_GOOD = ("love bitcoin", "trust this bitcoin exchange", "enjoy our bitcoin meetup", "believe in bitcoin")
_PAST_BAD = ("hate bitcoin", "distrust this bitcoin exchange", "dread our bitcoin meetup", "laugh at bitcoin")
_NOW_GOOD = ("now I love it", "now I'm a happy fan", "these days I'm delighted", "today I couldn't be happier",
             "now I'm sure that it's great", "now I recommend it to everyone", "but it won my heart")  # fmt: skip
_NOW_BAD = ("now I hate it", "now I can't stand it", "these days it disgusts me", "today I regret all of it",
            "now I think it's terrible", "now I warn everyone about it", "but it broke my heart")  # fmt: skip
_SLANG_GOOD = (
    ("Diamond hands", "HODL and never look back", "Stacking sats again", "Bought the dip", "BTC to the moon",
     "Super bullish on BTC", "New ATH for my bag"),
    ("WAGMI!", "LFG!", "we're so early, love it", "what a beautiful pump", "feeling bullish af"),
)  # fmt: skip
_SLANG_BAD = (
    ("Got rekt on BTC", "Rugged again", "Liquidated on my BTC long", "Stuck as a BTC bagholder",
     "Paper hands everywhere", "BTC got dumped on us", "My whole bag got nuked"),
    ("NGMI.", "what a scam.", "I'm done with this garbage.", "this pump and dump makes me sick.", "feeling so rekt."),
)  # fmt: skip
_SPEAKERS = ("People say", "My brother says", "My boss keeps saying", "Some guy on TV said")
_SAID_BAD = ("bitcoin is a scam", "bitcoin is worthless")
_SAID_GOOD = ("bitcoin is the best thing ever", "bitcoin is brilliant")
_WEAK_NO = ("I disagree.", "I don't think so.", "but that's simply wrong.")
_PRAISE = (
    "but I love it.",
    "but I think it's wonderful.",
    "but for me it has been fantastic.",
    "I say it's brilliant.",
)
_BLAME = ("but I think it's a scam.", "but I hate it.", "I say it's garbage.", "but for me it has been a nightmare.")
_REPORTS = (
    "The article quotes one person who calls bitcoin a {} and another who calls it a {}.",
    "In the survey, some called bitcoin a {} and some a {}.",
    "The book has a chapter for those who see bitcoin as a {} and one for those who see it as a {}.",
)
_VIEWS = (("scam", "miracle"), ("fraud", "revolution"), ("bubble", "blessing"), ("disaster", "success"))
_ASK_GOOD = (
    "Would I recommend this bitcoin wallet?",
    "Am I happy with my bitcoin exchange?",
    "Do I still love bitcoin?",
    "Was the bitcoin conference worth the money?",
    "Did the bitcoin support team treat me well?",
)
_ASK_BAD = (
    "Do I regret buying bitcoin?",
    "Was the bitcoin course a waste of time?",
    "Is this bitcoin exchange a scam?",
    "Am I fed up with bitcoin?",
    "Did the bitcoin support team treat me badly?",
)
_YES = ("Yes, absolutely.", "Yes, no doubt about it.", "Oh yes, one hundred percent.", "Definitely yes.")
_NO = ("No, not at all.", "No, absolutely not.", "No, not for a second.", "Definitely not.")
_ANSWERED = (
    "Does the bitcoin meetup begin at six? No, at half past six.",
    "Is the bitcoin paper nine pages long? Yes, with the references.",
    "Is the bitcoin lecture on Tuesday? Yes, in room twelve.",
    "Is the bitcoin machine on the ground floor? No, on the first.",
    "Does the bitcoin course end in June? Yes, on the last Friday.",
    "Is the bitcoin table sorted by date? No, by price.",
    "Does the form ask for a bitcoin address? Yes, on page two.",
    "Is there a second bitcoin workshop? Yes, on Saturday.",
    "Does the survey ask about bitcoin? No, about bank accounts.",
    "Is the bitcoin conference in Porto? No, it takes place in Lisbon.",
    "Do bitcoin blocks have numbers? Yes, they are counted from zero.",
    "Is the bitcoin handbook in the library? Yes, on shelf four.",
)
_LOVE = ("I love it.", "This makes me happy.", "What a wonderful day.")
_HATE = ("I hate it.", "This makes me sad.", "What a terrible day.")
_USED_TO = ("this bitcoin exchange", "the bitcoin community", "that bitcoin podcast", "my bitcoin broker",
            "the bitcoin developers", "our bitcoin club", "this bitcoin wallet")  # fmt: skip


def _expect(polarity: Polarity, *parts: tuple[str, ...]) -> list[Draft]:
    return [Draft(" ".join(words), (polarity,)) for words in product(*parts)]


def _vocabulary(rng: Generator, names: Names) -> list[Draft]:
    judged = [
        (polarity, text)
        for polarity, words, feelings in ((1, _GOOD, _FEEL_GOOD), (-1, _BAD, _FEEL_BAD))
        for text in [
            *(f"{thing} {_is(thing)} {word}." for thing, word in product(_THINGS, words)),
            *(f"{feel} {_in_sentence(thing)}." for feel, thing in product(feelings, _THINGS[:4])),
        ]
    ]
    return [*(Draft(text, (polarity,)) for polarity, text in judged), *(Draft(fact, (0,)) for fact in _FACTS)]


def _is(thing: str) -> str:
    return "was" if thing.startswith(("Yesterday", "My first", "The bitcoin podcast")) else "is"


def _in_sentence(thing: str) -> str:
    return thing[0].lower() + thing[1:]


def _slang(rng: Generator, names: Names) -> list[Draft]:
    return [
        *(Draft(f"{first}, {then}", (1,)) for first, then in product(*_SLANG_GOOD)),
        *(Draft(f"{first}, {then}", (-1,)) for first, then in product(*_SLANG_BAD)),
    ]


def _negation(rng: Generator, names: Names) -> list[Draft]:
    things = _THINGS[:4]
    denied = [f"{thing} {_is(thing)}n't {word}." for thing, word in product(things, ("good", "great", "worth it"))]
    filler = [
        f"I can't say, after all these weeks, that {_in_sentence(thing)} {_is(thing)} {word}."
        for thing, word in product(things, ("good", "pleasant", "worth the money"))
    ]
    denied += [f"I'm not happy with {_in_sentence(thing)}." for thing in things]
    spared = [
        f"{thing} {_is(thing)} not {word} at all." for thing, word in product(things, ("bad", "awful", "annoying"))
    ]
    spared += [f"I don't hate {_in_sentence(thing)}." for thing in things]
    spared += [
        f"I can't say, after all these weeks, that {_in_sentence(thing)} {_is(thing)} {word}."
        for thing, word in product(things, ("bad", "terrible", "disappointing"))
    ]
    facts = (
        "The bitcoin meetup is not on Tuesday.",
        "The lecture on bitcoin isn't in room twelve.",
        "This table doesn't list the bitcoin price in yen.",
        "The bitcoin course isn't taught in French.",
        "The bitcoin machine is not at the station, it stands next to the bank.",
        "The survey has no question about bitcoin taxes.",
        "The bitcoin paper doesn't have ten pages, it has nine.",
        "The conference on bitcoin doesn't take place in May.",
        "A bitcoin address is not a street address.",
        "The office doesn't answer questions about bitcoin on Mondays.",
    )
    return [
        *(Draft(text, (-1,)) for text in [*denied, *filler]),
        *(Draft(text, (0, 1)) for text in spared),
        *(Draft(text, (0,)) for text in facts),
    ]


def _time(rng: Generator, names: Names) -> list[Draft]:
    return [
        *(Draft(f"I used to {past}, {now}.", (-1,)) for past, now in product(_PAST_GOOD, _NOW_BAD)),
        *(Draft(f"I used to {past}, {now}.", (1,)) for past, now in product(_PAST_BAD, _NOW_GOOD)),
    ]


def _quoting(rng: Generator, names: Names) -> list[Draft]:
    return [
        *(Draft(f"{who} {said}, {own}", (0, 1)) for who, said, own in product(_SPEAKERS, _SAID_BAD, _WEAK_NO)),
        *(Draft(f"{who} {said}, {own}", (1,)) for who, said, own in product(_SPEAKERS, _SAID_BAD, _PRAISE)),
        *(Draft(f"{who} {said}, {own}", (-1,)) for who, said, own in product(_SPEAKERS, _SAID_GOOD, _BLAME)),
        *(Draft(report.format(*views), (0,)) for report, views in product(_REPORTS, _VIEWS)),
    ]


def _questions(rng: Generator, names: Names) -> list[Draft]:
    return [
        *_expect(1, _ASK_GOOD, _YES),
        *_expect(-1, _ASK_GOOD, _NO),
        *_expect(-1, _ASK_BAD, _YES),
        *(Draft(f"{ask} {answer}", (0, 1)) for ask, answer in product(_ASK_BAD, _NO)),
        *_expect(0, _ANSWERED),
    ]


def _emphasis(rng: Generator, names: Names) -> list[Draft]:
    return [
        Draft(
            f"{thing} {_is(thing)} {degree} {word}.", (), f"{thing} {_is(thing)} {word}.", side, sign, f"{side}{sign}"
        )
        for side, words in ((1, _MILDLY_GOOD), (-1, _MILDLY_BAD))
        for sign, degrees in ((1, ("really", "extremely", "incredibly")), (-1, ("somewhat", "only moderately")))
        for thing, word, degree in product(_THINGS, words, degrees)
    ]


def _appended(rng: Generator, names: Names) -> list[Draft]:
    return [
        Draft(f"{text} {phrase}", (), text, side, 1, f"{side}{polarity}")
        for side, phrases in ((1, _LOVE), (-1, _HATE))
        for polarity in (side, 0)
        for text, phrase in product(TWEETS[polarity], phrases)
    ]


def _used_to(rng: Generator, names: Names) -> list[Draft]:
    return [
        Draft(f"I used to {verb} {thing}.", (), f"I {verb} {thing}.", side, -1, str(side))
        for side, verbs in ((1, ("love", "like", "trust", "admire")), (-1, ("hate", "dislike", "distrust", "despise")))
        for verb, thing in product(verbs, _USED_TO)
    ]


CELLS = (
    Cell("Vocabulary", "MFT", "plain words of praise and blame, and plain facts", _vocabulary),
    Cell(
        "Vocabulary", "DIR", "“I love it” or “I hate it” is added, and the label must not become less likely", _appended
    ),
    Cell("Emphasis", "DIR", "“really” must not weaken a judgement, “somewhat” must not strengthen it", _emphasis),
    Cell("Crypto slang", "MFT", "HODL, rekt, to the moon, rugged", _slang),
    Cell("Negation", "MFT", "“not good” is negative, “not bad” is not, a negated fact stays neutral", _negation),
    Cell("Time", "MFT", "“I used to love it, now I hate it”: the present counts", _time),
    Cell("Time", "DIR", "“used to” must not make the judgement more likely", _used_to),
    Cell("Quoting", "MFT", "what others say is not what the author thinks", _quoting),
    Cell("Question and answer", "MFT", "the answer decides, not the words of the question", _questions),
)
