"""A GGUF file, written here from the tiny model, becomes the same model again."""

import os
from pathlib import Path

import gguf_writer
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.model.base import resolve_base_model
from pipeline.model.loading import load_base, load_tokenizer, place


@pytest.fixture(scope="module")
def gguf_file(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    gguf_writer.write(tiny_llama, path)
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
