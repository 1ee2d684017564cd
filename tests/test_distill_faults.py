"""The command beside an endpoint that fails in every way it can be told to; budgets, kills, the key."""

import email.utils
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from distilling import KEY, ROOT, grown, new_rows, reasons
from teacher_server import Reply, TeacherServer, completion, serving

from pipeline.errors import BusyError, PipelineError, StoppedError
from pipeline.locking import Lock

pytestmark = pytest.mark.usefixtures("api_key")


def test_no_more_calls_at_a_time_than_allowed(lopsided: Path, server: TeacherServer, tmp_path: Path) -> None:
    server.delay = 0.05
    grown(lopsided, server, tmp_path / "out", write=60, concurrency=3)
    assert server.most_at_once == 3


FAULTS = {
    "429": Reply(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"}),
    "500": Reply(500, b'{"error": {"message": "oops"}}'),
    "503": Reply(503, b"<html>busy</html>", {"Content-Type": "text/html"}),
    "no json": Reply(200, b'{"choices": [{"ind'),
    "html": Reply(200, b"<html>hello</html>", {"Content-Type": "text/html"}),
    "cut": Reply(200, completion("[]"), cut=30),
    "nothing": Reply(200, b""),
    "no choices": Reply(200, b'{"choices": []}'),
    "null choices": Reply(200, b'{"choices": null, "error": "x"}'),
    "a list": Reply(200, b"[1, 2]"),
    "slow": Reply(200, completion("[]"), delay=1.5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_is_repeated(lopsided: Path, server: TeacherServer, tmp_path: Path, fault: str) -> None:
    plain = grown(lopsided, server, tmp_path / "plain")
    calls = len(server.requests)
    server.script = lambda number, body: FAULTS[fault] if number == calls else None
    dataset = grown(lopsided, server, tmp_path / "out", timeout=0.5, concurrency=1)
    assert (dataset.folder / "train.json").read_bytes() == (plain.folder / "train.json").read_bytes()
    assert len(server.requests) == 2 * calls + 1
    assert server.requests[calls] == server.requests[calls + 1]
    assert dataset.manifest["distilled"][0]["cost"]["calls"] == calls


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_kept_by_all_calls(lopsided: Path, server: TeacherServer, tmp_path: Path, as_date: bool) -> None:
    def busy(number: int, body: dict[str, Any]) -> Reply | None:
        value = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1"
        return Reply(429, b"{}", {"Retry-After": value}) if number == 0 else None

    server.script = busy
    grown(lopsided, server, tmp_path / "out", write=40, concurrency=2)
    later = [moment - server.times[0] for moment in server.times]
    # What was under way beside the first call does not count.
    assert all(moment >= 0.95 for moment in later[3:])
    assert len(later) > 6


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401, json.dumps({"error": {"message": f"Incorrect API key: {KEY[:7]}****6789 {KEY}"}}).encode()),
         "HTTP 401: Incorrect API key: *** ***; set OPENAI_API_KEY"),
        (Reply(404, b'{"error": {"message": "no such model"}}'), "HTTP 404: no such model"),
        (Reply(400, b'{"error": {"message": "unknown field seed"}}'), "--request"),
        (Reply(429, b'{"error": {"message": "pay first", "code": "insufficient_quota"}}'), "HTTP 429: pay first"),
        (Reply(429, b"{}", {"Retry-After": "7200"}), "asks to wait 7,200 s"),
        (Reply(500, b"{}"), "got HTTP 500, 3 times in a row"),
    ],
)  # fmt: skip
def test_what_no_repetition_helps_is_told_at_once(
    lopsided: Path, server: TeacherServer, tmp_path: Path, reply: Reply, said: str
) -> None:
    server.script = lambda number, body: reply
    with pytest.raises(PipelineError) as refused:
        grown(lopsided, server, tmp_path / "out", retries=2, concurrency=1)
    assert said in str(refused.value)
    assert KEY not in str(refused.value)
    assert KEY[:8] not in str(refused.value)
    assert len(server.requests) == (3 if reply.status == 500 else 1)
    assert not (tmp_path / "out").exists()


def test_nobody_there(lopsided: Path, tmp_path: Path) -> None:
    with serving(TeacherServer()) as gone:
        pass
    with pytest.raises(PipelineError, match="no connection"):
        grown(lopsided, gone, tmp_path / "out", retries=1)
    assert not list(tmp_path.iterdir())


