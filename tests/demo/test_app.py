"""The command that serves the demo: what it refuses before a model is loaded, and the demo served for real."""

import ast
import asyncio
import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp
import mcp.client.streamable_http as streamable_http
import pytest
from demo_server import get, served

import app
from pipeline.demo import serving
from pipeline.errors import PipelineError

PASSWORD = "ann:long enough"  # noqa: S105
HEADER = "Basic " + base64.b64encode(PASSWORD.encode()).decode()


def send_file(url: str, name: bytes, content: bytes, run: str) -> None:
    """Sends a file and asks for its labels, as the page does."""
    form = b'--B\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--B--\r\n' % (
        name,
        content,
    )
    _, _, sent = get(f"{url}gradio_api/upload", form, Content_Type="multipart/form-data; boundary=B")
    file = {"path": json.loads(sent)[0], "meta": {"_type": "gradio.FileData"}}
    functions = json.loads(get(f"{url}config")[2])["dependencies"]
    number = next(each["id"] for each in functions if each["api_name"] == "label")
    asked = {"data": [file, "", run], "fn_index": number, "session_hash": "mine"}
    assert get(f"{url}gradio_api/queue/join", json.dumps(asked).encode(), Content_Type="application/json")[0] == 200


def label_file(url: str, name: bytes, content: bytes, run: str) -> list[Any]:
    """What the page gets for a file."""
    send_file(url, name, content, run)
    told = get(f"{url}gradio_api/queue/data?session_hash=mine")[2].decode()
    messages = [json.loads(line.removeprefix("data: ")) for line in told.split("\n") if line.startswith("data: ")]
    answer: list[Any] = next(each for each in messages if each["msg"] == "process_completed")["output"]["data"]
    return answer


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        app.main(list(map(str, arguments)))
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    return said


