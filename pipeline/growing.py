"""What ``pipeline.distill`` has a teacher do: write tweets to order, label those of a file, be compared with people.

Everything is drawn from the seed and taken in the order of the requests, so that the same answers give the same rows,
whichever call came back first.
"""

import json
import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, product
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Row
from pipeline.errors import PipelineError
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.dataset.records import Dropped, Example
    from pipeline.dataset.written import Rules
    from pipeline.model.local_teacher import LocalTeacher
    from pipeline.teacher.asking import Answer, Request
    from pipeline.teacher.desk import Desk, Outcome
    from pipeline.teacher.scenes import Scenes

log = logging.getLogger("pipeline.distill")

WRITTEN, LABELLED = "written:", "labelled:"
_STYLES = 3  # examples of style from the scenes in one call
_SHOWN = 280
# Every tweet asked for is paid for: a round asks for no more than this many times what is missing, whatever the yield.
_MOST_AT_ONCE = 3
_BARREN = 30  # texts in a row of which none can be used, after which a class is given up
_MOST_ASKED = 20  # times the tweets that are wanted


@dataclass(frozen=True)
class Order:
    """How tweets are to be written. ``examples`` are training tweets of a class shown in a call, ``longest`` is in
    characters."""

    per_call: int
    examples: int
    longest: int
    temperature: float
    check: bool
    seed: int


@dataclass
class Grown:
    """What a teacher has added: the new examples, what was left out, and how each example came to be."""

    kept: "list[Example]" = field(default_factory=list)
    dropped: "list[Dropped]" = field(default_factory=list)
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    """Class -> texts that were asked for."""
    agreement: dict[str, Any] | None = None
    """With the labels that people gave to the tweets of the file."""


class LocalDesk:
    """A model on this machine in the form of a teacher; see ``teacher.asking.Teacher``."""

    workers = 1
    one_a_call = True

    def __init__(self, teacher: "LocalTeacher") -> None:
        self._teacher = teacher
        self.name = teacher.name
        self.identity = teacher.identity
        self.batch = teacher.batch

    def stop(self) -> None:
        """Nothing waits here."""

    def most_tokens(self, request: "Request") -> tuple[int, int]:
        """None that is paid for."""
        return 0, 0

    def answer(self, requests: "Sequence[Request]") -> "list[Answer]":
        """The answers, computed side by side; a label is written as an endpoint would write it."""
        from pipeline.model.local_teacher import seed_of
        from pipeline.teacher.asking import Answer

        if requests[0].kind == "label":
            labels = self._teacher.label([str(request.content["tweet"]) for request in requests])
            return [Answer(json.dumps({"label": label}, ensure_ascii=False), "stop", None, 0, 0) for label in labels]
        orders = [(request.system, _plain(request.content)) for request in requests]
        written = self._teacher.write(
            orders,
            max_tokens=max(request.max_tokens for request in requests),
            temperature=requests[0].temperature or 1.0,
            seed=seed_of([request.seed for request in requests]),
        )
        return [Answer(each.text, each.finish, None, each.tokens_in, each.tokens_out) for each in written]


def _plain(content: Mapping[str, Any]) -> str:
    examples = [f"- {' '.join(str(text).split())}" for text in content.get("examples", ())]
    return "\n".join([str(content["order"]), *(["Tweets in this style:"] if examples else []), *examples])


def wanted(classes: Mapping[str, int], labels: Sequence[str], write: int | None, share: float) -> dict[str, int]:
    """How many tweets each class shall get: ``write`` for each of ``labels``; without these, what small classes lack.

    Args:
        classes: class -> training rows.
        labels: the classes to grow; none for all that have less than ``share`` of the rows of the largest.
        write: for each; None fills up to that share.
        share: of the largest class, 0 to 1.
    """
    if labels and write is not None:
        return dict.fromkeys(labels, write)
    aim = math.ceil(share * max(classes.values()) - 1e-9)
    lacking = {label: aim - n for label, n in classes.items() if n < aim and (not labels or label in labels)}
    return {label: n if write is None else min(n, write) for label, n in lacking.items()}


