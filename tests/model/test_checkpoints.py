"""Checkpoints on the disk: whole or not there, checked before use, enough to go on from."""

import dataclasses
import errno
import json
import os
import pickle
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import make_rows
from safetensors import SafetensorError

from benchmarks.faults.faults import DAMAGES, damage
from pipeline.artifacts import CHECKPOINTS, TRAINING_LOG, refuse_changes
from pipeline.errors import PipelineError, ShortageError
from pipeline.model import shortage
from pipeline.model.adapter import LoraSettings
from pipeline.model.base import resolve_base_model
from pipeline.model.checkpoints import Checkpoint, Checkpoints, newest
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer, place
from pipeline.model.processes import Processes
from pipeline.model.seals import SEAL, BrokenSealError, seal, unseal
from pipeline.model.shortage import check_room, is_out_of_memory, told_of_the_disk
from pipeline.model.stopping import Cut, Stop
from pipeline.model.training import TrainingResult, TrainingSettings, tune
from pipeline.task import Task

FINGERPRINT = {"seed": 1, "lora.r": 8}
SETTINGS = TrainingSettings(
    batch_size=4,
    micro_batch_size=2,
    epochs=9,
    max_steps=6,
    learning_rate=1e-2,
    warmup=0.1,
    evaluations=2,
    seed=1,
    checkpoint_steps=2,
)