@pytest.fixture(scope="module")
def address(judged: tuple[Path, Path], easy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo of two runs, of which the first has a report; variables that would open it are set."""
    run, report = judged
    home = tmp_path_factory.mktemp("home")
    opened = {
        "GRADIO_SHARE": "true",
        "GRADIO_ALLOWED_PATHS": "/",
        "GRADIO_MCP_SERVER": "true",
        "GRADIO_ROOT_PATH": "/x",
    }
    with served("--run", run, easy_run, "--report", report, home=home, **opened) as (url, _):
        yield url


def test_the_api_answers_and_refuses(address: str, judged: tuple[Path, Path], easy_run: Path) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    answer = client.predict("so happy", api_name="/classify")
    assert answer["label"] == answer["completion"] == "Positive"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["confidence"] == answer["probabilities"]["Positive"]
    assert isinstance(answer["abstained"], bool | None)
    assert answer["run"] == str(judged[0])
    other = client.predict(tweet="so happy", run=str(easy_run), api_name="/classify")
    assert other["probabilities"] == pytest.approx(answer["probabilities"])
    for tweet, expected in (("x" * 5000, "at most 1,000 characters"), ("  ", "Type a tweet first")):
        with pytest.raises(AppError, match=expected):
            client.predict(tweet, api_name="/classify")
    with pytest.raises(AppError, match="run: expected one of"):
        client.predict("so happy", "../../etc", api_name="/classify")
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/classify"]


def test_nothing_of_a_file_is_logged_and_it_stops_at_once_while_it_labels_one(easy_run: Path, tmp_path: Path) -> None:
    rows = b"".join(b"%d %s\n" % (i, b"word " * 180) for i in range(1000))
    store = tmp_path / "store"
    store.mkdir()
    with served("--run", easy_run, home=tmp_path, TMPDIR=str(store)) as (url, _):
        answer = label_file(url, b"secret name.csv", b"secret tweet\nso sad\nlove it\n", "easy")
        assert [row[0] for row in answer[3]["data"]][-2:] == ["so sad", "love it"]
        (said,) = tmp_path.glob("app-*.txt")
        assert "the demo is at" in said.read_text()
        assert "secret" not in said.read_text()
        send_file(url, b"long.csv", b"tweet\n" + rows, "easy")
        while not list(store.rglob("part-*")):
            time.sleep(0.01)
    assert not list(store.glob("sentiment-tuner-*"))


def test_the_lines_that_the_page_shows_work(address: str) -> None:
    from pipeline.demo.page import api_lines

    python, curl = re.findall(r"```\w+\n(.*?)```", api_lines(address, mcp=False), re.DOTALL)
    said = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True, timeout=60).stdout
    answer = json.loads(said.split("data: ")[1])
    assert set(answer[0]["probabilities"]) == {"Negative", "Neutral", "Positive"}
    said = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True, timeout=60).stdout
    assert ast.literal_eval(said.splitlines()[-1]) == answer[0]


def test_requests_cannot_pass_by_the_queue(address: str) -> None:
    data = b'{"data": ["love it"]}'
    assert get(f"{address}gradio_api/run/classify", data, Content_Type="application/json")[0] == 404
    assert get(f"{address}gradio_api/queue/join", b"x" * 20_000)[0] == 413


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=/etc/passwd", "gradio_api/file=%2Fetc%2Fpasswd", "gradio_api/file=/proc/self/environ",
        "gradio_api/file=file:///etc/passwd", "gradio_api/file=http://127.0.0.1:1/", "gradio_api/file=app.py",
        "gradio_api/mcp/", "docs", "openapi.json", "monitoring", "report/2",
    ],
)  # fmt: skip
def test_nothing_else_is_served(address: str, path: str) -> None:
    assert get(address + path)[0] in (403, 404)


def test_the_page_and_the_report_come_with_policies(address: str, judged: tuple[Path, Path]) -> None:
    status, headers, body = get(address)
    assert status == 200
    nonce = re.search(r"'nonce-([\w-]+)'", headers["content-security-policy"])
    assert nonce is not None
    assert body.count(b"<script") == body.count(f'<script nonce="{nonce[1]}"'.encode()) > 0
    status, headers, body = get(f"{address}report/0")
    assert status == 200
    assert body == (judged[1] / "report.html").read_bytes()
    assert "sandbox" in headers["content-security-policy"]
    assert get(address, Host="evil.example")[0] == 421


async def call_tool(url: str) -> dict[str, Any]:
    """What the only tool of a demo says."""
    opened = streamable_http.streamablehttp_client(f"{url}gradio_api/mcp/", headers={"Authorization": HEADER})
    async with opened as (read, write, _), mcp.ClientSession(read, write) as session:
        await session.initialize()
        (tool,) = (await session.list_tools()).tools
        answer = await session.call_tool(tool.name, {"tweet": "so happy"})
        (said,) = answer.content
        assert isinstance(said, mcp.types.TextContent)
        return dict(ast.literal_eval(said.text))


@pytest.mark.thorough
def test_a_language_model_may_call_it_as_a_tool(easy_run: Path, tmp_path: Path) -> None:
    with served("--run", easy_run, "--mcp", home=tmp_path) as (url, _):
        assert asyncio.run(call_tool(url))["label"] == "Positive"


def test_a_password_is_asked_for_by_page_api_and_tool(easy_run: Path, tmp_path: Path) -> None:
    from gradio_client import Client

    (tmp_path / "secret").write_text(PASSWORD + "\n")
    with served("--run", easy_run, "--mcp", "--auth", "secret", home=tmp_path) as (url, process):
        assert [get(url + path)[0] for path in ("", "gradio_api/info", "gradio_api/mcp/")] == [401] * 3
        assert get(url, Authorization=HEADER)[0] == 200
        client = Client(
            url, verbose=False, httpx_kwargs={"auth": tuple(PASSWORD.split(":"))}, headers={"Authorization": HEADER}
        )
        assert client.predict("so happy", api_name="/classify")["label"] == "Positive"
        assert asyncio.run(call_tool(url))["label"] == "Positive"
        assert get(f"{url}gradio_api/mcp/", b"{}", Host="evil.example")[0] == 421
        shown = Path(f"/proc/{process}/cmdline")
        assert not shown.exists() or "long enough" not in shown.read_text()


def test_a_busy_port_is_found_before_the_model_is_loaded(
    easy_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.demo.shelf import Shelf

    monkeypatch.setattr(Shelf, "open", lambda *_: pytest.fail("loaded"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(capsys, "--run", easy_run, "--port", taken.getsockname()[1])
    assert said.startswith("python app.py: --host 127.0.0.1, --port")
    assert "in use" in said
    assert "cannot listen there" in refused(capsys, "--run", easy_run, "--host", "no.such.host.invalid")


def test_what_cannot_be_is_refused_in_a_line(
    easy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "no colon here")
    (tmp_path / "short").write_text("ann:short")
    assert "expected --auth with it" in refused(capsys, "--run", easy_run, "--share")
    assert "0 to 65535" in refused(capsys, "--run", easy_run, "--port", 70_000)
    for name in ("https://demo.example.org", "demo.example.org:443"):
        assert f"without https:// or port, got {name}" in refused(capsys, "--run", easy_run, "--hosts", name)
    assert "no such folder" in refused(capsys, "--run", tmp_path / "none")
    for given in ("env:SECRET", "env:NONE", tmp_path / "short", tmp_path / "none"):
        said = refused(capsys, "--run", easy_run, "--auth", given)
        assert "expected user:password" in said
        assert "no colon here" not in said
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert 'pip install "mcp>=1.21,<2"' in refused(capsys, "--run", easy_run, "--mcp")


def test_a_password_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("ann:with:colons and é\n", encoding="utf-8")
    monkeypatch.setenv("SECRET", "ann:long enough")
    assert serving.password_of(str(tmp_path / "secret")) == "ann:with:colons and é"
    assert serving.password_of("env:SECRET") == "ann:long enough"
    assert serving.password_of(None) is None
    with pytest.raises(PipelineError):
        serving.password_of(str(tmp_path))
