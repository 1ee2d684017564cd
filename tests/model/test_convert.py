"""Converted models against networks that are written from the papers, and what a conversion survives."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline import convert
from pipeline.artifacts import read_json, sha256_of
from pipeline.locking import Lock
from pipeline.model import conversion
from pipeline.model.base import check_base_model, resolve_base_model
from pipeline.model.loading import family_of, load_base, load_tokenizer, place

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


FORKS = """
import os, shutil, sys
from pathlib import Path
import transformers.models.glm.modeling_glm, transformers.models.llama.modeling_llama
from pipeline.locking import Lock
from pipeline.model import conversion
from pipeline.model.conversion import convert_checkpoint

def counted(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == number:
            os._exit(9)
        return real(*arguments, **options)
    return call

for line in sys.stdin:
    number, source, out = line.rstrip("\\n").split("\\t")
    number, calls = int(number), 0
    child = os.fork()
    if not child:
        for owner, names in (
            (os, ["fsync"]), (Path, ["replace", "rename", "unlink"]), (shutil, ["rmtree"]),
            (conversion, ["save_file", "write_text", "dump_jsonl"]),
        ):
            for name in names:
                setattr(owner, name, counted(getattr(owner, name)))
        try:
            convert_checkpoint(Path(source), Path(out))
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """A process that has all libraries loaded, and has each conversion done by a child of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def convert(self, source: Path, out: Path, *, dies_at: int = 0, seconds: float | None = None) -> int:
        """The exit code of a conversion; the child leaves at a call that changes the disk, or is killed in a while."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(dies_at, source, out, sep="\t", file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.mark.thorough
def test_a_death_at_any_call_costs_nothing(forks: Forks, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    write_source(source, "baichuan2", safetensors=False, shards=2)
    assert forks.convert(source, tmp_path / "whole") == 0
    whole, died = content(tmp_path / "whole"), 0
    for number in range(1, 200, 2):
        code = forks.convert(source, out, dies_at=number)
        assert code in (0, 9), number
        assert forks.convert(source, out) == 0, number
        assert content(out) == whole, number
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source", "whole"], number
        shutil.rmtree(out)
        if not code:
            break
        died += 1
    assert died >= 15
    assert code == 0


@pytest.mark.thorough
def test_kills_at_random_moments_cost_nothing(forks: Forks, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_source(source, "chatglm3", shards=20)
    assert forks.convert(source, tmp_path / "first") == 0
    before = time.monotonic()
    assert forks.convert(source, tmp_path / "whole") == 0
    seconds, kills, rng = time.monotonic() - before, 0, random.Random(1)
    for i in range(10):
        out = tmp_path / f"{i}"
        while forks.convert(source, out, seconds=rng.random() * seconds * 0.7):
            kills += 1
        assert content(out) == content(tmp_path / "whole")
        assert not out.with_name(f"{i}.parts").exists()
    assert kills >= 6


@pytest.fixture
def half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path]:
    """A source of four shards, and a conversion of it that was stopped before the last was written."""
    source, out = tmp_path / "source", tmp_path / "out"
    write_source(source, "baichuan2", shards=4)
    assert command(source, "--out", tmp_path / "whole") == 0
    left = [4]

    def save(*arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        real(*arguments, **options)

    real = save_file
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "save_file", save)
        assert command(source, "--out", out) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"python -m pipeline.convert: {out}: stopped; go on with the same command"
    )
    return source, out


def test_only_what_is_missing_is_written(half_done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = half_done
    cut = out.with_name("out.parts") / ".tmpA1b2C3"  # as safetensors leaves one that was killed
    cut.touch()
    written = []

    def save(*arguments: Any, **options: Any) -> None:
        written.append(cut.exists())
        save_file(*arguments, **options)

    monkeypatch.setattr(conversion, "save_file", save)
    assert command(source, "--out", out) == 0
    assert written == [False]
    assert content(out) == content(out.with_name("whole"))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "line"])
