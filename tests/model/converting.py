"""Checkpoints to convert, the command that does it, and what networks compute before and after."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import original_tokenizers
import pytest
import torch
from original_architectures import (
    BAICHUAN,
    CHATGLM,
    Baichuan2,
    ChatGLM3,
    randomise,
    write_checkpoint,
)
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline import convert
from pipeline.artifacts import sha256_of

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
TOLERANCE = 1e-5
FAMILIES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "baichuan2": (Baichuan2, BAICHUAN),
    "chatglm3": (ChatGLM3, CHATGLM),
    "chatglm3-32k": (ChatGLM3, {**CHATGLM, "rope_ratio": 50}),
    "chatglm3-plain": (ChatGLM3, {**CHATGLM, "add_qkv_bias": False, "multi_query_group_num": 1}),
}


def write_source(folder: Path, name: str, *, safetensors: bool = True, shards: int = 1) -> nn.Module:
    """A checkpoint of a family with all that belongs to it; gives the network."""
    kind, config = FAMILIES[name]
    network = kind(config).eval()
    randomise(network)
    write_checkpoint(folder, network, config, safetensors=safetensors, shards=shards)
    if name == "baichuan2":
        original_tokenizers.write_baichuan_tokenizer(folder)
        generation = {"user_token_id": 195, "do_sample": True, "top_k": 5, "temperature": 0.3, "max_new_tokens": 2048}
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    else:
        original_tokenizers.write_chatglm_tokenizer(folder)
    return network


def command(*arguments: object) -> int:
    """The exit code of the command line, run in this process."""
    with pytest.raises(SystemExit) as stopped:
        convert.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder with its hash."""
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def some_ids() -> Tensor:
    return torch.randint(3, 400, (2, 48), generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def logits(network: nn.Module) -> Tensor:
    found: Tensor = network(some_ids())
    return found


@torch.inference_mode()
def native_logits(
    folder: Path, change: Callable[[dict[str, Tensor]], None] | None = None, **settings: object
) -> Tensor:
    """What the converted model computes, with changes to its config or its weights."""
    config = AutoConfig.from_pretrained(folder)
    for key, value in settings.items():
        assert hasattr(config, key)
        setattr(config, key, value)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, trust_remote_code=False)
    if change is not None:
        change(model.state_dict())
    found: Tensor = model.eval()(some_ids()).logits
    return found


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())
