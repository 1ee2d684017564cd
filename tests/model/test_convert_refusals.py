"""What is no Baichuan2-7B and no ChatGLM3-6B, or a damaged one, is refused in one line, and nothing is left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import original_tokenizers
import pytest
import torch
from original_architectures import BAICHUAN, CHATGLM, Baichuan2, ChatGLM3, randomise, write_checkpoint
from safetensors.torch import load_file, save_file

from pipeline import convert
from pipeline.errors import PipelineError
from pipeline.model.originals import recognise
from pipeline.model.weight_files import opened

Change = Callable[[Path], object]
CHATGLM2_TOKENIZER = '{"name_or_path": "THUDM/chatglm2-6b", "tokenizer_class": "ChatGLMTokenizer"}'


def set_up(folder: Path, family: str, *, safetensors: bool = True, shards: int = 2) -> Path:
    baichuan = family == "baichuan2"
    network = Baichuan2(BAICHUAN) if baichuan else ChatGLM3(CHATGLM)
    randomise(network)
    config = BAICHUAN if baichuan else CHATGLM
    write_checkpoint(folder, network, config, safetensors=safetensors, shards=shards)
    if baichuan:
        original_tokenizers.write_baichuan_tokenizer(folder)
    else:
        original_tokenizers.write_chatglm_tokenizer(folder)
    return folder


def settings(**changes: Any) -> Change:
    """Changes config.json; what becomes None is left out."""

    def change(folder: Path) -> None:
        config = {**json.loads((folder / "config.json").read_text()), **changes}
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))

    return change


def without_roles(config_name: str = "local", text: str = "{}") -> Change:
    def change(folder: Path) -> None:
        settings(_name_or_path=config_name)(folder)
        (folder / "tokenization_chatglm.py").unlink()
        (folder / "tokenizer_config.json").write_text(text)

    return change


def told_ids(ids: dict[str, str]) -> Change:
    def change(folder: Path) -> None:
        decoder = {"": 1, "x": {}, **{i: {"content": name} for i, name in ids.items()}}
        (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], object], number: int = 1) -> Change:
    """Changes what a file of weights holds."""

    def write(folder: Path) -> None:
        path = folder / f"model-0000{number}-of-00002.safetensors"
        content = load_file(path)
        change(content)
        save_file(content, path)

    return write


def refused(source: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command says."""
    with pytest.raises(SystemExit) as stopped:
        convert.main([str(source), "--out", str(source.with_name("out"))])
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("python -m pipeline.convert: ")]
    assert (out, len(lines)) == ("", 1)
    assert "Traceback" not in err
    assert [path.name for path in source.parent.iterdir() if path.name.startswith("out")] == []
    return lines[0].removeprefix("python -m pipeline.convert: ")


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        # Baichuan's others: each at the published size, and as small as here.
        ("baichuan2", settings(hidden_size=5120), "got Baichuan2-13B (hidden_size 5120 in config.json); its ALiBi"),
        ("baichuan2", settings(num_hidden_layers=40), "got Baichuan2-13B (num_hidden_layers 40"),
        ("baichuan2", settings(max_position_embeddings=None), "got Baichuan2-13B (no max_position_embeddings"),
        (
            "baichuan2",
            settings(max_position_embeddings=None, z_loss_weight=None, vocab_size=64000, hidden_size=5120),
            "got Baichuan-13B (hidden_size 5120",
        ),
        ("baichuan2", settings(vocab_size=64000), "got Baichuan-7B of the first generation (vocab_size 64000"),
        ("baichuan2", settings(z_loss_weight=None), "got Baichuan-7B of the first generation (no z_loss_weight"),
        (
            "baichuan2",
            settings(architectures=["BaiChuanForCausalLM"]),
            "got Baichuan-7B of the first generation (architectures BaiChuanForCausalLM in config.json); its output",
        ),
        ("baichuan2", settings(quantization_config={"bits": 4}), "expected whole weights, got quantization_config"),
        ("baichuan2", settings(rope_scaling={"factor": 2}), "expected rope_scaling None, got {'factor': 2}"),
        ("baichuan2", settings(hidden_act="gelu"), "expected hidden_act 'silu', got 'gelu'"),
        ("baichuan2", settings(hidden_size="64"), "expected hidden_size to be a whole number above 0, got '64'"),
        ("baichuan2", settings(rms_norm_eps=-1), "expected rms_norm_eps to be a number above 0, got -1"),
        ("baichuan2", settings(architectures=5, z_loss_weight=None), "first generation (no z_loss_weight"),
        (
            "baichuan2",
            settings(num_attention_heads=5),
            "config.json: expected values that make a LlamaConfig, got others: The hidden size (64) is not a multiple",
        ),
        # ChatGLM's others.
        (
            "chatglm3",
            settings(position_encoding_2d=True),
            "got ChatGLM-6B of the first generation (position_encoding_2d",
        ),
        ("chatglm3", settings(inner_hidden_size=16384), "got ChatGLM-6B of the first generation (inner_hidden_size"),
        ("chatglm3", without_roles(), "without its role tokens such as <|user|> (looked at tokenizer_config.json)"),
        (
            "chatglm3",
            without_roles("THUDM/chatglm2-6b", CHATGLM2_TOKENIZER),
            "got a checkpoint named 'THUDM/chatglm2-6b' without its role tokens such as <|user|> (looked at",
        ),
        ("chatglm3", settings(padded_vocab_size=151552), "got GLM-4, which is native: needs no conversion"),
        (
            "chatglm3",
            lambda folder: (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ChatGLM4Tokenizer"}'),
            "got GLM-4, which is native: needs no conversion",
        ),
        ("chatglm3", settings(quantization_bit=4), "expected whole weights, got quantization_bit"),
        ("chatglm3", settings(pre_seq_len=128), "expected pre_seq_len None, got 128"),
        ("chatglm3", settings(multi_query_attention=False), "expected multi_query_attention True, got False"),
        ("chatglm3", settings(multi_query_attention=None), "no multi_query_attention"),
        ("chatglm3", settings(add_bias_linear=True), "expected add_bias_linear False, got True"),
        ("chatglm3", settings(rmsnorm=False), "expected rmsnorm True, got False"),
        # What is neither.
        (
            "chatglm3",
            settings(model_type="glm"),
            "got model_type 'glm', which is native: needs no conversion; give it to",
        ),
        ("chatglm3", settings(model_type="llama"), "got model_type 'llama', which is native: needs no conversion"),
        ("chatglm3", settings(model_type="eliza"), "expected model_type baichuan or chatglm, got 'eliza'"),
        ("chatglm3", settings(model_type=["x"]), "expected model_type baichuan or chatglm, got ['x']"),
        ("chatglm3", lambda folder: (folder / "config.json").write_text("[]"), "got None; only Baichuan2-7B and"),
        ("chatglm3", lambda folder: (folder / "config.json").write_text("{"), "expected a JSON file in UTF-8"),
        (
            "chatglm3",
            lambda folder: (folder / "config.json").unlink(),
            "expected a checkpoint with config.json, got none",
        ),
        # Weights that are not those of the config.
        (
            "chatglm3",
            tensors(lambda content: content.update({"transformer.layers.0.attention.dense.weight": torch.zeros(2, 2)})),
            "got transformer.layers.0.attention.dense.weight; ChatGLM-6B of the first generation has such",
        ),
        (
            "chatglm3",
            tensors(lambda content: content.update({"transformer.prefix_encoder.embedding.weight": torch.zeros(2, 2)})),
            "expected the tensors of chatglm3, got transformer.prefix_encoder.embedding.weight; take",
        ),
        ("baichuan2", tensors(lambda content: content.pop("model.embed_tokens.weight")), "1 are missing, model.embed_"),
        (
            "baichuan2",
            settings(intermediate_size=100),
            "expected shape (64, 100) for model.layers.0.mlp.down_proj.weight",
        ),
        (
            "baichuan2",
            settings(num_hidden_layers=3),
            "expected weights for every layer; 9 are missing, model.layers.2.",
        ),
        ("baichuan2", settings(num_hidden_layers=1), "expected no such tensor, or no second one for model.layers.1."),
        ("baichuan2", settings(hidden_size=32), "with 96 rows of plain numbers, got float32 of shape (192, 64)"),
        (
            "baichuan2",
            tensors(lambda content: content.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)})),
            "expected model.norm.weight with 64 rows of plain numbers, got int8",
        ),
        (
            "baichuan2",
            tensors(lambda content: content.update({"model.norm.weight": torch.ones(64)})),
            "expected no such tensor, or no second one for model.norm.weight",
        ),
        # Tokenizers.
        ("chatglm3", lambda folder: (folder / "tokenizer.model").unlink(), "tokenizer.model: expected a file of the"),
        ("chatglm3", lambda folder: (folder / "tokenizer.model").write_bytes(b"<html>"), "got one that cannot be read"),
        (
            "chatglm3",
            lambda folder: (folder / "tokenizer.model").write_bytes(b""),
            "tokenizer.model: expected a sentencepiece model, got a file of 0 bytes; download it again",
        ),
        (
            "baichuan2",
            lambda folder: (folder / "tokenizer.model").write_bytes(original_tokenizers.chatglm_model()),
            "expected <reserved_106> to be piece 195, got no such piece; it is another model's tokenizer",
        ),
        (
            "chatglm3",
            settings(padded_vocab_size=65024),
            "expected 64,789 pieces, so that [MASK] is 64789, got 680; it is another model's tokenizer, take its own",
        ),
        ("chatglm3", settings(padded_vocab_size=None), "expected 64,789 pieces, so that [MASK] is 64789, got 680"),
        ("chatglm3", told_ids({"684": "sop", "686": "<|user|>"}), "expected 681 pieces, so that <sop> is 684, got 680"),
        # Files.
        (
            "baichuan2",
            lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(),
            "missing, 1 of 2 weight files",
        ),
        (
            "baichuan2",
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret"}}'),
            "expected weight_map with names of files beside it",
        ),
        (
            "baichuan2",
            lambda folder: (folder / "model.safetensors.index.json").unlink(),
            "expected weights as model.safe",
        ),
        (
            "baichuan2",
            lambda folder: (folder / "model-00002-of-00002.safetensors").write_bytes(b"\x08" + bytes(40)),
            "expected a file of tensors by name, got one that cannot be read",
        ),
    ],
)
def test_refusals(
    family: str, change: Change, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = set_up(tmp_path / "source", family)
    change(source)
    line = refused(source, capsys)
    assert message in line
    assert str(source) in line


@pytest.mark.parametrize("name", ["there is none", "a file"])
def test_no_folder(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "a file":
        (tmp_path / name).touch()
    assert "expected the folder of a checkpoint, got" in refused(tmp_path / name, capsys)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (".", "here: already exists, and is not made of this source"),
        ("..", "--out ..: expected the name of a new folder; got none"),
        ("/", "--out /: expected the name of a new folder; got none"),
    ],
)
def test_out_is_a_new_folder(
    out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = set_up(tmp_path / "source", "chatglm3")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SystemExit) as stopped:
        convert.main([str(source), "--out", out])
    err = capsys.readouterr().err
    assert (stopped.value.code, "Traceback" in err) == (1, False)
    assert message in err
    assert sorted(path.name for path in tmp_path.rglob("*") if path.parent != source) == ["here", "source"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "tokenization_chatglm.py").unlink() or (folder / "tokenizer_config.json").write_text(
            json.dumps({"additional_special_tokens": ["<|user|>", "<|observation|>"]})
        ),
        without_roles("THUDM/chatglm3-6b-32k"),
        without_roles(text='{"name_or_path": "/models/ChatGLM3-6B-Base"}'),
    ],
    ids=["in tokenizer_config.json", "by name", "by the tokenizer's name"],
)  # fmt: skip
def test_each_trace_of_chatglm3_is_enough(change: Change, tmp_path: Path) -> None:
    source = set_up(tmp_path / "source", "chatglm3")
    change(source)
    assert recognise(source).family == "chatglm3"