def write_tweets(
    desk: "Desk",
    amounts: Mapping[str, int],
    task: Task,
    scenes: "Scenes",
    order: Order,
    rules: "Rules",
    real: "Mapping[str, Sequence[Example]]",
    train: Sequence[Row],
    first: int,
) -> Grown:
    """Has tweets of each class written, in rounds, until there are enough or the teacher has no more to say.

    Args:
        desk: the teacher.
        amounts: class -> tweets to add.
        task: the task of the data set.
        scenes: what to write about.
        order: how.
        rules: what a tweet must be like.
        real: split -> the rows that are there, of which no new tweet may be a copy.
        train: the training rows, to draw examples of style from.
        first: number of the first new tweet.
    """
    grown, numbers = Grown(), count(first)
    per_call = 1 if desk.teacher.one_a_call else order.per_call
    for label, amount in amounts.items():
        requests = _requests(desk, label, task, scenes, order, per_call, train)
        got, barren, asked = 0, 0, 0
        while got < amount and barren < _BARREN and asked < _MOST_ASKED * amount + per_call:
            times = min(asked / max(got, 1), _MOST_AT_ONCE) if asked else 1.0
            calls = math.ceil((amount - got) * max(times, 1.0) / per_call)
            if barren or not asked:  # a teacher that may write nothing of use is not paid much to do so
                calls = min(calls, math.ceil((_BARREN - barren) / per_call))
            batch = [next(requests) for _ in range(calls)]
            asked += calls * per_call
            found = _round(desk, label, batch, task, scenes, order, rules, real, grown, numbers, per_call)
            grown.kept += found[: amount - got]
            grown.dropped += _surplus(found[amount - got :])
            got = min(amount, got + len(found))
            barren = 0 if found else barren + calls * per_call
        grown.asked[label] = asked
        if got < amount:
            log.warning(
                "%s: given up with %d of the %d tweets wanted; %d texts cannot be used; more scenes may help, or "
                "another teacher",
                label, got, amount, sum(row.label == label for row in grown.dropped),
            )  # fmt: skip
    for example in list(grown.traces.keys() - {example.id for example in grown.kept}):
        del grown.traces[example]
    return grown


def _requests(
    desk: "Desk", label: str, task: Task, scenes: "Scenes", order: Order, per_call: int, train: Sequence[Row]
) -> "Iterator[tuple[Request, dict[str, Any]]]":
    """Calls without end for a class, each with what it is about: all scenes, voices and prompts in turn, shuffled."""
    from pipeline.teacher.asking import write_request

    draw = random.Random(f"{order.seed}/{label}")  # noqa: S311 - a draw, not a secret
    own = [row.input for row in train if row.output == label and not row.synthetic]
    combinations = list(product(scenes.scenes, scenes.voices, range(len(scenes.prompts))))
    while True:
        draw.shuffle(combinations)
        for scene, voice, number in combinations:
            styles = scenes.styles.get(label, ())
            examples = draw.sample(list(styles), min(_STYLES, len(styles)))
            examples += [text[:_SHOWN] for text in draw.sample(own, min(order.examples, len(own)))]
            draw.shuffle(examples)
            request = write_request(
                scenes.prompt(number, label, scene, voice),
                examples,
                number=per_call,
                longest=order.longest,
                one=desk.teacher.one_a_call,
                temperature=order.temperature,
                seed=draw.randrange(2**31),
            )
            trace = {"scene": scene, "voice": voice, "prompt": number, "call": request.key(desk.teacher.identity)}
            yield request, trace


def _round(
    desk: "Desk",
    label: str,
    batch: "Sequence[tuple[Request, dict[str, Any]]]",
    task: Task,
    scenes: "Scenes",
    order: Order,
    rules: "Rules",
    real: "Mapping[str, Sequence[Example]]",
    grown: Grown,
    numbers: Iterator[int],
    per_call: int,
) -> "list[Example]":
    """Makes calls; gives the tweets that can be used, notes the others in ``grown``."""
    from pipeline.dataset.records import Dropped, Example
    from pipeline.dataset.written import sift, unwrapped
    from pipeline.teacher.asking import read_tweets

    one = desk.teacher.one_a_call
    outcomes = desk.ask(
        [request for request, _ in batch], lambda answer: read_tweets(answer, one=one), f"write {label}"
    )
    candidates = []
    for outcome, (_, trace) in zip(outcomes, batch, strict=True):
        if outcome.value is None:
            grown.dropped.append(_unread(f"{WRITTEN}{next(numbers)}", outcome, label))
            continue
        for place, text in enumerate(outcome.value):
            example = Example(f"{WRITTEN}{next(numbers)}", unwrapped(text[: 10 * order.longest]), label)
            if place >= per_call:
                grown.dropped.append(Dropped.of(example, "not wanted", f"more than the {per_call} asked for"))
                continue
            candidates.append(example)
            grown.traces[example.id] = trace
    sifted = sift(candidates, rules, real, grown.kept)
    grown.dropped += sifted.dropped
    return _checked(desk, sifted.kept, task, scenes, order, grown) if order.check else list(sifted.kept)


