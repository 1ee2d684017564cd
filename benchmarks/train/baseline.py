"""What the two programs that run on Hugging Face's Trainer share: rows, adapter, and what they report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig

from benchmarks.train.job import Job
from pipeline.artifacts import PreparedDataset


@dataclass(frozen=True)
class Example:
    """A training tweet as text: the prompt up to the place of the answer, and the label."""

    prompt: str
    completion: str


def examples(job: Job) -> list[Example]:
    """The training split of the prepared folder, in file order."""
    dataset = PreparedDataset.load(job.dataset)
    task = dataset.task
    return [Example(str(task.prompt(row.input)), row.output) for row in dataset.rows("train")]


def lora(job: Job) -> LoraConfig:
    """The adapter that all programs train."""
    return LoraConfig(
        r=job.rank,
        lora_alpha=job.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


def common(job: Job) -> dict[str, Any]:
    """Training arguments that are the same for both, under the names of transformers."""
    return {
        "output_dir": job.out,
        "max_steps": job.steps,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": job.warmup_steps,
        "logging_steps": job.logging_steps,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": job.seed,
    }


def trained(trainer: Any) -> Mapping[str, Any]:
    """Trains, saves the adapter, and gives the seconds of the training loop and the losses as ``[[step, loss]]``."""
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model()
    losses = [[record["step"], float(record["loss"])] for record in trainer.state.log_history if "loss" in record]
    return {"seconds": seconds, "losses": losses, "threads": torch.get_num_threads()}
