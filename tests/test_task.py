import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.task import Task
from pipeline.text import fold

quick = settings(max_examples=200, deadline=None, derandomize=True)
any_text = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"]))
usable = st.text(min_size=1, max_size=12).filter(
    lambda label: label == label.strip() and "\n" not in label and fold(label) not in ("", "unparsed")
)
label_sets = st.lists(usable, min_size=2, max_size=20, unique_by=fold).map(tuple)

# The prompt that Stanford Alpaca publishes for an instruction with an input, filled by hand.
GOLDEN = (
    b"Below is an instruction that describes a task, paired with an input that provides further context. "
    b"Write a response that appropriately completes the request.\n"
    b"\n"
    b"### Instruction:\n"
    b"Detect the sentiment of the tweet.\n"
    b"\n"
    b"### Input:\n"
    b"gm, still here\n"
    b"\n"
    b"### Response:\n"
)


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("Positive", "Positive"),
        ("positive", "Positive"),
        ("NEGATIVE", "Negative"),
        (" \tNeutral \n", "Neutral"),
        ("\uff30\uff4f\uff53\uff49\uff54\uff49\uff56\uff45", "Positive"),
        ("Positive.", None),
        ("'Positive'", None),
        ("Positive Negative", None),
        ("Positive\nNegative", None),
        ("PositivePositive", None),
        ("Posi", None),
        ("Posi tive", None),
        ("The sentiment is Positive", None),
        ("Pos\u200bitive", None),
        ("None", None),
        ("", None),
        (" \n", None),
    ],
)
def test_parse_accepts_one_label_and_nothing_else(completion: str, expected: str | None) -> None:
    assert Task().parse(completion) == expected


@quick
@given(any_text)
def test_parse_takes_any_text_and_is_idempotent(completion: str) -> None:
    read = Task().parse(completion)
    assert read in (None, "Negative", "Neutral", "Positive")
    assert read is None or Task().parse(read) == read


@quick
@given(label_sets)
def test_every_label_is_read_as_itself(labels: tuple[str, ...]) -> None:
    task = Task(labels=labels)
    for label in labels:
        assert task.parse(label) == label
        assert task.parse(f"\n {label} ") == label


def test_prompt_is_alpacas_byte_for_byte() -> None:
    assert str(Task().prompt("gm, still here")).encode() == GOLDEN


@pytest.mark.parametrize(
    "tweet", ["{input}", "{instruction}", "{0.__class__}", "{}", "}{", "%s %(input)s", r"\1 \g<0>", "$input", "\n\n###"]
)
def test_braces_and_the_like_in_a_tweet_survive(tweet: str) -> None:
    prompt = Task().prompt(tweet)
    assert prompt.text == tweet
    assert str(prompt).encode() == GOLDEN.replace(b"gm, still here", tweet.encode())


@quick
@given(any_text, any_text)
def test_text_and_instruction_stand_verbatim_in_the_prompt(instruction: str, tweet: str) -> None:
    prompt = Task(instruction=instruction, template="<{instruction}|{input}>").prompt(tweet)
    assert (prompt.before, prompt.text, prompt.after) == (f"<{instruction}|", tweet, ">")


def test_slots_in_the_instruction_are_no_slots() -> None:
    task = Task(instruction="{input} {instruction}", template="{instruction}: {input}.")
    assert str(task.prompt("up")) == "{input} {instruction}: up."


@quick
@given(label_sets, any_text)
def test_json_round_trip(labels: tuple[str, ...], instruction: str) -> None:
    task = Task(labels, instruction, "{instruction}{input}")
    assert Task.from_json(task.to_json()) == task


def test_order_of_the_labels_is_part_of_the_task() -> None:
    assert Task(labels=("a", "b")) != Task(labels=("b", "a"))
    assert Task().to_json()["labels"] == ["Negative", "Neutral", "Positive"]


@pytest.mark.parametrize("number", [2, 20])
def test_number_of_labels_within_bounds(number: int) -> None:
    assert len(Task(labels=tuple(f"c{i}" for i in range(number))).labels) == number


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("Alone",)}, "labels: expected 2 to 20 classes, got 1: Alone"),
        ({"labels": ()}, "expected 2 to 20 classes, got 0"),
        ({"labels": tuple(f"c{i}" for i in range(21))}, "expected 2 to 20 classes, got 21"),
        ({"labels": ("Up", "UP")}, "labels: Up, UP are not distinct when case and width are ignored"),
        ({"labels": ("Strasse", "STRA\u00dfE")}, "are not distinct"),
        ({"labels": ("Up", "\uff35\uff50")}, "are not distinct"),
        ({"labels": ("Up", "")}, "'' is empty"),
        ({"labels": ("Up", "Unparsed")}, "'Unparsed' is what an answer without a label is called"),
        ({"labels": ("Up", " Down")}, "' Down' is empty, has outer spaces"),
        ({"labels": ("Up", "Do\nwn")}, "line break"),
        ({"template": "{instruction} only"}, "template: expected {input} exactly once, found it 0 times"),
        ({"template": "{input} only"}, "template: expected {instruction} exactly once, found it 0 times"),
        ({"template": "{instruction}{input}{input}"}, "expected {input} exactly once, found it 2 times"),
        ({"template": "{input} {instruction}"}, "template: expected {instruction} before {input}"),
        ({"turn": ("next: ",)}, "turn: expected {label} exactly once"),
    ],
)
def test_impossible_tasks_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=re.escape(message)) as caught:
        Task(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["labels", "instruction", "template"])
@pytest.mark.parametrize("value", [None, 3, {"a": 1}])
def test_damaged_json_is_refused(key: str, value: object) -> None:
    with pytest.raises(PipelineError, match="task: expected labels"):
        Task.from_json({**Task().to_json(), key: value})


@quick
@given(label_sets, usable)
def test_no_other_text_is_a_label(labels: tuple[str, ...], other: str) -> None:
    assume(fold(other) not in {fold(label) for label in labels})
    assert Task(labels=labels).parse(other) is None
