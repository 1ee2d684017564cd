"""What stands before the demo: every probe it must refuse, against an application that would answer all of them."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.demo import guard
from pipeline.demo.guard import API, MAX_BODY, Guard, Rules

LIMIT = 100_000
OPEN = Rules(uploads=LIMIT)


def ask(
    rules: Rules, path: str = "/", method: str = "GET", body: Sequence[bytes] = (b"",), **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """The guard's answer around an application that gives a page with a script and tells what it read."""
    sent: list[dict[str, Any]] = []
    pieces = list(body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read = await receive()
        start = [(b"content-length", b"999"), (b"X-Frame-Options", b"ALLOWALL")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": b"<script>1</script>", "more_body": True})
        await send({"type": "http.response.body", "body": str(len(read["body"])).encode()})

    named = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "path": path, "method": method, "headers": [(k.encode(), v.encode()) for k, v in named.items()],
    }  # fmt: skip
    asyncio.run(Guard(app, rules)(scope, receive, send))
    answer = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize(
    "path",
    [
        "/docs", "/openapi.json", "/redoc", "/monitoring", "/monitoring/summary", "/login", "/assets/../../etc/passwd",
        "/gradio_api/openapi.json", "/gradio_api/component_server", "/gradio_api/proxy=http://x", "/gradio_api/runs",
        "/gradio_api/run/classify", "/gradio_api/api/classify", "/gradio_api/dev/reload", "/gradio_api/vibe-code/",
        "/gradio_api/stream/x/y/z/playlist.m3u8", "/gradio_api/mcp/", "/gradio_api/file=../../etc/passwd", "/report/x",
        "/custom_component/x", "/pwa_icon", "/gradio_api/deep_link", "/gradio_api/process_recording", "//", "",
        "/gradio_api/call/answer", "/gradio_api/call/v2/label", "/gradio_api/call/label/1", "/report/" + "9" * 5000,
        "/static/..\\x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_page_does_not_need_is_not_there(path: str, method: str) -> None:
    assert ask(OPEN, path, method)[0] == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(method: str) -> None:
    assert ask(OPEN, "/", method)[0] == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("localhost:80", 200), ("[::1]:7860", 200), ("192.168.0.7:7860", 200), ("LOCALHOST", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example", 421), ("", 421),
        ("demo.example.org", 200), ("x.gradio.live", 200), ("gradio.live", 421), ("xgradio.live", 421),
    ],
)  # fmt: skip
def test_only_known_names_are_answered(host: str, status: int) -> None:
    assert ask(Rules(hosts=["demo.example.org", ".gradio.live"]), host=host)[0] == status


def test_pages_of_other_sites_are_refused() -> None:
    rules = Rules(hosts=["127.0.0.1", "demo.example.org", ".gradio.live"])
    for host, origin in (
        ("127.0.0.1:7860", "http://127.0.0.1:7860"), ("LOCALHOST:80", "https://localhost:80"),
        ("127.0.0.1:7860", "https://demo.example.org"), ("x.gradio.live", "https://x.gradio.live"),
    ):  # fmt: skip
        assert ask(rules, f"{API}/queue/join", "POST", host=host, origin=origin)[0] == 200
    for host, origin in (
        ("127.0.0.1:7860", "https://evil.example"), ("127.0.0.1:7860", "null"), ("localhost:80", "localhost:80"),
        ("127.0.0.1:7860", "http://203.0.113.9"), ("127.0.0.1:7860", "http://127.0.0.1:3000"),
        ("127.0.0.1:7860", "http://localhost:7860"), ("x.gradio.live", "https://y.gradio.live"),
        ("127.0.0.1:7860", "http://localhost.evil.example"), ("demo.example.org", "https://[::1]"),
    ):  # fmt: skip
        assert ask(rules, f"{API}/queue/join", "POST", host=host, origin=origin)[0] == 403


def test_names_with_dots_are_files_too() -> None:
    assert ask(OPEN, f"{API}/file=/tmp/x/and..so...on.labelled.csv")[0] == 200
    assert ask(OPEN, f"{API}/file=..")[0] == 404


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1/x.csv", " HTTPS://example.org/x", "file:///etc/passwd", ["ftp://x/"]]
)
def test_nothing_is_fetched_from_addresses(path: object) -> None:
    for content in ({"path": path}, [7, {"tweet": {"path": path, "meta": {"_type": "gradio.FileData"}}}]):
        body = json.dumps({"data": [content]}).replace("h", "\\u0068").encode()
        for place in ("queue/join", "call/v2/classify"):
            assert ask(OPEN, f"{API}/{place}", "POST", [body])[0] == 403
    for body in (b"{", b"[" * 8000, b'{"path": "/tmp/x.csv", "url": "http://127.0.0.1/file=/tmp/x.csv"}', b"\xff"):
        assert ask(OPEN, f"{API}/queue/join", "POST", [body])[0] == 200


def test_what_goes_wrong_inside_has_the_headers_too() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/config":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError

    for path, statuses in (("/theme.css", [500]), ("/", [500]), ("/config", [200])):
        sent.clear()
        scope = {"type": "http", "path": path, "method": "GET", "headers": [(b"host", b"localhost")]}
        with pytest.raises(KeyError):
            asyncio.run(Guard(broken, OPEN)(scope, receive, send))
        started = [message for message in sent if message["type"] == "http.response.start"]
        assert [message["status"] for message in started] == statuses
        assert b"nosniff" in dict(started[0]["headers"]).values()


def test_a_body_has_a_largest_size_declared_or_not() -> None:
    path = f"{API}/call/classify"
    assert ask(OPEN, path, "POST", [b"x" * MAX_BODY])[2].endswith(str(MAX_BODY).encode())
    assert ask(OPEN, path, "POST", [b"x" * 4096] * 4 + [b"x"])[0] == 413
    assert ask(OPEN, path, "POST", content_length=str(30 << 20))[0] == 413
    assert ask(OPEN, path, "POST", content_length="-1")[0] == 413
    assert ask(OPEN, f"{API}/upload", "POST", [b"x" * LIMIT])[0] == 200
    assert ask(OPEN, f"{API}/upload", "POST", [b"x" * (LIMIT + 5000)])[0] == 413


def test_uploads_stop_when_the_store_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_STORED", 2 * LIMIT)
    rules = Rules(uploads=LIMIT, store=tmp_path)
    assert ask(rules, f"{API}/upload", "POST")[0] == 200
    (tmp_path / "before.csv").write_bytes(b"x" * LIMIT)
    (tmp_path / "gone.csv").symlink_to("nowhere")
    assert ask(rules, f"{API}/upload", "POST")[0] == 507
    assert ask(rules, f"{API}/queue/join", "POST")[0] == 200
    (tmp_path / "before.csv").unlink()
    assert ask(rules, f"{API}/upload", "POST")[0] == 200
    for i in range(LIMIT // guard.MAX_BODY * 4):
        (tmp_path / str(i)).write_bytes(b"x")
    assert ask(rules, f"{API}/upload", "POST")[0] == 507


def test_uploads_that_come_at_once_find_room_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_STORED", 3 * LIMIT)
    statuses: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x"}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def both(stands: Guard) -> None:
        scope = {"type": "http", "path": f"{API}/upload", "method": "POST", "headers": [(b"host", b"localhost")]}
        for _ in range(2):  # room that was kept free is free again
            await asyncio.gather(*[stands(scope, receive, send) for _ in range(4)])

    asyncio.run(both(Guard(app, Rules(uploads=LIMIT, store=tmp_path))))
    assert sorted(statuses) == [200] * 4 + [507] * 4


def test_nothing_but_the_start_signal_is_answered_without_the_password() -> None:
    rules = Rules(password="ann:långt lösenord")
    good = base64.b64encode("ann:långt lösenord".encode()).decode()
    for path in ("/", "/report/0", f"{API}/info"):
        status, headers, _ = ask(rules, path)
        assert status == 401
        assert headers["www-authenticate"].startswith("Basic ")
        assert ask(rules, path, authorization=f"Basic {good}")[0] == 200
    for wrong in (good[:-4], "", "Basic", "Basic ???", f"Bearer {good}", "Basic " + base64.b64encode(b"ann:").decode()):
        assert ask(rules, authorization=wrong)[0] == 401
    assert ask(rules, f"{API}/startup-events")[0] == 200


def test_browsers_are_told_what_not_to_do() -> None:
    _, page, body = ask(OPEN)
    assert page["x-content-type-options"] == "nosniff"
    assert page["referrer-policy"] == "no-referrer"
    assert page["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page["content-security-policy"]
    assert "unsafe-eval" not in page["content-security-policy"]
    nonce = page["content-security-policy"].split("'nonce-")[1].split("'")[0]
    assert body == f'<script nonce="{nonce}">1</script>0'.encode()
    assert page["content-length"] == str(len(body))
    assert nonce not in ask(OPEN)[1]["content-security-policy"]
    _, report, body = ask(OPEN, "/report/0")
    assert "sandbox" in report["content-security-policy"]
    assert "frame-ancestors 'self'" in report["content-security-policy"]
    assert report["x-frame-options"] == "SAMEORIGIN"
    assert b"nonce" not in body
    assert ask(OPEN, "/docs")[1]["x-content-type-options"] == "nosniff"


def test_headers_that_are_given_twice_are_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> Any:
        raise AssertionError

    hosts = [(b"host", b"localhost"), (b"Host", b"evil.example")]
    scope = {"type": "http", "path": "/", "method": "GET", "headers": hosts}
    asyncio.run(Guard(never, OPEN)(scope, never, send))
    assert sent[0]["status"] == 400


def test_tools_are_served_on_request_alone() -> None:
    assert ask(Rules(mcp=True), f"{API}/mcp/", "POST")[0] == 200
    assert ask(Rules(mcp=True), f"{API}/mcp/sse", "DELETE")[0] == 200
    assert ask(Rules(mcp=True), f"{API}/mcpx", "POST")[0] == 404
