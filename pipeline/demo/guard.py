"""What stands before the demo's server: who may ask, for what, and how much; and what browsers are told.

Gradio leaves this to whoever serves a page. Everything that the page has no use for is answered with 404 before
Gradio sees it.
"""

import asyncio
import base64
import hmac
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/gradio_api"
UPLOAD = f"{API}/upload"
MCP = f"{API}/mcp"
REPORT = "/report/"
# Gradio asks itself for this when it starts, before anybody has a password.
_STARTUP = f"{API}/startup-events"

MAX_BODY = 16 << 10
# What a multipart form adds to a file.
_FORM = 4 << 10
# Of uploads and results together, until Gradio clears what is old.
MAX_STORED = 64 << 20
# What a file takes at least, so that small ones cannot be so many that counting them takes long.
_BLOCK = 4 << 10
_PATIENCE = 30.0  # seconds for a body to come in

# All that the page and its clients ask for.
_GET = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/report/[0-9]{1,6}|/(?:assets|static|svelte)/.*"
    rf"|{API}/(?:info|config|app_id|startup-events|theme\.css|upload_progress|queue/data"
    r"|heartbeat/\w+|call/classify/\w+|file=.*)/?"
)
_POST = re.compile(rf"{API}/(?:queue/join|call/(?:v2/)?classify|upload|cancel|reset)/?")
_NONCE = b"<script"

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# The report has a stricter policy of its own; a page is held to both.
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data: "
    "blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


@dataclass(frozen=True)
class Rules:
    """Whom the demo answers.

    ``hosts`` are names under which it is reached besides addresses and localhost; ``.name`` stands for all names that
    end so. ``password`` is ``user:password``, or None for everybody. ``uploads`` is the size of the largest file,
    ``store`` where files are kept.
    """

    hosts: Collection[str] = ()
    password: str | None = None
    uploads: int = 0
    store: Path | None = None
    mcp: bool = False


class _RefusedError(Exception):
    """The request is answered with a status and a line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: App, rules: Rules) -> None:
        self.app = app
        self.rules = rules
        self._coming = 0  # bytes of uploads that are on their way into the store

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request, or lets it pass."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks over a socket
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(scope, send)
        try:
            headers = _headers(scope)
            self._check(scope, headers)
            with self._room(scope["path"]) as most:
                body = await _body(most, headers, receive)
                if _names_an_address(body):
                    raise _RefusedError(403, "expected a file that was sent here, got an address")
                await self.app(scope, _replayed(body, receive), answer)
        except _RefusedError as refusal:
            await answer.refuse(refusal.status, str(refusal))
        except Exception:
            if not answer.begun:
                await answer.refuse(500, "this went wrong; was the request as the page's lines for programs show it?")
            raise  # for the log

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        path, method = scope["path"], scope["method"]
        if not _is_ours(headers.get("host", ""), self.rules.hosts):
            raise _RefusedError(421, "this demo is not served under that name; --hosts adds one")
        origin = headers.get("origin")
        if origin is not None and not _is_own(origin, headers["host"], self.rules.hosts):
            raise _RefusedError(403, "this demo answers no other site's pages")
        if path != _STARTUP and not self._knows(headers.get("authorization", "")):
            raise _RefusedError(401, "name and password, please")
        if self.rules.mcp and (path == MCP or path.startswith(f"{MCP}/")):
            return
        known = {"GET": _GET, "HEAD": _GET, "POST": _POST}.get(method)
        if known is None:
            raise _RefusedError(405, "expected GET or POST")
        if not known.fullmatch(path) or ".." in re.split(r"[/\\=]", path):
            raise _RefusedError(404, "there is nothing here")

    def _knows(self, given: str) -> bool:
        if self.rules.password is None:
            return True
        kind, _, value = given.partition(" ")
        try:
            offered = base64.b64decode(value, validate=True)
        except ValueError:
            return False
        return kind.lower() == "basic" and hmac.compare_digest(offered, self.rules.password.encode())

    @contextmanager
    def _room(self, path: str) -> Iterator[int]:
        """How large the body may be; for an upload, so much is kept free until the answer is given.

        Raises:
            _RefusedError: there is no room for an upload.
        """
        if path.rstrip("/") != UPLOAD:
            yield MAX_BODY
            return
        most = self.rules.uploads + _FORM
        stored = 0 if self.rules.store is None else _size(self.rules.store)
        if stored + self._coming + most > MAX_STORED:
            raise _RefusedError(507, "too many files were sent lately; try again in an hour")
        self._coming += most
        try:
            yield most
        finally:
            self._coming -= most


class _Answer:
    """Sends what the demo answers, with the headers that browsers need, and a nonce in the scripts of its page."""

    def __init__(self, scope: Message, send: Send) -> None:
        self._path = scope["path"]
        self._send = send
        self._nonce = secrets.token_urlsafe(16)
        self._start: Message | None = None
        self._page = bytearray()
        self.begun = False

    async def refuse(self, status: int, line: str) -> None:
        """A line of plain text instead of an answer."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(line) + 1).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="demo", charset="UTF-8"'))
        if status in (408, 413):
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": line.encode() + b"\n"})

    async def __call__(self, message: Message) -> None:
        """Passes a message of the answer on."""
        self.begun = True
        if message["type"] == "http.response.start":
            ours = {**_HEADERS, b"content-security-policy": self._policy()}
            ours[b"x-frame-options"] = b"SAMEORIGIN" if self._is_report else b"DENY"
            given = [pair for pair in message.get("headers", ()) if pair[0].lower() not in ours]
            message = {**message, "headers": [*given, *ours.items()]}
            if self._path == "/":  # held back until its length is known
                self._start = message
                return
        elif self._start is not None:
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            page = bytes(self._page).replace(_NONCE, b'<script nonce="' + self._nonce.encode() + b'"')
            headers = [pair for pair in self._start["headers"] if pair[0].lower() != b"content-length"]
            length = [(b"content-length", str(len(page)).encode())] if self._page else []
            await self._send({**self._start, "headers": [*headers, *length]})
            message, self._start = {**message, "body": page}, None
        await self._send(message)

    @property
    def _is_report(self) -> bool:
        return bool(self._path.startswith(REPORT))

    def _policy(self) -> bytes:
        return (_REPORT_POLICY if self._is_report else _POLICY.format(nonce=self._nonce)).encode()


