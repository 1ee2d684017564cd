"""Trainings that are killed, stopped, starved and started twice: a small part of ``python -m benchmarks.faults``."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks.faults import faults
from benchmarks.faults.bench import OPTIONS, Bench, warm_up
from pipeline import train
from pipeline.artifacts import sha256_of

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # seconds; what takes longer hangs


def _begin(bench: Bench) -> None:
    warm_up()
    bench.build()
    bench.reference()


def _all(outcomes: Callable[[], Iterable[bool]]) -> list[bool]:
    return list(outcomes())


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Executor]]:
    """A bench, and a process that forks its trainings; it is a fresh one, for a fork inherits locks of threads."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TOKENIZERS_PARALLELISM", "false")
        environment.setenv("OMP_NUM_THREADS", "1")
        with ProcessPoolExecutor(1, get_context("spawn")) as executor:
            executor.submit(_begin, bench).result(timeout=PATIENCE)
            yield bench, executor


@pytest.fixture
def survives(workshop: tuple[Bench, Executor]) -> Callable[..., None]:
    """Does a fault on the bench and makes sure that every try came out well."""

    def run(fault: Callable[..., Iterable[bool]], *arguments: object) -> None:
        bench, executor = workshop
        outcomes = executor.submit(_all, partial(fault, bench, *arguments)).result(timeout=PATIENCE)
        assert outcomes == [True] * len(outcomes) != []

    return run


def test_the_same_training_gives_the_same_bytes(survives: Callable[..., None]) -> None:
    survives(faults.repeats, 1)


@pytest.mark.thorough
def test_kills_at_random_moments_cost_nothing(survives: Callable[..., None]) -> None:
    survives(faults.kills, 6, 1, 2)


@pytest.mark.thorough
def test_deaths_between_files_cost_nothing(survives: Callable[..., None]) -> None:
    # Every point of one checkpoint is tried without training, in model/test_checkpoints.py.
    survives(faults.kills_between, (5, 13))
    survives(faults.deaths, ("pipeline.model.training._check_reload", "pipeline.train.write_manifest"))
    survives(faults.deaths, ("pipeline.train._tidy",))


@pytest.mark.parametrize(
    ("kind", "name"), [("missing", "MANIFEST.json"), ("half", "optimizer.pt"), ("flipped", "rng_state.pth")]
)
def test_a_damaged_checkpoint_costs_only_time(survives: Callable[..., None], kind: str, name: str) -> None:
    survives(faults.damages, [kind], [name])


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, ("training", 7)),
        (signal.SIGINT, ("validating", 1)),
        (signal.SIGTERM, ("validating", 2)),
        (signal.SIGINT, ("saving", 2)),
    ],
)
def test_a_signal_leaves_a_checkpoint(
    survives: Callable[..., None], number: signal.Signals, moment: tuple[str, int]
) -> None:
    survives(faults.signals, [moment], number)


def test_a_second_signal_ends_it_at_once(survives: Callable[..., None]) -> None:
    survives(faults.two_signals, [("training", 8), ("validating", 1)])


def test_a_full_disk_is_code_4_and_costs_no_checkpoint(survives: Callable[..., None]) -> None:
    survives(faults.full_disks, (5, 60), errno.ENOSPC)
    survives(faults.small_files, (3_000,))


def test_no_memory_is_code_4_and_costs_no_checkpoint(survives: Callable[..., None]) -> None:
    survives(faults.no_memory, ["limit"])


def test_what_has_changed_is_refused_and_named(survives: Callable[..., None]) -> None:
    survives(faults.changes)


def test_a_finished_run_is_left_alone(survives: Callable[..., None]) -> None:
    survives(faults.finished, 2)


def test_of_several_starts_one_trains(survives: Callable[..., None]) -> None:
    survives(faults.crowds, 1, 5)


def test_a_killed_holder_of_the_lock_holds_nobody_up(survives: Callable[..., None]) -> None:
    survives(faults.stale_locks, 1)


# --- the command itself


