"""A GGUF file, written here from the tiny model, becomes the same model again."""

import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.model.base import resolve_base_model
from pipeline.model.loading import load_base, load_tokenizer, place

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{NAMES[part]}.weight"
    return f"{NAMES[stem]}.weight"


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rotary halves to rotary pairs, as GGUF keeps q and k."""
    size = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, size, -1).swapaxes(1, 2).reshape(weight.shape)


@pytest.fixture(scope="module")
def gguf_file(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    config = model.config
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads((tiny_llama / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = {**bpe["model"]["vocab"], **{token["content"]: token["id"] for token in bpe["added_tokens"]}}
    special = {token["id"] for token in bpe["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in bpe["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    for name, tensor in model.state_dict().items():
        weight = tensor.float().numpy()
        if "q_proj" in name or "k_proj" in name:
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            weight = interleave(weight, heads)
        writer.add_tensor(gguf_name(name), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_becomes_the_same_model_once(
    gguf_file: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_TUNER_CACHE", str(tmp_path / "cache"))
    umask = os.umask(0o022)
    base = resolve_base_model(str(gguf_file))
    os.umask(umask)
    ids = torch.tensor([[1, 5, 7, 200, 31, 8]])
    with torch.inference_mode():
        converted = load_base(base, place("fp32", "cpu"))(ids).logits
        original = AutoModelForCausalLM.from_pretrained(tiny_llama)(ids).logits
    # The conversion stores bf16, which keeps 8 bits.
    assert float((converted - original).abs().max()) < 0.02 * float(original.abs().max())
    text = "love it, <|im_end|> 🚀 5%"
    tokenizers = [load_tokenizer(each) for each in (base, resolve_base_model(str(tiny_llama)))]
    a, b = (tokenizer(text, split_special_tokens=True)["input_ids"] for tokenizer in tokenizers)
    assert a == b
    folder = Path(base.location)
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    assert all(path.stat().st_mode & 0o077 == 0o044 for path in folder.iterdir())
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_base_model(str(gguf_file)) == base
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
