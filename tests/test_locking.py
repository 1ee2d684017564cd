import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import BusyError
from pipeline.locking import LOCK, Lock

ROOT = Path(__file__).resolve().parents[1]
HOLDER = """
import sys, time
from pathlib import Path
from pipeline.locking import Lock
with Lock(Path(sys.argv[1])) as lock:
    lock.take()
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_and_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with Lock(tmp_path) as lock, pytest.raises(BusyError, match=rf"another run .* \(process {holder.pid}\); wait"):
            lock.take()
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=20)
    assert (tmp_path / LOCK).exists()
    with Lock(tmp_path) as lock:
        lock.take()
        lock.take()
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with Lock(tmp_path) as lock:
            lock.take()
            with Lock(tmp_path) as other, pytest.raises(BusyError):
                other.take()


def test_a_removed_lock_keeps_nobody_out_and_lets_one_in(tmp_path: Path) -> None:
    with Lock(tmp_path) as done:
        done.take()
        done.remove()
        assert not (tmp_path / LOCK).exists()
        # The file that ``done`` still holds is another one by now.
        with Lock(tmp_path) as first, Lock(tmp_path) as second:
            first.take()
            with pytest.raises(BusyError):
                second.take()


def test_a_lock_that_was_not_taken_leaves_nothing(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        lock.remove()
    assert list(tmp_path.iterdir()) == []
