"""TRL's SFTTrainer with what its documentation offers for speed and a CPU can do.

Weights in bf16, the loss over the label alone, no gradient checkpointing, a whole batch in one pass, tweets of like
length together. What is faster depends on the machine and the version, so these are settings of the job:
``attention`` (sdpa, the default, or eager), ``autocast`` (bf16 mixed precision, the default, or none), ``adapter`` (its
numbers: fp32, PEFT's default, or bf16, which saves copies and learns with fewer digits) and ``padding_free`` (a batch
as one row; attention takes the borders from the positions, and the loss is the same).
"""

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from benchmarks.jobs import serve
from benchmarks.train.baseline import common, examples, lora, trained
from benchmarks.train.job import Job


def run(job: Job) -> Mapping[str, Any]:
    """Trains and saves an adapter."""
    return trained(trainer(job))


def trainer(job: Job) -> SFTTrainer:
    """The SFTTrainer, ready to train."""
    model = AutoModelForCausalLM.from_pretrained(
        job.model, dtype=torch.bfloat16, attn_implementation=job.settings["attention"]
    )
    padding_free: bool = job.settings["padding_free"]
    arguments = SFTConfig(
        **common(job),
        per_device_train_batch_size=job.batch_size,
        bf16=job.settings["autocast"],
        gradient_checkpointing=False,
        train_sampling_strategy="group_by_length",
        completion_only_loss=True,
        padding_free=padding_free,
        max_length=None if padding_free else job.max_length,  # SFTTrainer does not cut rows that are not padded
    )
    bf16_adapter = job.settings["adapter"] == "bf16"
    if bf16_adapter:
        model = get_peft_model(model, lora(job), autocast_adapter_dtype=False)
    rows = [{"prompt": each.prompt, "completion": each.completion} for each in examples(job)]
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job.model),
        peft_config=None if bf16_adapter else lora(job),
    )


if __name__ == "__main__":
    serve(lambda order: run(Job(**order)))
