"""Results in parts: deaths at any moment, damage, a full disk, and what is not a result in parts."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from conftest import make_rows
from predicting import PATIENCE, TWEETS, command, write_csv

from pipeline import parts, predict
from pipeline.dataset import writing
from pipeline.errors import PipelineError
from pipeline.locking import Lock


class DeathError(BaseException):
    """Ends a command where a power cut would: nothing is cleaned up that a command cleans up for itself."""


def deaths() -> Iterator[tuple[str, int]]:
    """Points at which a command that writes five parts dies: before the nth call of what reaches the disk."""
    yield from (("sync", n) for n in range(1, 17, 2))
    yield from (("write", n) for n in range(1, 6))
    yield from (("fsync", n) for n in range(1, 22, 3))
    yield from (("replace", n) for n in range(1, 6))
    yield from (("unlink", n) for n in range(1, 10))
    yield from (("rmtree", n) for n in range(1, 2))


@pytest.mark.thorough
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_death_between_any_two_steps_costs_nothing(
    easy_run: Path, one_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    source = write_csv(tmp_path / "a.csv", [row.input for row in make_rows(40)])
    arguments = ("--run", easy_run, "--source", source, "--rows_at_once", 9)
    assert command(*arguments, "--out", tmp_path / f"whole.{suffix}") == 0
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    owners: dict[str, tuple[Any, str]] = {
        "sync": (parts, "sync"), "write": (writing, "write_part"), "fsync": (os, "fsync"),
        "replace": (Path, "replace"), "unlink": (Path, "unlink"), "rmtree": (shutil, "rmtree"),
    }  # fmt: skip
    died = 0
    for i, (what, number) in enumerate(deaths()):
        out, calls = tmp_path / f"{i}.{suffix}", iter(range(1, 1000))
        with monkeypatch.context() as patch:
            real = getattr(*owners[what])

            def dying(*given: Any, real: Any = real, calls: Any = calls, number: int = number, **named: Any) -> Any:
                if next(calls) == number:
                    raise DeathError
                return real(*given, **named)

            patch.setattr(*owners[what], dying)
            try:
                command(*arguments, "--out", out)
            except DeathError:
                died += 1
            else:
                assert out.exists()
        assert command(*arguments, "--out", out, "--resume") == 0, (what, number)
        assert out.read_bytes() == whole, (what, number)
        assert not parts.Parts(out).folder.exists()
    assert died >= 20


@pytest.mark.thorough
def test_kills_at_random_moments_cost_nothing(easy_run: Path, one_model: object, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", [row.input for row in make_rows(200)])
    arguments = ("--run", easy_run, "--source", source, "--rows_at_once", 5)
    # The first fills the memory of the model, whose answers the processes that are forked from here then have.
    assert command(*arguments, "--out", tmp_path / "first.csv") == 0
    before = time.monotonic()
    assert command(*arguments, "--out", tmp_path / "whole.csv") == 0
    seconds = time.monotonic() - before
    kills, rng = 0, random.Random(1)
    for i in range(30):  # until there were enough: how long a process lives depends on what else the machine does
        out = tmp_path / f"{i}.csv"
        for _ in range(50):
            process = get_context("fork").Process(target=command, args=(*arguments, "--out", out, "--resume"))
            process.start()
            process.join(rng.random() * seconds / 4)
            kills += process.is_alive()
            process.kill()
            process.join(PATIENCE)
            if out.exists():
                break
        assert command(*arguments, "--out", out, "--resume") == 0
        assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
        assert not parts.Parts(out).folder.exists()
        if kills >= 10:
            break
    assert kills >= 10


@pytest.mark.parametrize("damage", ["flip", "gone", "line"])
def test_a_damaged_part_is_done_again(
    easy_run: Path, one_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    source = write_csv(tmp_path / "a.csv", TWEETS)
    arguments = ("--run", easy_run, "--source", source, "--rows_at_once", 8)
    assert command(*arguments, "--out", tmp_path / "whole.csv") == 0
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "join", lambda *_: (_ for _ in ()).throw(PipelineError("stop here")))
        assert command(*arguments, "--out", out) == 1
    folder = parts.Parts(out).folder
    part = folder / "part-000002"
    if damage == "flip":
        part.write_bytes(part.read_bytes().replace(b"e", b"a", 1))
    elif damage == "gone":
        part.unlink()
    else:
        lines = (folder / parts.FINISHED).read_text()
        (folder / parts.FINISHED).write_text(lines[: len(lines) - 70])
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "join", lambda *_: (_ for _ in ()).throw(PipelineError("stop here")))
        assert command(*arguments, "--out", out, "--resume") == 1
    # What was done again is whole now, and needs no third time.
    monkeypatch.setattr(predict, "load_classifier", lambda *_, **__: pytest.fail("the model was loaded"))
    assert command(*arguments, "--out", out, "--resume") == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_folder_of_something_else_is_left_alone(
    easy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_csv(tmp_path / "a.csv", TWEETS)
    (tmp_path / "b.csv.parts").mkdir()
    (tmp_path / "b.csv.parts" / "letters.txt").write_text("mine")
    assert command("--run", easy_run, "--source", source, "--out", tmp_path / "b.csv", "--resume") == 1
    assert "got a folder without begun.json" in capsys.readouterr().err
    (tmp_path / "b.csv").write_text("mine too")
    assert command("--run", easy_run, "--source", source, "--out", tmp_path / "b.csv", "--resume") == 1
    assert (tmp_path / "b.csv.parts" / "letters.txt").read_text() == "mine"
    with Lock(tmp_path / "b.csv.parts") as lock:
        lock.take()


def test_a_full_disk_is_code_4_and_costs_nothing(
    easy_run: Path,
    one_model: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write_csv(tmp_path / "a.csv", TWEETS), tmp_path / "out.csv"
    arguments = ("--run", easy_run, "--source", source, "--rows_at_once", 8)
    assert command(*arguments, "--out", tmp_path / "whole.csv") == 0
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, limits[1]))  # parts fit, the whole does not
        assert command(*arguments, "--out", out) == 4
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "free some space and run again" in capsys.readouterr().err
    assert command(*arguments, "--out", out, "--resume") == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