def test_a_damaged_shard_is_written_again(
    half_done: tuple[Path, Path], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = half_done
    place = out.with_name("out.parts")
    shard = place / "model" / "model-00002-of-00004.safetensors"
    data = shard.read_bytes()
    if damage == "flip":
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        shard.write_bytes(data[:-1])
    elif damage == "gone":
        shard.unlink()
    else:
        lines = (place / "finished.jsonl").read_text().splitlines(keepends=True)
        (place / "finished.jsonl").write_text("".join(lines[:2])[:-40])
    written = []
    real = save_file
    monkeypatch.setattr(conversion, "save_file", lambda *a, **k: written.append(real(*a, **k)))
    assert command(source, "--out", out) == 0
    assert len(written) == (3 if damage == "line" else 2)
    assert content(out) == content(out.with_name("whole"))


def test_another_source_does_not_go_on(half_done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = half_done
    network = Baichuan2(BAICHUAN)
    randomise(network, seed=1)
    before = content(source)
    write_checkpoint(source, network, BAICHUAN, shards=4)
    changed = sum(before[name] != now for name, now in content(source).items())
    assert command(source, "--out", out) == 1
    err = capsys.readouterr().err
    assert "expected what it was begun with, got model-00001-of-00004.safetensors" in err
    assert err.count("->") == changed == 4


def test_a_second_process_is_told_to_wait(half_done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = half_done
    with Lock(out.with_name("out.parts")) as lock:
        lock.take()
        assert command(source, "--out", out) == 5
    assert "another run is converting into it" in capsys.readouterr().err


def test_a_full_disk_is_code_4_and_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    source, out = tmp_path / "source", tmp_path / "out"
    write_source(source, "baichuan2", shards=3)
    assert command(source, "--out", tmp_path / "whole") == 0
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").glob("*.safetensors"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (20_000, sizes[-1] - 1000):  # not even the tokenizer; all but the largest shard
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            assert command(source, "--out", out) == 4
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert "File too large" in capsys.readouterr().err
            assert not out.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert command(source, "--out", out) == 0
    assert content(out) == content(tmp_path / "whole")
    assert not out.with_name("out.parts").exists()


def test_too_little_room_is_seen_before_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_source(tmp_path / "source", "chatglm3")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 4
    assert "of free disk for the weights, got 0.0 MB; free some and run again" in capsys.readouterr().err


def test_large_files_become_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = write_source(tmp_path / "source", "baichuan2", safetensors=False)
    monkeypatch.setattr(conversion, "_SHARD_BYTES", 100_000)
    assert command(tmp_path / "source", "--out", tmp_path / "out") == 0
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")]
    assert len(sizes) == 5
    assert sum(size > 110_000 for size in sizes) == 2  # the embedding and the output layer, which are not cut
    assert apart(native_logits(tmp_path / "out"), logits(network)) < TOLERANCE


MEASURED = """
import re, sys
from pathlib import Path
from pipeline.model.conversion import convert_checkpoint

def peak(what):
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

small, large, out = map(Path, sys.argv[1:])
convert_checkpoint(small, out / "small")
Path("/proc/self/clear_refs").write_text("5")
before = peak("VmRSS")
convert_checkpoint(large, out / "large")
print(peak("VmHWM") - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of the memory")
@pytest.mark.parametrize("safetensors", [True, False], ids=["safetensors", "bin"])
def test_memory_is_that_of_one_shard(tmp_path: Path, safetensors: bool) -> None:
    write_source(tmp_path / "small", "baichuan2", safetensors=safetensors)
    # Eight shards of 32 MB, with three layers each.
    config = {**BAICHUAN, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 24}
    write_checkpoint(tmp_path / "large", Baichuan2(config), config, safetensors=safetensors, shards=8)
    original_tokenizers.write_baichuan_tokenizer(tmp_path / "large")
    shard = max(path.stat().st_size for path in (tmp_path / "large").iterdir()) / 2**20
    assert 28 < shard < 40
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "small", tmp_path / "large", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    growth = float(done.stdout)
    print(f"peak of the memory: {growth:.0f} MiB more than before, shards of {shard:.0f} MiB")
    assert growth < 2 * shard