def accuracy(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
    return {"macro_f1": sum(a == b for a, b in zip(y_true, y_pred, strict=True)) / len(y_true)}


def trained(
    tiny_llama: Path, folder: Path, resumed: Checkpoint | None = None, settings: TrainingSettings = SETTINGS
) -> TrainingResult:
    base = resolve_base_model(str(tiny_llama))
    folder.mkdir(exist_ok=True)
    return tune(
        base,
        place("fp32", "cpu"),
        Encoder(load_tokenizer(base), Task(), 128),
        make_rows(24),
        make_rows(6, start=100),
        lora=LoraSettings(4, 8, 0.1, ("q_proj", "v_proj")),
        settings=settings,
        score=accuracy,
        folder=folder,
        fingerprint=FINGERPRINT,
        resumed=resumed,
    )


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """A run whose checkpoints were not removed yet, and how it went."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, trained(tiny_llama, folder)


@pytest.fixture
def run(finished: tuple[Path, TrainingResult], tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    return shutil.copytree(finished[0], tmp_path / "run")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_is_a_checkpoint_every_few_steps_and_after_each_validation(run: Path) -> None:
    # Of those after steps 2, 3, 4 and 6 the last two stay.
    assert sorted(path.name for path in (run / CHECKPOINTS).glob("[!.]*")) == ["checkpoint-4", "checkpoint-6"]
    assert list((run / CHECKPOINTS / ".unfinished").iterdir()) == []
    found = newest(run)
    assert found == Checkpoint(run / CHECKPOINTS / "checkpoint-6", 6, FINGERPRINT)


def test_a_checkpoint_may_come_before_anything_is_logged(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = Checkpoints._complete

    def first_alone(self: Checkpoints, folder: Path, step: int, unlogged: float) -> None:
        complete(self, folder, step, unlogged)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "_complete", first_alone)
    often = dataclasses.replace(SETTINGS, max_steps=24, evaluations=1, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        trained(tiny_llama, tmp_path / "run", settings=often)
    found = newest(tmp_path / "run")
    assert found is not None
    assert (found.step, (found.folder / TRAINING_LOG).read_text()) == (1, "")


def test_a_checkpoint_holds_what_the_trainer_reads_and_no_other_pickle(run: Path) -> None:
    names = set(files(run / CHECKPOINTS / "checkpoint-6"))
    assert names >= {
        "adapter_model.safetensors",
        "trainer_state.json",
        "best/adapter/adapter_model.safetensors",
        TRAINING_LOG,
    }
    assert {name for name in names if not name.endswith((".json", ".jsonl", ".safetensors", ".md"))} == {
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
    }


def test_everybody_may_read_what_everybody_may_read_elsewhere(run: Path) -> None:
    before = os.umask(0o022)
    os.umask(before)
    for path in [*(run / CHECKPOINTS / "checkpoint-6").rglob("*"), *(run / "adapter").iterdir()]:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~before


def test_a_training_goes_on_with_the_same_bytes(
    tiny_llama: Path, finished: tuple[Path, TrainingResult], run: Path
) -> None:
    shutil.rmtree(run / CHECKPOINTS / "checkpoint-6")
    (run / TRAINING_LOG).write_text("what came after the checkpoint\n")
    found = newest(run)
    assert found is not None
    assert found.step == 4
    result = trained(tiny_llama, run, found)
    assert files(run / "adapter") == files(finished[0] / "adapter")
    assert log_of(run) == log_of(finished[0])
    times = {"seconds", "training_seconds", "tweets_per_second"}
    untimed = [{k: v for k, v in dataclasses.asdict(each).items() if k not in times} for each in (result, finished[1])]
    assert untimed[0] == untimed[1]
    assert result.seconds > found_seconds(found)


def log_of(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / TRAINING_LOG).read_text().splitlines())
    return [{k: v for k, v in line.items() if "per_second" not in k and "runtime" not in k} for line in lines]


def found_seconds(checkpoint: Checkpoint) -> float:
    return float(json.loads((checkpoint.folder / "progress.json").read_text())["seconds"])


def test_after_the_last_step_nothing_is_trained_again(
    tiny_llama: Path, finished: tuple[Path, TrainingResult], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pipeline.model.examples.CompletionLoss.__call__", never)
    trained(tiny_llama, run, newest(run))
    assert files(run / "adapter") == files(finished[0] / "adapter")
    assert log_of(run) == log_of(finished[0])


def test_patience_that_ran_out_before_is_out(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.1])
    monkeypatch.setattr(f"{__name__}.accuracy", lambda y_true, y_pred: {"macro_f1": next(scores)})
    impatient = dataclasses.replace(SETTINGS, evaluations=3, patience=1)
    result = trained(tiny_llama, tmp_path / "run", settings=impatient)
    assert result.steps == 4
    run = shutil.copytree(tmp_path / "run", tmp_path / "again")
    # Killed when it had ended: nothing is scored or trained again.
    again = trained(tiny_llama, run, newest(run), impatient)
    assert (again.steps, again.best_step) == (4, 2)
    assert files(run / "adapter") == files(tmp_path / "run" / "adapter")
    assert log_of(run) == log_of(tmp_path / "run")


def test_tensorboard_shows_no_step_twice(tiny_llama: Path, run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shutil.rmtree(run / CHECKPOINTS / "checkpoint-6")
    trained(tiny_llama, run, newest(run))
    assert len(list((run / "tensorboard").iterdir())) == 2
    curves = EventAccumulator(str(run / "tensorboard"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("eval/loss")] == [3, 6]
    assert [event.step for event in curves.Scalars("train/loss")] == [1, 2, 4, 5]


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damage_to_a_file_goes_unseen(
    run: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    last = run / CHECKPOINTS / "checkpoint-6"
    names = sorted(files(last))
    assert len(names) >= 12
    for number, name in enumerate(names):
        copy = shutil.copytree(run, tmp_path / f"{number}")
        damaged = copy / CHECKPOINTS / last.name / name
        damage(damaged, kind)
        found = newest(copy)
        assert found is not None
        assert found.step == 4
        assert f"{damaged}{'.more' * (kind == 'extra')}: " in caplog.messages[-1]
        [rejected] = (copy / CHECKPOINTS).glob("rejected-6-*")
        assert f"set aside as {rejected.name}, going back to the checkpoint before it" in caplog.messages[-1]
        assert not (copy / CHECKPOINTS / last.name).exists()


def test_no_bit_of_the_manifest_can_flip_unseen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    seal(tmp_path, {"step": 3, "fingerprint": FINGERPRINT})
    content = (tmp_path / SEAL).read_bytes()
    assert unseal(tmp_path)["fingerprint"] == FINGERPRINT
    for position in range(len(content)):
        for bit in (0, 3, 6):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            (tmp_path / SEAL).write_bytes(changed)
            try:
                record = unseal(tmp_path)
            except BrokenSealError:
                continue
            # White space between values is the only thing that may differ.
            assert record == {"schema_version": 1, "step": 3, "fingerprint": FINGERPRINT}
            assert json.loads(changed) == json.loads(content)


def test_a_link_is_no_file_of_its_own(run: Path, tmp_path: Path) -> None:
    path = run / CHECKPOINTS / "checkpoint-6" / "optimizer.pt"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BrokenSealError, match=r"optimizer\.pt: no longer a file of its own"):
        unseal(path.parent)


def test_a_checkpoint_under_another_number_is_not_used(run: Path) -> None:
    (run / CHECKPOINTS / "checkpoint-4").rename(run / CHECKPOINTS / "checkpoint-9")
    found = newest(run)
    assert found is not None
    assert found.step == 6


def test_where_all_checkpoints_are_damaged_it_says_so_each_time(run: Path) -> None:
    for folder in (run / CHECKPOINTS).glob("checkpoint-*"):
        (folder / "scheduler.pt").unlink()
    for _ in range(2):
        with pytest.raises(
            PipelineError, match=rf"all of them are damaged; remove {run / CHECKPOINTS} to begin again, or choose"
        ):
            newest(run)
    assert len(list((run / CHECKPOINTS).glob("rejected-*"))) == 2


def test_where_there_never_was_one_there_is_none(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    (tmp_path / CHECKPOINTS / ".unfinished" / "checkpoint-2").mkdir(parents=True)
    assert newest(tmp_path) is None


class Payload:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self._canary,))


def test_a_planted_pickle_is_not_run(tiny_llama: Path, run: Path, tmp_path: Path) -> None:
    last, canary = run / CHECKPOINTS / "checkpoint-6", tmp_path / "canary"
    for name in ("rng_state.pth", "optimizer.pt", "scheduler.pt"):
        (last / name).write_bytes(pickle.dumps(Payload(canary)))
    found = newest(run)
    assert found is not None
    assert found.step == 4
    assert not canary.exists()
    # Whoever can write the files can write the seal too; what is then read is plain data at most.
    for name in ("rng_state.pth", "optimizer.pt"):
        content = (found.folder / name).read_bytes()
        torch.save(Payload(canary), found.folder / name)
        (found.folder / SEAL).unlink()
        seal(found.folder, {"step": 4, "fingerprint": FINGERPRINT})
        with pytest.raises(pickle.UnpicklingError):
            trained(tiny_llama, run, newest(run))
        (found.folder / name).write_bytes(content)
    assert not canary.exists()


def test_changes_are_listed_with_both_values(tmp_path: Path) -> None:
    before = {"seed": 1, "lora.r": 8, "dataset": "ab" * 32, "gone": None, "target_modules": ["q_proj"]}
    now = {"seed": 2, "lora.r": 8, "dataset": "cd" * 32, "new": 0.5, "target_modules": ("q_proj",)}
    with pytest.raises(PipelineError) as refused:
        refuse_changes(tmp_path / "run", before, now)
    assert str(refused.value) == (
        f"{tmp_path / 'run'}: expected what it was begun with, got dataset abababab... -> cdcdcdcd..., "
        "new null -> 0.5, seed 1 -> 2; go on with the former, or choose another --out"
    )


# --- every point of one save


def begun(run: Path) -> Checkpoints:
    """A run with a checkpoint after step 2 and one after step 3 that the Trainer has just written."""
    (run / TRAINING_LOG).write_text('{"step": 1}\n')
    checkpoints = Checkpoints(run, 1, FINGERPRINT, None, Processes("cpu"))
    (run / TRAINING_LOG).write_text('{"step": 1}\n')
    trainer = SimpleNamespace(_tr_loss=torch.tensor(1.5), _total_loss_scalar=2.5, _globalstep_last_logged=1)
    checkpoints._trainer, checkpoints._validation = trainer, SimpleNamespace(state=lambda: {"pending": False})
    for step in (1, 2, 3):
        folder = checkpoints.scratch / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("adapter_model.safetensors", "optimizer.pt", "training_args.bin"):
            (folder / name).write_bytes(os.urandom(1000))
        if step == 2:
            checkpoints.best.mkdir()
            (checkpoints.best / "adapter_model.safetensors").write_bytes(os.urandom(1000))
        if step < 3:
            save(checkpoints, step)
    return checkpoints


def save(checkpoints: Checkpoints, step: int) -> None:
    state, control = SimpleNamespace(global_step=step, is_world_process_zero=True), SimpleNamespace()
    checkpoints.on_save(None, state, control)


def dying(action: Callable[[], None], point: int, *, late: bool) -> bool:
    """Does it in a child that dies at the K-th rename or sync, or behind it; whether it came to that."""
    child = os.fork()
    if not child:
        calls = iter(range(1, 1_000))

        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                now = next(calls) == point
                if now and not late:
                    os._exit(137)
                done = original(*args, **kwargs)
                if now:
                    os._exit(137)
                return done

            return wrapped

        try:
            for name in ("rename", "replace", "fsync"):
                setattr(os, name, wrap(getattr(os, name)))
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137


@pytest.mark.parametrize("late", [False, True], ids=["in front", "behind"])
def test_a_death_at_any_point_of_a_save_leaves_the_old_or_the_new(tmp_path: Path, late: bool) -> None:
    steps, point, more = [], 0, True
    while more:
        point += 1
        run = tmp_path / f"{point}"
        run.mkdir()
        checkpoints = begun(run)
        more = dying(lambda saving=checkpoints: save(saving, 3), point, late=late)  # type: ignore[misc]
        for folder in (run / CHECKPOINTS).glob("checkpoint-*"):
            unseal(folder)  # nothing half-done has the name of a checkpoint
        found = newest(run)
        assert found is not None
        assert len(list((run / CHECKPOINTS).glob("checkpoint-*"))) >= 2
        steps.append(found.step)
        # The next process tidies up, and saves the same step again.
        again = Checkpoints(run, 1, FINGERPRINT, found, Processes("cpu"))
        assert list(again.scratch.iterdir()) == []
        assert (run / TRAINING_LOG).read_text() == '{"step": 1}\n'
        assert files(again.best) == files(found.folder / "best" / "adapter")
    assert point > 15
    assert steps == sorted(steps)
    assert set(steps) == {2, 3}


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / ".config.yaml.123").write_text("half")
    (tmp_path / ".lock").write_text("")
    (tmp_path / "config.yaml").write_text("whole")
    begun(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml", CHECKPOINTS, TRAINING_LOG}


# --- signals


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_signal_is_remembered_and_the_former_handler_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Stop() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(Cut), stop.cutting():
            raise AssertionError
    assert "stopping at the end of this step; a second signal stops at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def _sleep_until(number: signal.Signals) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    time.sleep(30)


@pytest.mark.usefixtures("handlers")
def test_a_block_that_may_be_cut_is_left_at_once() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    with Stop() as stop, pytest.raises(Cut), stop.cutting():
        _sleep_until(signal.SIGTERM)
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("handlers")
def test_a_job_in_the_background_goes_on_ignoring_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop.requested


def test_a_thread_that_cannot_listen_trains_all_the_same() -> None:
    seen = []

    def listen() -> None:
        with Stop() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [False]


# --- disk and memory


def test_a_disk_that_is_too_small_is_seen_before_training(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    with pytest.raises(ShortageError, match=r"run: expected \d\.\d MB of free disk .* got 3\.0 MB; free some and"):
        trained(tiny_llama, tmp_path / "run")
    assert not (tmp_path / "run" / TRAINING_LOG).exists()


def test_the_estimate_is_what_a_checkpoint_takes(run: Path, finished: tuple[Path, TrainingResult]) -> None:
    taken = sum(len(content) for content in files(run / CHECKPOINTS / "checkpoint-6").values())
    parameters = finished[1].trainable_parameters
    assert 16 * parameters < taken < shortage.checkpoint_bytes(parameters)
    check_room(run, parameters)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device; a checkpoint needs"),
        (OSError(errno.EDQUOT, "x"), "Disk quota exceeded; a checkpoint needs 2.0 MB"),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "File too large; a"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "cannot be written"),
        (RuntimeError("basic_ios::clear: iostream error"), r"cannot be written \(basic_ios"),
    ],
)
def test_a_full_disk_is_told_whoever_noticed_it(tmp_path: Path, error: Exception, told: str) -> None:
    (tmp_path / "scratch" / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(ShortageError, match=told), told_of_the_disk(tmp_path, 100, scratch=tmp_path / "scratch"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EPERM, "x"),
        SafetensorError("invalid header"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("[enforce fail at inline_container.cc:300] . PytorchStreamReader failed reading zip archive"),
    ],
)
def test_other_errors_are_left_alone(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(Exception, match=re.escape(str(error))) as caught,
        told_of_the_disk(tmp_path, 1, scratch=tmp_path / "scratch"),
    ):
        raise error
    assert caught.value is error
    assert not is_out_of_memory(error)


def test_a_thread_that_finds_the_disk_full_says_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> None:
        raise error

    said: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda thread: said.append(thread.exc_value))
    bug = ValueError("a bug")
    with told_of_the_disk(tmp_path, 1, scratch=tmp_path):
        for error in (OSError(errno.ENOSPC, "full"), bug):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert said == [bug]


def test_all_ways_to_run_out_of_memory_are_one() -> None:
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator") as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    for error in (caught.value, MemoryError(), torch.OutOfMemoryError("x"), RuntimeError("std::bad_alloc")):
        assert is_out_of_memory(error)
