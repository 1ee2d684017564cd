"""A GGUF file, written here from the tiny model, becomes the same model again."""

import ast
import os
import re
from pathlib import Path

import gguf_writer
import pytest
import torch
from family_checkpoints import CHECKPOINTS, STARTS, write_checkpoint
from transformers import AutoModelForCausalLM

from pipeline.families import asked_as
from pipeline.model.base import resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.gguf_files import modelfile, start_of
from pipeline.model.loading import load_base, load_tokenizer, place
from pipeline.scoring.export_card import Exported, render_export_card
from pipeline.task import Task


@pytest.fixture(scope="module")
def gguf_file(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    gguf_writer.write(tiny_llama, path)
    return path


def test_a_gguf_file_becomes_the_same_model_once(
    gguf_file: Path,
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SENTIMENT_TUNER_CACHE", str(tmp_path / "cache"))
    umask = os.umask(0o022)
    base = resolve_base_model(str(gguf_file))
    os.umask(umask)
    said = capfd.readouterr().err
    assert not re.search(r"it/s|%\|", said), said  # no bars of the libraries
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


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_a_program_that_begins_texts_itself_asks_with_the_control_tokens_of_the_run(
    name: str, tiny_llama: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(resolve_base_model(str(write_checkpoint(name, tmp_path / name, tiny_llama))))
    encoder = Encoder(tokenizer, asked_as(Task(), name, tokenizer), 256)  # type: ignore[arg-type]
    start = start_of(encoder)
    assert start == "".join(STARTS.get(name, []))
    _, template, _ = modelfile(encoder.task, "m.gguf", end="", answer_tokens=5, start=start).split('"""')
    card = render_export_card(
        Exported("gguf", "x", encoder.task, "b", "c", True, "f16", [], [], 2, 5, None, "m.gguf", start), None, None
    )
    written = {
        key: ast.literal_eval(value) for key, value in re.findall(r"^(BEFORE|AFTER) = (.*)$", card, re.MULTILINE)
    }
    asked = template.replace("{{ .Prompt }}", "love it")
    assert asked == written["BEFORE"] + "love it" + written["AFTER"]
    added = set(tokenizer.get_added_vocab().values())
    expected = encoder.prompt("love it").ids
    got = tokenizer(asked)["input_ids"]  # as llama.cpp and Ollama do: one text, with what begins any text
    assert [i for i in got if i in added] == [i for i in expected if i in added]
    assert tokenizer.decode(got) == tokenizer.decode(expected)


def test_a_start_that_the_user_has_written_into_a_text_stays(tiny_llama: Path, tmp_path: Path) -> None:
    base = resolve_base_model(str(write_checkpoint("llama2-chat", tmp_path / "model", tiny_llama)))
    task = Task(template="<s>{instruction} {input} ->")  # the run itself has it twice
    assert start_of(Encoder(load_tokenizer(base), task, 256)) == ""