def start(*arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.train", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )


@pytest.mark.thorough
def test_a_real_process_stops_with_code_3_and_another_with_another_hash_seed_goes_on(
    workshop: tuple[Bench, Executor],
) -> None:
    bench, executor = workshop
    longer = ("--max_steps", "40", "--epochs", "9", "--evaluations", "10")
    log = bench.folder / "real" / "training.jsonl"
    with start(*bench.command("real", *longer)) as process:
        end = time.monotonic() + PATIENCE
        while not (log.exists() and log.read_text()) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (3, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"python -m pipeline.train: {bench.folder / 'real'}: stopped after step ")
    assert last.endswith(" of 40; go on with the same command and --resume")
    assert "Traceback" not in err
    for name in ("real", "whole"):
        assert executor.submit(bench.train, name, *longer).result(timeout=PATIENCE) == 0
    assert bench.result("real") == bench.result("whole")
    assert f"{bench.folder / 'real'}\n" in bench.said("real")
    assert not (bench.folder / "real" / "checkpoints").exists()
    assert not (bench.folder / "real" / ".lock").exists()


def failing(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        train.main([*map(str, arguments), *OPTIONS])
    return int(stopped.value.code or 0), capsys.readouterr().err


def test_without_resume_an_unfinished_run_is_not_touched(
    workshop: tuple[Bench, Executor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, _ = workshop
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text("seed: 1\n")
    paths = ("--dataset", bench.folder / "prepared", "--base_model", bench.folder / "model", "--out", out)
    code, said = failing(capsys, *paths)
    assert code == 1
    assert f"{out}: already exists and is unfinished; go on with --resume, choose another --out, or remove it" in said
    assert [path.name for path in out.iterdir()] == ["config.yaml"]


def test_a_folder_that_is_no_run_is_not_gone_on_with(
    workshop: tuple[Bench, Executor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, _ = workshop
    (tmp_path / "letters.txt").write_text("mine")
    paths = ("--dataset", bench.folder / "prepared", "--base_model", bench.folder / "model", "--out", tmp_path)
    code, said = failing(capsys, *paths, "--resume")
    assert code == 1
    assert "expected a run that was stopped, got a folder without its config.yaml" in said
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]
    (tmp_path / "adapter").mkdir()
    (tmp_path / "config.yaml").write_text("theme: dark\n")  # of another program
    assert failing(capsys, *paths, "--resume")[0] == 1
    assert (tmp_path / "config.yaml").read_text() == "theme: dark\n"
    assert (tmp_path / "adapter").is_dir()
    assert failing(capsys, *paths[:-1], bench.folder / "prepared", "--resume")[0] == 1


@pytest.mark.parametrize("name", ["n" * 256, "a\0b"])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_name_that_cannot_be_is_one_line(
    workshop: tuple[Bench, Executor], capsys: pytest.CaptureFixture[str], name: str, resume: list[str]
) -> None:
    bench, _ = workshop
    paths = ("--dataset", bench.folder / "prepared", "--base_model", bench.folder / "model", "--out", name)
    code, said = failing(capsys, *paths, *resume)
    assert code == 1
    assert "expected a place to write to" in said


def test_a_run_without_a_good_checkpoint_is_refused(
    workshop: tuple[Bench, Executor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, _ = workshop
    out = tmp_path / "run"
    (out / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    shutil.copy(bench.folder / "reference" / "config.yaml", out)
    paths = ("--dataset", bench.folder / "prepared", "--base_model", bench.folder / "model", "--out", out)
    for _ in range(2):
        code, said = failing(capsys, *paths, "--resume")
        assert code == 1
        assert f"all of them are damaged; remove {out / 'checkpoints'} to begin again, or choose another --out" in said


def test_a_finished_run_of_other_options_is_refused(
    workshop: tuple[Bench, Executor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, _ = workshop
    out = shutil.copytree(bench.folder / "reference", tmp_path / "run")
    before = {path: sha256_of(path) for path in out.rglob("*") if path.is_file()}
    moved = shutil.copytree(bench.folder / "model", tmp_path / "moved")
    same = ("--dataset", "gone", "--base_model", moved, "--out", out, "--resume")
    assert failing(capsys, *same)[0] == 0  # it is the same model, and the data set is not needed any more
    for change, told in (
        (("--seed", "5"), "seed 42 -> 5;"),
        (("--lora.r", "3", "--epochs", "5"), "epochs "),
        (("--precision", "bf16"), "precision fp32 -> bf16;"),
        (("--base_model", "smollm2-135m"), f"base_model {bench.folder / 'model'} -> smollm2-135m;"),
    ):
        with pytest.raises(SystemExit) as stopped:
            train.main([*map(str, same), *OPTIONS, *change])
        said = capsys.readouterr().err
        assert (stopped.value.code, said.count("\n")) == (1, 1)
        assert f"{out}: is finished already, and was made with other options: {told}" in said
        assert said.endswith("; choose another --out\n")
    assert {path: sha256_of(path) for path in out.rglob("*") if path.is_file()} == before
