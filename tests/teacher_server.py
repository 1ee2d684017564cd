"""A real OpenAI-compatible endpoint on the loopback, with faults to order."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_SUBJECTS = "my wallet,the exchange,this chart,that miner,our node,the broker,her ledger,his portfolio,the fund,a whale"
_VERBS = "lost,moved,burned,froze,doubled,mocked,ignored,rescued,counted,buried"
_OBJECTS = "half the savings,a quiet fortune,every last coin,the rent money,nine old keys,a dream,the whole queue"
_TIMES = "before lunch,on the night train,during the storm,while we slept,in front of everyone,after the update,again"
_TAILS = "and nobody called,which says enough,so the cat got fed late,that was the plan,pass the tea,typical of March"


def sentence(seed: str) -> str:
    """One of 29,400 sentences that are no near-copies of each other when two or more of their parts differ."""
    number = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
    parts = []
    for words in (_SUBJECTS, _VERBS, _OBJECTS, _TIMES, _TAILS):
        choices = words.split(",")
        parts.append(choices[number % len(choices)])
        number //= len(choices)
    return "{} {} {} {} {}".format(*parts)


def write(content: dict[str, Any], seed: int) -> str:
    """An honest answer to an order, the same for the same request."""
    return json.dumps([sentence(f"{content['order']}{seed}{i}") for i in range(content["number"])])


def label_by_words(content: dict[str, Any], seed: int) -> str:
    """A label by the words of the tweets in ``conftest.WORDS``; Negative for what the endpoint itself writes."""
    tweet = content["tweet"]
    if any(word in tweet for word in ("love", "great", "happy", "win", "moon")):
        return json.dumps({"label": "Positive"})
    neutral = any(word in tweet for word in ("price", "block", "noon", "when", "fee"))
    return json.dumps({"label": "Neutral" if neutral else "Negative"})


@dataclass(frozen=True)
class Reply:
    """What is sent back: a status with headers and a body; cut after ``cut`` bytes, after ``delay`` seconds."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    cut: int | None = None


def completion(text: Any, *, usage: bool = True, refusal: str | None = None, finish: str = "stop") -> bytes:
    """The body of a chat completion."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "teacher",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return json.dumps(body).encode()


Script = Callable[[int, dict[str, Any]], Reply | None]


@dataclass
class TeacherServer:
    """What the endpoint was asked. ``paid`` has the bodies of the requests that were answered with a completion."""

    script: Script | None = None
    """Number of the request, counted from 0, and its body -> a reply of one's own, or None for an honest one."""
    write: Callable[[dict[str, Any], int], str] = write
    label: Callable[[dict[str, Any], int], str] = label_by_words
    delay: float = 0
    usage: bool = True
    address: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def orders(self) -> Sequence[dict[str, Any]]:
        """The JSON objects of the users' messages."""
        return [json.loads(body["messages"][1]["content"]) for body in self.requests]

    def reply(self, number: int, body: dict[str, Any]) -> Reply:
        own = self.script(number, body) if self.script else None
        if own is not None:
            return own
        content = json.loads(body["messages"][1]["content"])
        answer = (self.label if "tweet" in content else self.write)(content, body.get("seed", 0))
        return Reply(body=completion(answer, usage=self.usage), delay=self.delay)


@contextmanager
def serving(server: TeacherServer) -> Iterator[TeacherServer]:
    """Runs the endpoint in threads for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(raw)
            with server.lock:
                number = len(server.requests)
                server.requests.append(body)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.times.append(time.monotonic())
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            try:
                reply = server.reply(number, body)
                time.sleep(reply.delay)
                if reply.status == 200 and reply.cut is None and b'"choices"' in reply.body:
                    with server.lock:
                        server.paid.append(json.dumps(body, sort_keys=True))
            finally:
                with server.lock:
                    server.at_once -= 1
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
            except (BrokenPipeError, ConnectionResetError):
                pass
            if reply.cut is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{httpd.server_port}/v1"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