def test_finished_calls_are_told_of_where_there_are_some(
    lopsided: Path, server: TeacherServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    priced: dict[str, Any] = {"price_in": 1000.0, "price_out": 1000.0, "max_cost": 0.001}
    with pytest.raises(StoppedError, match="larger --max_cost") as stopped:
        grown(lopsided, server, tmp_path / "out", **priced)
    with serving(TeacherServer()) as gone:
        pass
    with pytest.raises(PipelineError, match="when it answers again") as alone:
        grown(lopsided, gone, tmp_path / "out", retries=0)
    assert not any("kept" in said for said in (str(stopped.value), str(alone.value), caplog.text))
    server.script = lambda number, body: FAULTS["500"] if number else None
    with pytest.raises(PipelineError, match="when it answers again"):
        grown(lopsided, server, tmp_path / "out", retries=0, concurrency=1)
    assert f"{tmp_path / 'out.calls'}: finished calls are kept there (1)" in caplog.text


def test_an_answer_without_its_form_is_asked_for_again_with_another_seed(
    lopsided: Path, server: TeacherServer, tmp_path: Path
) -> None:
    said = {0: Reply(body=completion("Sure! 1. sold it")), 1: Reply(body=completion(None, refusal="I must decline."))}
    server.script = lambda number, body: said.get(number)
    dataset = grown(lopsided, server, tmp_path / "out", write=5, concurrency=1)
    assert len(new_rows(dataset)) == 5
    assert len({body["seed"] for body in server.requests}) == len(server.requests) == 3
    assert dataset.manifest["distilled"][0]["cost"]["calls"] == 3


@pytest.mark.parametrize("said", [None, "", "  ", [{"type": "text", "text": "[]"}]])
def test_an_order_that_is_answered_with_no_text_is_given_up_and_paid_for(
    lopsided: Path, server: TeacherServer, tmp_path: Path, said: Any
) -> None:
    """As filters of content do, the same for the same order: it must not stand in the way of the others for ever."""

    def silent(number: int, body: dict[str, Any]) -> Reply | None:
        order = json.loads(body["messages"][1]["content"])["order"]
        return Reply(body=completion(said)) if order == server.orders()[0]["order"] else None

    server.script = silent
    dataset = grown(lopsided, server, tmp_path / "out", write=10, concurrency=1)
    assert len(new_rows(dataset)) == 10
    assert reasons(dataset)["no answer"] == 1
    assert dataset.manifest["distilled"][0]["cost"]["calls"] == len(server.requests) == 6
    assert dataset.manifest["distilled"][0]["cost"]["tokens_out"] == 6 * 50


def test_refusals_are_counted_as_such(lopsided: Path, server: TeacherServer, tmp_path: Path) -> None:
    def refuse(number: int, body: dict[str, Any]) -> Reply | None:
        said = ["I'm sorry, but I can't help with that.", "no json at all"][number % 2 if number < 6 else 0]
        return Reply(body=completion(said)) if number < 6 else None

    server.script = refuse
    dataset = grown(lopsided, server, tmp_path / "out", write=10, concurrency=1)
    assert len(new_rows(dataset)) == 10
    found = reasons(dataset)
    assert (found["refusal"], found["no answer"]) == (1, 1)


def test_the_budget_stops_the_work_and_the_same_command_goes_on(
    lopsided: Path, server: TeacherServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"write": 40, "concurrency": 3}
    with pytest.raises(StoppedError, match="larger --max_calls") as stopped:
        grown(lopsided, server, tmp_path / "out", **options, max_calls=3)
    assert stopped.value.exit_code == 3
    assert len(server.requests) == 3
    assert not (tmp_path / "out").exists()
    with pytest.raises(StoppedError):
        grown(lopsided, server, tmp_path / "out", **options, max_calls=5)
    assert len(server.requests) == 5
    dataset = grown(lopsided, server, tmp_path / "out", **options, max_calls=50)
    assert len(server.paid) == len(set(server.paid)) == dataset.manifest["distilled"][0]["cost"]["calls"]
    again = grown(lopsided, server, tmp_path / "again", **options)
    assert (again.folder / "train.json").read_bytes() == (dataset.folder / "train.json").read_bytes()


def test_the_cost_is_never_more_than_allowed(lopsided: Path, server: TeacherServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"write": 300, "concurrency": 4, "price_in": 1000.0, "price_out": 1000.0}
    with pytest.raises(StoppedError, match="larger --max_cost"):
        grown(lopsided, server, tmp_path / "out", **options, max_cost=6.0)
    # A call costs 0.15, and could cost a few units at the most: up to that the bound is used.
    assert 2.0 < len(server.paid) * 150 * 1000 / 1e6 <= 6.0

    # A longer answer may be asked for; then that is its bound.
    before = len(server.paid)
    with pytest.raises(StoppedError, match="the next call may cost 10"):
        grown(lopsided, server, tmp_path / "long", **options, max_cost=90.0, request='{"max_tokens": 100000}')
    assert len(server.paid) == before
    server.usage = False
    with pytest.raises(PipelineError, match="bound the calls instead"):
        grown(lopsided, server, tmp_path / "other", **options, max_cost=20.0)


def command(lopsided: Path, server: TeacherServer, out: Path, *more: str) -> list[str]:
    options = ["--dataset", str(lopsided), "--teacher", server.address, "--model", "teacher", "--scenes", "bitcoin"]
    options += ["--label", "Negative", "--write", "120", "--check", "--any_language", "--out", str(out), *more]
    return [sys.executable, "-m", "pipeline.distill", *options]


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_goes_on_and_pays_for_nothing_twice(
    lopsided: Path, server: TeacherServer, tmp_path: Path, how: signal.Signals
) -> None:
    calm = grown(lopsided, server, tmp_path / "calm", write=120, check=True)
    before, whole = len(server.paid), len(set(server.paid))
    server.delay = 0.05
    in_flight, out = 4, tmp_path / "out"
    for wait in (2, 9, 20):
        at_start = len(server.requests)
        process = subprocess.Popen(command(lopsided, server, out), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 120
        while len(server.requests) < at_start + wait and time.monotonic() < end and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 3), said
        assert "Traceback" not in said
        if how == signal.SIGTERM:
            assert "go on with the same command" in said
        assert not out.exists()
    time.sleep(0.2)
    with (tmp_path / "out.calls" / "calls.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"key": "0123", "te')
    done = subprocess.run(
        command(lopsided, server, out), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert (out / "train.json").read_bytes() == (calm.folder / "train.json").read_bytes()
    lost = 0 if how == signal.SIGTERM else 3 * in_flight
    assert whole <= len(server.paid) - before <= whole + lost
    leaves_no_key([tmp_path, lopsided.parent], done.stdout + done.stderr)


def leaves_no_key(folders: list[Path], *texts: str) -> None:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
        assert KEY[8:].encode() not in path.read_bytes(), path
    assert not any(KEY[8:] in text for text in texts)


def test_the_key_is_in_no_file_and_no_line(
    lopsided: Path,
    server: TeacherServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG", "pipeline")
    server.script = lambda number, body: FAULTS["500"] if number == 0 else None
    grown(lopsided, server, tmp_path / "out", agreement=3, check=True)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    out, err = capfd.readouterr()
    leaves_no_key([tmp_path, lopsided.parent], caplog.text, out, err)


def test_what_was_not_begun_when_it_is_stopped_is_not_begun_any_more(
    lopsided: Path, server: TeacherServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ThreadPoolExecutor.submit
    server.delay = 0.2

    def stopped(self: ThreadPoolExecutor, *arguments: Any) -> Any:
        if len(handed) == 5:
            raise KeyboardInterrupt
        handed.append(submit(self, *arguments))
        return handed[-1]

    handed: list[Any] = []
    monkeypatch.setattr(ThreadPoolExecutor, "submit", stopped)
    with pytest.raises(StoppedError, match="go on with the same command"):
        grown(lopsided, server, tmp_path / "out", write=300, concurrency=2)
    assert len(server.requests) <= 4


def test_two_commands_do_not_share_the_calls(lopsided: Path, server: TeacherServer, tmp_path: Path) -> None:
    folder = tmp_path / "out.calls"
    folder.mkdir()
    with Lock(folder) as lock:
        lock.take()
        with pytest.raises(BusyError, match="another run is distilling into it"):
            grown(lopsided, server, tmp_path / "out")
    assert not server.requests
