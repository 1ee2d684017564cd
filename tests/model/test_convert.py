"""Converted models against networks that are written from the papers, and what a conversion survives."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
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
    rotate_halves,
    rotate_neighbours,
    write_checkpoint,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline import convert
from pipeline.artifacts import read_json, sha256_of
from pipeline.model import conversion
from pipeline.model.base import BaseModel, check_base_model, resolve_base_model
from pipeline.model.loading import load_base, load_tokenizer, place

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
    return float((a - b).abs().max())


@dataclasses.dataclass(frozen=True)
class Converted:
    """A checkpoint, what became of it, and the network that it is of."""

    source: Path
    folder: Path
    network: nn.Module


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Converted]:
    """Each family, converted once."""
    found = {}
    for name in FAMILIES:
        source = tmp_path_factory.mktemp(name) / "source"
        network = write_source(source, name, safetensors=name != "baichuan2", shards=3)
        assert command(source, "--out", source.with_name("out")) == 0
        found[name] = Converted(source, source.with_name("out"), network)
    return found


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("safetensors", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_the_original(name: str, safetensors: bool, shards: int, tmp_path: Path) -> None:
    network = write_source(tmp_path / "source", name, safetensors=safetensors, shards=shards)
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 0
    expected = logits(network)
    assert expected.abs().max() > 0.5
    assert apart(native_logits(tmp_path / "out"), expected) < TOLERANCE


def swap(first: str, second: str) -> Callable[[dict[str, Tensor]], None]:
    """Exchanges two tensors of each layer."""

    def change(weights: dict[str, Tensor]) -> None:
        for name in [name for name in weights if f".{first}." in name]:
            a, b = weights[name], weights[name.replace(f".{first}.", f".{second}.")]
            kept = a.clone()
            a.copy_(b)
            b.copy_(kept)

    return change


def repack(order: Callable[[Tensor], list[Tensor]]) -> Callable[[dict[str, Tensor]], None]:
    """Divides what was packed, ``(rows, ...)``, into q, k and v in another way."""

    def change(weights: dict[str, Tensor]) -> None:
        for name in [name for name in weights if ".q_proj." in name]:
            parts = [weights[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            for part, other in zip(parts, order(torch.cat(parts)), strict=True):
                part.copy_(other)

    return change


def swap_halves(*leaves: str) -> Callable[[dict[str, Tensor]], None]:
    """Exchanges the upper and the lower rows of tensors of each layer."""

    def change(weights: dict[str, Tensor]) -> None:
        for name, weight in weights.items():
            if any(f".{leaf}." in name for leaf in leaves):
                weight.copy_(torch.cat(weight.chunk(2)[::-1]))

    return change


def raw_head(network: nn.Module) -> Callable[[dict[str, Tensor]], None]:
    """The output layer as it lies on the disk, its rows of any length."""

    def change(weights: dict[str, Tensor]) -> None:
        weights["lm_head.weight"].copy_(network.get_parameter("lm_head.weight"))

    return change


def without_bias(weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        if name.endswith(".bias"):
            weight.zero_()


def rope(theta: float, share: float | None = None) -> dict[str, object]:
    partial = {} if share is None else {"partial_rotary_factor": share}
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **partial}}


def mutants(one: Mapping[str, Converted]) -> list[tuple[str, str, float]]:
    """Wrong conversions and wrong originals: the family, what is wrong, how far the logits move."""
    found = []

    def against(
        name: str, what: str, change: Callable[[dict[str, Tensor]], None] | None = None, **settings: Any
    ) -> None:
        got = native_logits(one[name].folder, change, **settings)
        found.append((name, what, apart(got, logits(one[name].network))))

    def other(name: str, what: str, rotate: Callable[[Tensor, float], Tensor]) -> None:
        kind, config = FAMILIES[name]
        network = kind(config, rotate)  # type: ignore[call-arg]
        network.load_state_dict(one[name].network.state_dict())
        found.append((name, what, apart(native_logits(one[name].folder), logits(network))))

    heads = BAICHUAN["num_attention_heads"]
    against("baichuan2", "q and k exchanged", swap("q_proj", "k_proj"))
    against("baichuan2", "k and v exchanged", swap("k_proj", "v_proj"))
    by_head = repack(lambda packed: [part.flatten(0, 1) for part in packed.unflatten(0, (heads, 3, -1)).unbind(1)])
    against("baichuan2", "W_pack divided head by head", by_head)
    against("baichuan2", "gate and up exchanged", swap("gate_proj", "up_proj"))
    against("baichuan2", "lm_head as on the disk", raw_head(one["baichuan2"].network))
    against("baichuan2", "norms of a layer exchanged", swap("input_layernorm", "post_attention_layernorm"))
    against("baichuan2", "rms_norm_eps 1e-5", rms_norm_eps=1e-5)
    against("baichuan2", "rope_theta 500000", **rope(5e5))
    other("baichuan2", "rotation of neighbours", rotate_neighbours)
    width, groups = CHATGLM["kv_channels"], CHATGLM["multi_query_group_num"]
    query, key = CHATGLM["num_attention_heads"] * width, groups * width
    name = "chatglm3"
    first_k = repack(lambda packed: [packed[key : key + query], packed[:key], packed[-key:]])
    against(name, "q and k exchanged (k read first)", first_k)
    against(name, "k and v exchanged", swap("k_proj", "v_proj"))
    against(name, "groups of k and v exchanged", swap_halves("k_proj", "v_proj"))
    against(name, "gate and up exchanged", swap_halves("gate_up_proj"))
    against(name, "no bias", without_bias)
    against(name, "norms of a layer exchanged", swap("input_layernorm", "post_attention_layernorm"))
    against(name, "rms_norm_eps as Glm's default", rms_norm_eps=1.5625e-07)
    against(name, "rope_theta 20000", **rope(2e4, 0.5))
    against(name, "the whole head turned", **rope(1e4, 1.0))
    other(name, "rotation of halves", rotate_halves)
    against("chatglm3-32k", "rope_ratio forgotten", **rope(1e4, 0.5))
    return found


def test_every_mutant_moves_the_logits(converted: Mapping[str, Converted], capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'family':16}{'conversion':36}largest difference of a logit"]
    for name, each in converted.items():
        lines.append(f"{name:16}{'as it is':36}{apart(native_logits(each.folder), logits(each.network)):.1e}")
    found = mutants(converted)
    lines += [f"{name:16}{what:36}{distance:.3f}" for name, what, distance in found]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert [what for _, what, distance in found if distance < 100 * TOLERANCE] == []
    exchanged = [distance for _, what, distance in found if "exchanged" in what and "norms" not in what]
    assert min(exchanged) > 0.5
