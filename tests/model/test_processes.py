"""Several processes, started by torchrun, train what one process trains."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.model.processes import Processes
from pipeline.train import LoraConfig, TrainConfig, train


def test_one_process_is_alone_and_first() -> None:
    alone = Processes("cpu")
    assert (alone.count, alone.rank, alone.first) == (1, 0, True)
    assert alone.gather("here") == ["here"]
    assert alone.joined(alone.share_of([1, 2, 3]), 3) == [1, 2, 3]
    alone.wait()


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    return [line[key] for line in lines for key in ("loss", "eval_loss") if key in line]


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's rendezvous is not used there")
def test_two_processes_have_the_loss_curve_of_one_with_the_same_batch(
    tiny_llama: Path, prepared: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        **{"dataset": str(prepared), "base_model": str(tiny_llama), "precision": "fp32", "device": "cpu"},
        **{"batch_size": 8, "max_steps": 6, "epochs": 9.0, "learning_rate": 0.005, "max_length": 128, "evaluations": 2},
    }
    one, two = tmp_path / "one", tmp_path / "two"
    train(TrainConfig(out=str(one), micro_batch_size=8, lora=LoraConfig(dropout=0.0), **options))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "pipeline.train", "--out", str(two), "--micro_batch_size", "2"),
            *("--lora", json.dumps(dataclasses.asdict(LoraConfig(dropout=0.0)))),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(str(two)) == 1  # one of them talks
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert json.loads((two / "manifest.json").read_text())["processes"] == 2
