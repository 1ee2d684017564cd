"""Several processes, started by torchrun, train what one process trains."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.model.processes import Processes
from pipeline.train import LoraConfig, TrainConfig, train

WEIGHTS = Path("adapter", "adapter_model.safetensors")


def test_one_process_is_alone_and_first() -> None:
    alone = Processes("cpu")
    assert (alone.count, alone.rank, alone.first) == (1, 0, True)
    assert alone.gather("here") == ["here"]
    assert alone.joined(alone.share_of([1, 2, 3]), 3) == [1, 2, 3]
    alone.wait()


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_models_in_parts_are_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(PipelineError, match="expected every process to hold the whole model, got "):
        Processes("cpu")


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    return [line[key] for line in lines for key in ("loss", "eval_loss") if key in line]


def command(out: Path, options: dict[str, Any]) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("-m", "pipeline.train", "--out", str(out), "--micro_batch_size", "2"),
        *("--lora", json.dumps(dataclasses.asdict(LoraConfig(dropout=0.0)))),
        *(f"--{name}={value}" for name, value in options.items()),
    ]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def in_two(out: Path, options: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(out, options), capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT
    )


@pytest.fixture(scope="module")
def given(tiny_llama: Path, prepared: Path) -> dict[str, Any]:
    """The options of every training here."""
    return {
        **{"dataset": str(prepared), "base_model": str(tiny_llama), "precision": "fp32", "device": "cpu"},
        **{"batch_size": 8, "epochs": 9.0, "learning_rate": 0.005, "max_length": 128, "evaluations": 2},
        **{"max_steps": 24, "checkpoint_steps": 1},
    }


@pytest.fixture(scope="module")
def whole(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes train that nobody disturbs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = in_two(folder, given)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(str(folder)) == 1  # one of them talks
    return folder


needs_torchrun = pytest.mark.skipif(sys.platform == "win32", reason="torchrun's rendezvous is not used there")


@pytest.mark.thorough
@needs_torchrun
def test_two_processes_have_the_loss_curve_of_one_with_the_same_batch(
    given: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    train(TrainConfig(out=str(one), micro_batch_size=8, lora=LoraConfig(dropout=0.0), **given))
    assert losses(whole) == pytest.approx(losses(one), rel=1e-4)
    assert json.loads((whole / "manifest.json").read_text())["processes"] == 2


@pytest.mark.thorough
@needs_torchrun
def test_two_processes_that_are_told_to_stop_go_on_to_the_same_adapter(
    given: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    with subprocess.Popen(
        command(stopped, given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as running:
        deadline = time.monotonic() + 120
        while not (stopped / "checkpoints" / "checkpoint-2").exists():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)  # torchrun hands it on to both
        _, told = running.communicate(timeout=120)
    assert running.returncode
    assert "go on with the same command and --resume" in told
    assert not (stopped / "manifest.json").exists()
    result = in_two(stopped, given | {"resume": "true"})
    assert result.returncode == 0, result.stderr
    assert "going on after step" in result.stderr
    assert (stopped / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert losses(stopped) == losses(whole)
