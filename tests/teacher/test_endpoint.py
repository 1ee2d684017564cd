"""One call to an endpoint: what its answers are taken for, and what is said of those that are none."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from teacher_server import Reply, TeacherServer, completion, serving

from pipeline.errors import PipelineError
from pipeline.teacher.asking import Answer, write_request
from pipeline.teacher.endpoint import Endpoint, most_of_an_answer

REQUEST = write_request("Wríte.", [], number=2, longest=100, one=False, temperature=1.0, seed=1)
pytestmark = pytest.mark.usefixtures("api_key")


def endpoint(server: TeacherServer, retries: int = 1, **extra: Any) -> Endpoint:
    return Endpoint(server.address, "m", workers=1, timeout=5, retries=retries, extra=extra)


def ask(server: TeacherServer, reply: Reply, retries: int = 1) -> Answer:
    server.script = lambda number, body: reply
    [answer] = endpoint(server, retries).answer([REQUEST])
    return answer


def body(**changes: Any) -> Reply:
    return Reply(body=json.dumps(json.loads(completion("[]")) | changes).encode())


@pytest.mark.parametrize("tokens", [True, -1, 1.5, "7", None, 10**400])
def test_what_is_no_number_of_tokens_is_unknown(server: TeacherServer, tokens: Any) -> None:
    found = ask(server, body(usage={"prompt_tokens": tokens, "completion_tokens": 5}))
    assert found == Answer("[]", "stop", None, None, 5)


def test_a_choice_may_say_nothing_of_its_end(server: TeacherServer) -> None:
    assert ask(server, body(choices=[{"message": {"content": "[]"}}])).text == "[]"


@pytest.mark.parametrize("after", ["Mon, 01 Jan 99999 00:00:00 GMT", "soon", "nan", "-5"])
def test_a_retry_after_that_tells_nothing_is_none(server: TeacherServer, after: str) -> None:
    with pytest.raises(PipelineError, match="got HTTP 429, 2 times in a row"):
        ask(server, Reply(429, b"{}", {"Retry-After": after}))


def test_waits_grow_even_where_none_is_asked_for(server: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = lambda number, body: Reply(429, b"{}", {"Retry-After": "0"})
    asked = endpoint(server, retries=6)
    waits: list[float] = []
    monkeypatch.setattr(asked, "_wait", waits.append)
    with pytest.raises(PipelineError, match="7 times in a row"):
        asked.answer([REQUEST])
    pauses = [wait for wait in waits if wait]
    assert [0.5 <= pause / (0.01 * 2**i) <= 1.5 for i, pause in enumerate(pauses)] == [True] * 6


def test_a_call_that_waits_is_held_back_by_what_others_are_told(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, now, waits = endpoint(server), [0.0], []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds
        if len(waits) == 1:  # meanwhile another call is told to wait
            asked._not_before = 30.0

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(asked, "_wait", wait)
    asked._not_before = 5.0
    asked.answer([REQUEST])
    assert waits == [5.0, 25.0, 0]


def test_what_a_server_says_is_a_short_line_without_control_characters(server: TeacherServer) -> None:
    said = "no \x1b[2Jsuch\u202e\nmodel\x07 " + "x" * 10_000
    with pytest.raises(PipelineError) as refused:
        ask(server, Reply(404, json.dumps({"error": {"message": said}}).encode()))
    line = str(refused.value)
    assert line.isprintable()
    assert "HTTP 404: no [2Jsuch model xxx" in line
    assert len(line) < 300


@pytest.mark.parametrize("key", ["sk-abc\ndef0123456789", "sk-abcé0123456789"])
def test_a_key_that_no_header_can_hold_is_not_quoted(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(PipelineError, match="OPENAI_API_KEY: expected letters") as refused:
        endpoint(server)
    assert "0123456789" not in str(refused.value)


def test_tweets_go_to_no_other_address(server: TeacherServer, other: TeacherServer) -> None:
    with pytest.raises(PipelineError, match=r"HTTP 307: .*; it sends calls elsewhere"):
        ask(server, Reply(307, b"", {"Location": f"{other.address}/chat/completions"}))
    assert not other.requests


@pytest.fixture
def other() -> Iterator[TeacherServer]:
    with serving(TeacherServer()) as running:
        yield running


@pytest.mark.parametrize(
    ("extra", "most"),
    [
        ({}, 184),
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 800}, 800),
        ({"max_tokens": None, "max_completion_tokens": 8}, 8),
        ({"max_tokens": None}, None),
        ({"max_tokens": "9"}, None),
        ({"max_completion_tokens": 10.5}, None),
        ({"max_tokens": True}, None),
    ],
)
def test_the_bound_of_an_answer_is_that_of_the_call(extra: dict[str, Any], most: int | None) -> None:
    assert REQUEST.max_tokens == 184
    assert most_of_an_answer(extra, REQUEST.max_tokens) == most


def test_the_most_that_a_call_can_take_are_its_bytes(server: TeacherServer) -> None:
    asked = endpoint(server, response_format={"type": "json_schema", "schema": "é" * 500})
    asked.answer([REQUEST])
    [sent] = server.requests
    tokens_in, tokens_out = asked.most_tokens(REQUEST)
    assert tokens_in >= sum(len(message["content"].encode()) for message in sent["messages"]) + 1000
    assert tokens_out == sent["max_tokens"] == 184
