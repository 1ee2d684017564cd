"""Converted models against networks that are written from the papers."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from converting import FAMILIES, TOLERANCE, apart, command, content, logits, native_logits, some_ids, write_source
from original_architectures import (
    BAICHUAN,
    CHATGLM,
    ChatGLM3,
    randomise,
    rotate_halves,
    rotate_neighbours,
    write_checkpoint,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig

from pipeline.artifacts import read_json
from pipeline.model.base import check_base_model, resolve_base_model
from pipeline.model.loading import family_of, load_base, load_tokenizer, place


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


def rope(theta: float, share: float | None = None) -> dict[str, Any]:
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
        network = kind(config, rotate)
        network.load_state_dict(one[name].network.state_dict())
        found.append((name, what, apart(native_logits(one[name].folder), logits(network))))

    heads = BAICHUAN["num_attention_heads"]
    against("baichuan2", "q and k exchanged", swap("q_proj", "k_proj"))
    against("baichuan2", "k and v exchanged", swap("k_proj", "v_proj"))
    by_head = repack(
        lambda packed: [part.flatten(0, 1) for part in packed.reshape(heads, 3, -1, packed.shape[1]).unbind(1)]
    )
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
    assert [what for _, what, distance in found if distance < 10_000 * TOLERANCE] == []
    exchanged = [distance for _, what, distance in found if "exchanged" in what and "norms" not in what]
    assert min(exchanged) > 0.5


def test_a_finished_folder_is_a_base_model(converted: Mapping[str, Converted]) -> None:
    for name, each in converted.items():
        weights = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
        small = ["config.json", "generation_config.json", "model.safetensors.index.json", "source.json"]
        tokenizer = ["tokenizer.json", "tokenizer_config.json"]
        assert sorted(path.name for path in each.folder.iterdir()) == sorted([*weights, *small, *tokenizer])
        assert {path.stat().st_mode & 0o777 for path in each.folder.iterdir()} == {0o666 & ~umask()}
        config = read_json(each.folder / "config.json")
        family, *_ = name.split("-")
        assert config["converted_from"] == family
        assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 0)
        assert not {"auto_map", "_name_or_path"} & set(config)
        index = read_json(each.folder / "model.safetensors.index.json")
        tensors = {file: load_file(each.folder / file) for file in weights}
        assert index["weight_map"] == {key: file for file in weights for key in tensors[file]}
        # What the project itself makes of it.
        check_base_model(str(each.folder))
        base = resolve_base_model(str(each.folder))
        assert apart(load_base(base, place("fp32", "cpu"))(some_ids()).logits, logits(each.network)) < TOLERANCE
        tokenizer = load_tokenizer(base)
        assert (tokenizer.eos_token_id, family_of(base, tokenizer)) == (2, family)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_configs(converted: Mapping[str, Converted]) -> None:
    llama = AutoConfig.from_pretrained(converted["baichuan2"].folder)
    assert (llama.model_type, llama.rms_norm_eps, llama.rope_parameters["rope_theta"]) == ("llama", 1e-6, 1e4)
    assert (llama.num_key_value_heads, llama.attention_bias, llama.max_position_embeddings) == (4, False, 256)
    generation = read_json(converted["baichuan2"].folder / "generation_config.json")
    assert {key: generation[key] for key in ("do_sample", "top_k", "temperature")} == {
        "do_sample": True, "top_k": 5, "temperature": 0.3
    }  # fmt: skip
    for name, theta, heads, bias in (
        ("chatglm3", 1e4, 2, True),
        ("chatglm3-32k", 5e5, 2, True),
        ("chatglm3-plain", 1e4, 1, False),
    ):
        glm = AutoConfig.from_pretrained(converted[name].folder)
        assert (glm.model_type, glm.rms_norm_eps, glm.head_dim, glm.vocab_size) == ("glm", 1e-5, 24, 720)
        assert glm.rope_parameters["rope_theta"] == theta
        assert glm.rope_parameters["partial_rotary_factor"] == 0.5
        assert (glm.num_key_value_heads, glm.attention_bias, glm.max_position_embeddings) == (heads, bias, 256)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["baichuan2", "chatglm3"])
def test_numbers_stay_as_they_are(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    network = write_source(tmp_path / "source", name)
    write_checkpoint(tmp_path / "source", network.to(dtype), FAMILIES[name][1])
    before = content(tmp_path / "source")
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 0
    tensors = load_file(tmp_path / "out" / "model-00001-of-00001.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    assert read_json(tmp_path / "out" / "config.json")["dtype"] == str(dtype).removeprefix("torch.")
    state = network.state_dict()
    embedding = next(tensor for key, tensor in state.items() if "embed" in key)
    assert torch.equal(tensors["model.embed_tokens.weight"], embedding)
    if name == "baichuan2":  # rounded once, from fp32
        head = state["lm_head.weight"].float()
        assert torch.equal(tensors["lm_head.weight"], torch.nn.functional.normalize(head, dim=1).to(dtype))
    # The source is as it was, and none of its code was run or copied.
    assert content(tmp_path / "source") == before
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".py"]


def test_without_out_it_lies_beside_the_source(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "mine", "chatglm3")
    assert command("--source", tmp_path / "mine") == 0
    assert capfd.readouterr().out == f"{tmp_path / 'mine-native'}\n"
    assert (tmp_path / "mine-native" / "config.json").is_file()
    before = content(tmp_path / "mine-native")
    assert command(tmp_path / "mine") == 0  # finished already
    assert content(tmp_path / "mine-native") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine-native"]


def test_what_is_there_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "source", "chatglm3")
    for name in ("full", "other.parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "letter.txt").write_text("mine")
    assert command(tmp_path / "source", "--out", tmp_path / "full") == 1
    assert "already exists, and is not made of this source; choose another --out" in capsys.readouterr().err
    assert command(tmp_path / "source", "--out", tmp_path / "other") == 1
    assert "expected parts of a conversion, got a folder without begun.json" in capsys.readouterr().err
    assert command(tmp_path / "source", "--out", tmp_path / "source" / "out") == 1
    assert "expected a folder outside of" in capsys.readouterr().err
    # One that was converted from other weights is another's too.
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 0
    network = ChatGLM3(CHATGLM)
    randomise(network, seed=1)
    write_checkpoint(tmp_path / "source", network, CHATGLM)
    before = content(tmp_path / "out")
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 1
    assert "is not made of this source" in capsys.readouterr().err
    assert content(tmp_path / "out") == before
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "other.parts").iterdir() if path.suffix] == ["letter.txt"]
