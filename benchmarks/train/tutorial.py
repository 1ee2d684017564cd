"""The recipe of the Alpaca-LoRA tutorial on today's libraries, as a user without a GPU would run it.

PEFT and Hugging Face's Trainer with their defaults: weights in fp32, micro batches of 4 whose gradients accumulate, the
loss over prompt and label, rows in random order, padded on the left to a multiple of 8. What the tutorial got wrong and
what does not cost time (its prompt, empty adapters) is not repeated; its 8 bit weights and fp16 need a GPU.
"""

from collections.abc import Mapping
from typing import Any

import torch
from peft import get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks.jobs import serve
from benchmarks.train.baseline import common, examples, lora, trained
from benchmarks.train.job import Job


def run(job: Job) -> Mapping[str, Any]:
    """Trains and saves an adapter."""
    return trained(trainer(job))


def trainer(job: Job) -> Trainer:
    """The Trainer, ready to train."""
    set_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)  # the tutorial's, so that it is not the end of a text
    tokenizer.padding_side = "left"
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32), lora(job))
    model.config.use_cache = False
    arguments = TrainingArguments(
        **common(job),
        per_device_train_batch_size=job.micro_batch_size,
        gradient_accumulation_steps=job.batch_size // job.micro_batch_size,
        optim="adamw_torch",
    )
    rows = [_encoded(tokenizer, each.prompt + each.completion, job.max_length) for each in examples(job)]
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8, return_tensors="pt", padding=True),
    )


def _encoded(tokenizer: Any, text: str, max_length: int) -> dict[str, list[int]]:
    """A row whose labels are all of its tokens; the end is cut off where it is too long."""
    row = tokenizer(text, truncation=True, max_length=max_length, padding=False)
    ids, mask = list(row["input_ids"]), list(row["attention_mask"])
    if len(ids) < max_length and ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
        mask.append(1)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.copy()}


if __name__ == "__main__":
    serve(lambda order: run(Job(**order)))
