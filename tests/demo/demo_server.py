"""The demo as its own process, as a user starts it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds; what takes longer hangs


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def served(*arguments: object, home: Path, **environment: str) -> Iterator[tuple[str, int]]:
    """The address of a demo that is up, and the id of its process; ``home`` is where it is started."""
    port = free_port()
    command = [sys.executable, str(ROOT / "app.py"), *map(str, arguments), "--port", str(port)]
    told = home / f"app-{port}.txt"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with told.open("w") as out:
        process = subprocess.Popen(
            command, cwd=home, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": path, **environment}
        )
    try:
        began = time.monotonic()
        while "the demo is at" not in told.read_text():
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                pytest.fail(f"the demo did not come up: {told.read_text()}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/", process.pid
    finally:
        process.terminate()
        code = process.wait(timeout=20)
    assert code == 0, f"exit code {code}: {told.read_text()}"


def get(
    url: str, data: bytes | None = None, method: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body; no redirect is followed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named, method=method)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
