"""A tuned model for other programs: its adapter merged into the base model, or the adapter alone for PEFT."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

from pipeline.artifacts import Run, dump_json, read_json, write_text
from pipeline.model.base import BaseModel, read_gguf
from pipeline.model.classifier import base_of, encoder_of, placement_of
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.loading import (
    Placement,
    ends_of,
    load_base,
    load_tuned,
    place,
    quiet,
    ready_tokenizer,
    scoring_precision,
    set_mode,
)

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def write_merged(run: Run, folder: Path, dtype: str) -> Encoder:
    """Writes the base model with the adapter in its weights, with config and tokenizer, as transformers loads it.

    The weights are merged in fp32 and into the whole base model, also where the run was tuned on a quantised one; then
    they are rounded to ``dtype``, bf16 or fp32. The base model's chat template is left out where the prompt is a text,
    which is no chat; else it stays, and the family is known by it again. Gives what encodes its prompts.

    Raises:
        PipelineError: the merged weights are no numbers.
    """
    base = base_of(run)
    encoder = encoder_of(run, base)
    merged = load_tuned(base, run.adapter, Placement("cpu", dtype, DTYPES[dtype]), merged=True)
    merged.generation_config = _greedy(merged.generation_config, encoder)
    if isinstance(run.task.template, str):
        encoder.tokenizer.chat_template = None
    with quiet():
        merged.save_pretrained(folder)
        encoder.tokenizer.save_pretrained(folder)
    return encoder


def write_adapter(run: Run, folder: Path) -> None:
    """Writes the adapter as PEFT loads it, with the base model under the name by which others know it."""
    folder.mkdir()
    adapter = run.adapter
    base = BaseModel(**run.manifest["base_model"])
    settings = read_json(adapter / "adapter_config.json")
    # PEFT has written the folder that the base model was loaded from.
    settings |= {"base_model_name_or_path": base.public_name, "revision": base.fingerprint if base.on_hub else None}
    write_text(folder / "adapter_config.json", dump_json(settings))
    shutil.copyfile(adapter / "adapter_model.safetensors", folder / "adapter_model.safetensors")


def load_merged(run: Run, folder: Path, dtype: str, device: str) -> tuple[Classifier, Placement]:
    """A merged model as this project loads any base model, and where it computes."""
    base = BaseModel(folder.name, str(folder), "")
    placement = place(scoring_precision(dtype, device), device)
    return Classifier(load_base(base, placement), encoder_of(run, base)), placement


def load_adapter(run: Run, folder: Path, device: str) -> tuple[Classifier, Placement]:
    """An exported adapter on the base model of its run, loaded by PEFT and nothing else, and where it computes."""
    base, placement = base_of(run), placement_of(run, device=device)
    with quiet():
        model = PeftModel.from_pretrained(load_base(base, placement), str(folder))
    if placement.precision == "fp32":
        model = model.float()
    set_mode(model, training=False)
    return Classifier(model, encoder_of(run, base)), placement


def load_gguf(run: Run, path: Path, device: str) -> tuple[Classifier, Placement]:
    """A GGUF file, its weights and its tokenizer, as transformers reads it, and where it computes."""
    placement = place("fp32", device)
    model, tokenizer = read_gguf(path, placement.dtype)
    encoder = Encoder(ready_tokenizer(tokenizer, path.name), run.task, run.manifest["max_length"])
    return Classifier(model.to(placement.device).eval(), encoder), placement


def _greedy(before: Any, encoder: Encoder) -> GenerationConfig:
    """How a merged model answers unless it is told otherwise: greedily, and no longer than a label is."""
    tokenizer = encoder.tokenizer
    stops = sorted({encoder.end} | ends_of(before.eos_token_id))
    return GenerationConfig(
        bos_token_id=before.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else stops[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=longest_answer(encoder),
    )


def answer_end(encoder: Encoder) -> str:
    """The text of the token that ends an answer."""
    return str(encoder.tokenizer.convert_ids_to_tokens(encoder.end))


def longest_answer(encoder: Encoder) -> int:
    """How many tokens an answer may have, the terminator included: as many as decoding lets it write."""
    return encoder.longest_completion + 2
