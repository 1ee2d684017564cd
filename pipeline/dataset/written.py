"""What a language model hands in as a tweet: freed of its wrapping, and refused where it is none."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.dataset.duplicates import group_duplicates
from pipeline.dataset.languages import Languages
from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.text import clean, fold, has_link, is_retweet

# 1. 2) (3) Tweet 4: - * • with the space behind them, so that "1.5 BTC" and "-3%" stay.
_NUMBERING = re.compile(r"^(?:(?:tweet\s*)?[(#]?\d{1,3}[.):]\s+|tweet\s*:\s+|[-*•–—>]\s+)", re.IGNORECASE)
_HEADING = re.compile(r"^#{1,6}\s+")
_FENCE = re.compile(r"^```\w*\s*|\s*```$")
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_QUOTES = (
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("“", "”"),
    ("‘", "’"),
    ("«", "»"),
    ("„", "“"),
    ("「", "」"),
    ("『", "』"),
)
# A model that speaks of itself or declines, in the languages that models are asked in most. People cannot do much
# either, so what cannot be done must be to write or to help.
_DECLINES = (
    r"(?:write(?! (?:\S+ )?off\b)|create|generate|help (?:you|with)|assist|fulfil|comply|provide|produce|continue"
    r"|do (?:that|this))"
)
_REFUSAL = re.compile(
    r"\b(?:as|being) an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?:['’]m| am) (?:just |only )?an? (?:ai|(?:large )?language model|(?:ai|virtual) assistant)\b"
    rf"|^(?:.{{0,40}}\b)?i(?:['’]m| am)? (?:can['’]?t|cannot|can not|won['’]?t|unable to|not able to) {_DECLINES}"
    r"|\bals (?:ki|künstliche intelligenz|sprachmodell)\b"
    r"|^(?:es )?tut mir leid,? .{0,40}\bnicht (?:schreiben|helfen|erstellen|erfüllen|dienen)"
    r"|\ben tant (?:qu['’]ia|que modèle|qu['’]intelligence artificielle)"
    r"|^(?:je suis )?désolée?,? (?:mais )?je ne (?:peux|puis) pas (?:écrire|créer|vous aider|générer|répondre)"
    r"|\bcomo (?:una? )?(?:ia|modelo de lengua(?:je|gem)|inteligencia artificial|inteligência artificial)\b"
    r"|^lo siento,? (?:pero )?no puedo (?:escribir|crear|ayudar|generar|cumplir)"
    r"|^(?:me )?desculpe,? (?:mas )?(?:eu )?não posso (?:escrever|criar|ajudar|gerar|atender)"
    r"|\bin quanto (?:ia|modello linguistico)\b|^mi dispiace,? (?:ma )?non posso (?:scrivere|creare|aiutar|generare)"
    r"|\bbir yapay zek[aâ](?: modeli)? olarak\b|^üzgünüm,? .{0,40}(?:yardımcı olamam|yazamam)"
    r"|\bкак (?:ии|искусственный интеллект|языковая модель)\b|^извините,? (?:но )?я не могу (?:написать|помочь|создать)"
    r"|作为(?:一个|一名)?(?:人工智能|ai|语言模型)|作為(?:一個|一名)?(?:人工智慧|ai|語言模型)"
    r"|^(?:很|非常)?抱歉[,,]?我(?:不能|无法|無法)(?:写|寫|提供|帮|幫|生成|满足|滿足)"
    r"|(?:ai|言語モデル|人工知能)として|^申し訳(?:ありません|ございません)が|인공지능(?:으로서| 언어 모델)"
    r"|بصفتي (?:نموذج|ذكاء)|^(?:عذرا|آسف)[,،]? (?:لكن )?لا (?:أستطيع|يمكنني) (?:كتابة|مساعدت)",
    re.IGNORECASE,
)
# What leads up to tweets, stands for something to be filled in, or is the form of an answer.
_NO_TWEET = re.compile(
    r"^(?:sure|certainly|of course|absolutely|okay|here(?:['’]s| is| are))\b[!.]?[^.!?]{0,80}"
    r"(?:tweets?|examples?|requested|request)\b"
    r"|^(?:sure|certainly|of course)[!,.]?$|^(?:tweets?|examples?|output|answer)\s*\d*:?$|\b(?:tweets?|examples?)\s*:$"
    r"|^[\[{][\s\S]*[\]}]$|^[\s\[\]{}(),.:;'\"`-]*$"
    r"|\[(?:your|insert|name|link|url|date|price|amount|user|username|number|coin|handle|exchange)\b[^\]]{0,30}\]"
    r"|<(?:your|insert|name|link|url|date|price|user)\b[^>]{0,30}>|\{\w{1,30}\}|\b(?:lorem ipsum|example tweet)\b",
    re.IGNORECASE,
)
_KEY = re.compile(r"\b(?:sentiment|label|class|category|classification)\s*[:=]", re.IGNORECASE)
# Heard twice in a row from models, seldom from people; three times in a row any word is filler.
_INTERJECTIONS = (
    *("oh", "ah", "wow", "ugh", "yay", "ouch", "oops", "hey", "haha", "hahaha", "hehe", "lol", "omg", "damn", "yikes"),
    *(
        "phew",
        "whoa",
        "hmm",
        "huh",
        "wtf",
        "uff",
        "ay",
        "ach",
        "oje",
        "hurra",
        "olé",
        "ole",
        "ojalá",
        "bravo",
        "uh",
        "eh",
    ),
)
_DOUBLED = re.compile(rf"\b({'|'.join(_INTERJECTIONS)})\b[\s,.!…~-]+\1\b", re.IGNORECASE)
_TRIPLED = re.compile(r"\b(\w+)\b(?:[\s,.!…~-]+\1\b){2}", re.IGNORECASE)
_DOUBLED_HAN = re.compile(r"(哎呀|哎哟|哇塞|天哪|天啊|啊呀|哎|哇|啊|唉|呵呵|哈哈哈)[,,!!、 ]?\1")
_LETTER = re.compile(r"[^\W\d_]")

_WHERE = (("test", "copy of a test row"), ("val", "copy of a validation row"), ("train", "copy of a training row"))


@dataclass(frozen=True)
class Rules:
    """What a new tweet must be like. ``shortest`` and ``longest`` are in characters.

    ``written`` says that a model wrote the text: then what only models do is looked for too. ``languages`` None
    passes all.
    """

    labels: Sequence[str]
    shortest: int
    longest: int
    languages: Languages | None
    drop_retweets: bool = True
    drop_links: bool = True
    written: bool = True


def unwrapped(text: str) -> str:
    """The tweet without what a model puts around it: numbering, quotes, code fences and Markdown."""
    text = clean(text)
    while (bare := _barer(text)) != text:
        text = bare
    return text


def _barer(text: str) -> str:
    text = _EMPHASIS.sub(r"\2", _FENCE.sub("", text))
    text = _HEADING.sub("", _NUMBERING.sub("", text)).strip()
    for left, right in _QUOTES:
        inside = text[1:-1]
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in inside and right not in inside:
            return inside.strip()
    return text


def is_refusal(text: str) -> bool:
    """Whether a model declines in it, or speaks of itself as one."""
    return _REFUSAL.search(text.strip()) is not None


def objection(text: str, rules: Rules) -> tuple[str, str] | None:
    """Why a text is no tweet to learn from: the reason and what it was seen by; None where it is one.

    Args:
        text: after ``unwrapped``, or, where nobody wrote it to order, after ``clean``.
        rules: what it must be like.
    """
    checks: tuple[Callable[[str, Rules], tuple[str, str] | None], ...] = (_form, _language)
    if rules.written:
        checks = (_refusal, _form, _habits, _language)
    return next((found for check in checks if (found := check(text, rules)) is not None), None)


def _refusal(text: str, rules: Rules) -> tuple[str, str] | None:
    if not text:
        return None
    if found := _REFUSAL.search(text):
        return "refusal", found[0][:60]
    if found := _NO_TWEET.search(text):
        return "not a tweet", found[0][:60]
    return None


def _form(text: str, rules: Rules) -> tuple[str, str] | None:
    if not text:
        return "empty text", "nothing is left after cleaning"
    if len(text) < rules.shortest or not _LETTER.search(text):
        return "too short", f"{len(text)} characters, fewer than {rules.shortest}, or no letter"
    if len(text) > rules.longest:
        return "too long", f"{len(text):,} characters, more than {rules.longest:,}"
    if rules.drop_retweets and is_retweet(text):
        return "retweet", ""
    if rules.drop_links and has_link(text):
        return "link", ""
    return None


def _habits(text: str, rules: Rules) -> tuple[str, str] | None:
    """What a model that was told the label, and wants to please, does."""
    folded = fold(text)
    for label in rules.labels:
        if re.search(rf"(?<!\w){re.escape(fold(label))}(?!\w)", folded):
            return "label in the text", label
    if found := _KEY.search(text):
        return "label in the text", found[0]
    if found := _DOUBLED.search(text) or _TRIPLED.search(text) or _DOUBLED_HAN.search(text):
        return "doubled word", found[0][:60]
    return None


def _language(text: str, rules: Rules) -> tuple[str, str] | None:
    other = rules.languages and rules.languages.foreign(text)
    return ("other language", other) if other else None


def sift(
    candidates: Sequence[Example],
    rules: Rules,
    real: Mapping[str, Sequence[Example]],
    earlier: Sequence[Example] = (),
) -> Sifted:
    """Keeps the new tweets that follow the rules and are a copy of nothing that is there.

    Copies are those of ``duplicates.group_duplicates``, near ones included; its groups are closed, so a tweet goes too
    that is a copy of a test row by way of another new tweet.

    Args:
        candidates: the new tweets; the first of several copies stays.
        rules: what they must be like.
        real: split -> the rows that are there.
        earlier: new tweets that were kept before.
    """
    reasons = {example.id: found for example in candidates if (found := objection(example.text, rules)) is not None}
    sound = [example for example in candidates if example.id not in reasons]
    there = [(name, example) for name in real for example in real[name]] + [("new", example) for example in earlier]
    numbers = group_duplicates([example.template for _, example in there] + [example.template for example in sound])
    holders: dict[int, dict[str, str]] = {}
    for (name, example), number in zip(there, numbers, strict=False):
        holders.setdefault(number, {}).setdefault(name, example.id)
    for example, number in zip(sound, numbers[len(there) :], strict=True):
        held = holders.setdefault(number, {})
        for name, reason in (*_WHERE, ("new", "copy of a new row")):
            if name in held:
                reasons[example.id] = (reason, f"of {held[name]}")
                break
        else:
            held["new"] = example.id
    kept = [example for example in candidates if example.id not in reasons]
    return Sifted(kept, [Dropped.of(e, *reasons[e.id]) for e in candidates if e.id in reasons])