def _unread(name: str, outcome: "Outcome[Any]", label: str | None, text: str | None = None) -> "Dropped":
    """The record of a call that came to nothing, with what the teacher said in place of the tweet, if there is none."""
    from pipeline.dataset.records import Dropped
    from pipeline.dataset.written import is_refusal
    from pipeline.text import clean

    said = clean((outcome.answer.refusal or outcome.answer.text)[:_SHOWN])
    refused = bool(outcome.answer.refusal) or is_refusal(said)
    detail = f"asked {outcome.asks} times" + ("" if text is None else f"; it said {said[:60]!r}")
    return Dropped(name, "refusal" if refused else "no answer", detail, said if text is None else text, label)


def _surplus(examples: "Sequence[Example]") -> "list[Dropped]":
    from pipeline.dataset.records import Dropped

    return [Dropped.of(example, "not wanted", "there were enough") for example in examples]


def _checked(
    desk: "Desk", examples: "Sequence[Example]", task: Task, scenes: "Scenes", order: Order, grown: Grown
) -> "list[Example]":
    """The examples that the teacher, who is not told what they were written for, labels so again."""
    from pipeline.dataset.records import Dropped

    outcomes = _labels(desk, [example.text for example in examples], task, scenes.meanings, order.seed, "check")
    kept = []
    for example, outcome in zip(examples, outcomes, strict=True):
        if outcome.value == example.label:
            kept.append(example)
        else:
            says = "gives no label" if outcome.value is None else f"says {outcome.value}"
            grown.dropped.append(Dropped.of(example, "teacher disagrees", says))
    return kept


def _labels(
    desk: "Desk", texts: Sequence[str], task: Task, meanings: Mapping[str, str] | None, seed: int, progress: str
) -> "list[Outcome[str]]":
    from pipeline.teacher.asking import label_request, read_label

    requests = [label_request(text, task, meanings, seed) for text in texts]
    return desk.ask(requests, lambda answer: read_label(answer, task), progress)


def annotate_tweets(
    desk: "Desk",
    examples: "Sequence[Example]",
    human: Mapping[str, str],
    labels: Sequence[str],
    task: Task,
    meanings: Mapping[str, str] | None,
    rules: "Rules",
    real: "Mapping[str, Sequence[Example]]",
    seed: int,
) -> Grown:
    """Has tweets of a file labelled; what cannot be used is left out before the teacher is paid for it.

    Args:
        desk: the teacher.
        examples: the tweets, without a label.
        human: id -> the label that people gave, of some of them; it is compared, not used.
        labels: classes to keep; none for all.
        task: the task of the data set.
        meanings: class -> what it means; None where nobody said.
        rules: what a tweet must be like.
        real: split -> the rows that are there, of which no new one may be a copy.
        seed: of the calls.
    """
    from pipeline.dataset.records import Dropped, Example
    from pipeline.dataset.written import sift

    sifted = sift(examples, rules, real)
    grown = Grown(dropped=list(sifted.dropped))
    outcomes = _labels(desk, [example.text for example in sifted.kept], task, meanings, seed, "label")
    for example, outcome in zip(sifted.kept, outcomes, strict=True):
        if outcome.value is None:
            grown.dropped.append(_unread(example.id, outcome, None, example.text))
        elif labels and outcome.value not in labels:
            grown.dropped.append(Dropped.of(example, "not wanted", f"labelled {outcome.value}"))
        else:
            grown.kept.append(Example(example.id, example.text, outcome.value))
    # What people said of a tweet is not lost with it; what the teacher said is in the detail.
    grown.dropped = [replace(row, label=human.get(row.id)) for row in grown.dropped]
    pairs = [(human[e.id], outcome.value) for e, outcome in zip(sifted.kept, outcomes, strict=True) if e.id in human]
    if pairs:
        from pipeline.scoring.agreement import agreement

        grown.agreement = agreement([label for label, _ in pairs], [found for _, found in pairs], task.labels)
    return grown


def agree(
    desk: "Desk", rows: Sequence[Row], n: int, task: Task, meanings: Mapping[str, str] | None, seed: int
) -> dict[str, Any]:
    """How far the teacher's labels are those of validation rows, drawn at random where there are more than ``n``.

    Raises:
        PipelineError: there are no rows.
    """
    from pipeline.scoring.agreement import agreement

    if not rows:
        raise PipelineError("--agreement: expected validation rows to compare with, got none; leave it out")
    drawn = sorted(random.Random(seed).sample(range(len(rows)), min(n, len(rows))))  # noqa: S311 - no secret
    asked = [rows[i] for i in drawn]
    outcomes = _labels(desk, [row.input for row in asked], task, meanings, seed, "agreement")
    return agreement([row.output for row in asked], [outcome.value for outcome in outcomes], task.labels)
