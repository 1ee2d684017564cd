"""The lines and the manifest that a training leaves, made up."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from synthetic_predictions import LABELS


def make_run(best_step: int = 300, *, steps: int = 400, base_model: str = "smollm2-135m") -> dict[str, Any]:
    """The manifest of a run, as far as the report reads it."""
    return {
        "base_model": {"name": base_model, "location": "~/.cache/x", "fingerprint": "ab"},
        "precision": "bf16",
        "device": "cpu",
        "max_length": 256,
        "config": {
            "dataset": "/home/someone/data",
            "out": "/home/someone/run",
            "base_model": base_model,
            "lora": {"r": 16, "alpha": 32, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]},
            "batch_size": 8,
            "micro_batch_size": 4,
            "epochs": 3.0,
            "max_steps": steps,
            "learning_rate": 5e-4,
            "warmup": 0.06,
            "evaluations": 4,
            "seed": 42,
        },
        "result": {
            "steps": steps,
            "best_step": best_step,
            "best_score": 0.7,
            "unparsed_rate": 0.0,
            "seconds": 1696.4,
            "training_seconds": 650.1,
            "tweets_per_second": 4.59,
            "trainable_parameters": 4_884_480,
            "shortened": 3,
        },
        "provenance": {},
    }


def make_lines(
    scores: Sequence[float] = (0.3, 0.62, 0.71, 0.69),
    *,
    labels: Sequence[str] = LABELS,
    losses: Sequence[float] = (0.5, 0.3, 0.25, 0.26),
    missed: Sequence[str] = (),
    unparsed: float = 0.0,
    steps: int = 400,
    recall: bool = True,
) -> list[dict[str, Any]]:
    """The lines of ``training.jsonl``; without ``recall``, as older runs left them."""
    rng = np.random.default_rng(0)
    each = steps // len(scores)
    lines: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        epoch = 3 * step / steps
        loss = 6 * math.exp(-step / 8) + 0.3 * math.exp(-step / 200) + 0.05 * rng.random()
        lines.append({"step": step, "loss": loss, "grad_norm": 1.2, "learning_rate": 1e-4, "epoch": epoch})
        if step % each == 0:
            i = step // each - 1
            found = [0.0 if label in missed else 0.2 + 0.6 * rng.random() for label in labels]
            recalls = {"eval_recall": dict(zip(labels, found, strict=True))} if recall else {}
            line = {
                "step": step,
                "eval_loss": losses[i % len(losses)],
                "eval_macro_f1": scores[i],
                "eval_balanced_accuracy": scores[i] + 0.01,
                "eval_unparsed_rate": unparsed,
                **recalls,
                "epoch": epoch,
            }
            lines.append(line)
    lines.append({"step": steps, "train_runtime": 695.9, "train_loss": 0.36, "epoch": 3.0})
    return lines