def test_ids_of_commands_that_agree(tmp_path: Path) -> None:
    source = set_up(tmp_path / "source", "chatglm3")
    told_ids({"681": "[gMASK]", "683": "sop", "684": "<eop>", "686": "<|user|>", "2": "</s>"})(source)
    assert recognise(source).ids == {"[gMASK]": 681, "<sop>": 683, "<eop>": 684, "<|user|>": 686}
    with pytest.raises(SystemExit) as stopped:
        convert.main([str(source), "--out", str(tmp_path / "out")])
    assert not stopped.value.code
    added = json.loads((tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    assert {token["content"]: token["id"] for token in added}["<|user|>"] == 686


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.99])
@pytest.mark.parametrize("safetensors", [True, False], ids=["safetensors", "bin"])
def test_a_download_that_broke_off(
    safetensors: bool, cut: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = set_up(tmp_path / "source", "baichuan2", safetensors=safetensors)
    path = max(source.iterdir(), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    line = refused(source, capsys)
    assert f"{path}: expected a file of tensors by name, got one that cannot be read" in line
    assert line.endswith("; download it again")


def test_a_bin_file_of_the_old_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = set_up(tmp_path / "source", "baichuan2", safetensors=False)
    path = source / "pytorch_model-00001-of-00002.bin"
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    line = refused(source, capsys)
    assert f"{path}: expected a .bin file of PyTorch 1.6 or newer, got one of an old format" in line
    assert line.endswith("; save it again with torch.save(torch.load(FILE, weights_only=True), FILE)")
    torch.save(torch.load(path, weights_only=True), path)
    with opened(path) as tensors:
        assert tensors


class Touch:
    """A pickle that would leave a mark if it were loaded as pickles are."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_pickle_with_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = set_up(tmp_path / "source", "baichuan2", safetensors=False)
    torch.save({"model.norm.weight": Touch(tmp_path / "RAN")}, source / "pytorch_model-00001-of-00002.bin")
    assert "expected tensors alone, got a pickle that calls code, which is refused" in refused(source, capsys)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("value", [[torch.zeros(1)], {"state_dict": {"a": torch.zeros(1)}}, torch.zeros(1)])
def test_a_file_of_other_things(value: object, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    torch.save(value, path)
    with (
        pytest.raises(PipelineError, match=r"a\.bin: expected a file of tensors by name, .* of other things"),
        opened(path),
    ):
        pass