def _headers(scope: Message) -> dict[str, str]:
    """The request's headers by name; one that is given twice is not to be trusted.

    Raises:
        _RefusedError: there are two of what decides.
    """
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in found and key in ("host", "origin", "authorization", "content-length"):
            raise _RefusedError(400, f"expected one header {key}")
        found[key] = value.decode("latin-1")
    return found


async def _body(most: int, headers: dict[str, str], receive: Receive) -> bytes:
    """All of a request's body.

    Raises:
        _RefusedError: it is too large, too slow, or ends too early.
    """
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        raise _RefusedError(413, f"expected at most {most:,} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _RefusedError(400, "the request ended too early")
                body += message.get("body", b"")
                if len(body) > most:
                    raise _RefusedError(413, f"expected at most {most:,} bytes")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise _RefusedError(408, "the request took too long") from None


def _names_an_address(body: bytes) -> bool:
    """Whether a request calls something on the internet a file, which Gradio would fetch, however large it is."""
    try:
        values = [json.loads(body)]
    except (ValueError, RecursionError):  # then nobody else can read it either
        return False
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path")):
                return True
            values += value.values()
        elif isinstance(value, list):
            values += value
    return False


def _is_own(origin: str, host: str, names: Collection[str]) -> bool:
    """Whether a request comes from a page of this demo: from where it goes to, or, if a proxy changed that, a name.

    Addresses and localhost are names of many: another port is another's page.
    """
    scheme, _, place = origin.lower().partition("://")
    return scheme in ("http", "https") and (
        place == host.lower() or (_name(place) in names and not _is_ours(place, ()))
    )


def _is_ours(host: str, names: Collection[str]) -> bool:
    """Whether this demo may be asked under a name.

    A page on another site can make a name of its own lead here (DNS rebinding), but not an address or localhost.
    """
    name = _name(host)
    if name == "localhost" or name in names or any(n.startswith(".") and name.endswith(n) for n in names):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    return re.sub(r":\d+$", "", host).lower()


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, of which some may come and go meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += max(_BLOCK, os.stat(os.path.join(place, name)).st_size)  # noqa: PTH116, PTH118 - many of them
    return total


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What an application reads: the body that has been read already, then what comes behind it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
