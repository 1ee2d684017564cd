"""Merged models against the adapters they were made of, for every kind of LoRA."""

import dataclasses
from pathlib import Path

import pytest
import torch
from family_checkpoints import CHECKPOINTS, write_checkpoint
from transformers import AutoModelForCausalLM

from pipeline.artifacts import Run, new_folder, write_manifest
from pipeline.errors import PipelineError
from pipeline.families import asked_as
from pipeline.model.adapter import AdapterFiles, LoraSettings, add_lora
from pipeline.model.base import BaseModel, resolve_base_model
from pipeline.model.decoding import Decoded
from pipeline.model.gguf_files import modelfile
from pipeline.model.loading import family_of, load_base, load_tokenizer, load_tuned, place
from pipeline.model.merging import write_merged
from pipeline.model.parity import compare
from pipeline.task import Task

IDS = torch.tensor([[1, 5, 7, 200, 31, 8]])
ALL = ("all-linear",)


def make_run(folder: Path, base: BaseModel, task: Task, settings: LoraSettings) -> Run:
    """A run with an adapter of random numbers."""
    torch.manual_seed(1)
    model = add_lora(load_base(base, place("fp32", "cpu")), settings)
    files = AdapterFiles(model, folder / "beginning", base.public_name)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    with new_folder(folder / "run") as staging:
        files.save(staging / "adapter")
        content = {
            "base_model": dataclasses.asdict(base),
            "precision": "fp32",
            "dtype": "float32",
            "max_length": 256,
        }
        write_manifest(staging, Run.kind, task, content)
    return Run.load(folder / "run")


@pytest.mark.parametrize(
    "settings",
    [
        LoraSettings(4, 8, 0.1, ALL),
        LoraSettings(4, 8, 0.0, ALL, variant="rslora"),
        LoraSettings(4, 8, 0.0, ("q_proj", "down_proj"), variant="dora"),
        LoraSettings(4, 8, 0.0, ALL, variant="pissa"),
        LoraSettings(4, 8, 0.0, ALL, last_layers=1),
    ],
    ids=["lora", "rslora", "dora", "pissa", "last layer"],
)
def test_merged_weights_compute_what_base_and_adapter_do(
    settings: LoraSettings, tiny_llama: Path, tmp_path: Path
) -> None:
    base, placement = resolve_base_model(str(tiny_llama)), place("fp32", "cpu")
    write_merged(make_run(tmp_path, base, Task(), settings), tmp_path / "merged", "fp32")
    with torch.inference_mode():
        expected = load_tuned(base, tmp_path / "run" / "adapter", placement)(IDS).logits
        untuned = load_base(base, placement)(IDS).logits
        got = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(IDS).logits
    assert float((got - expected).abs().max()) < 1e-4
    assert float((got - untuned).abs().max()) > 0.05


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_a_merged_model_is_known_by_the_family_that_it_was_tuned_as(
    name: str, tiny_llama: Path, tmp_path: Path
) -> None:
    base = resolve_base_model(str(write_checkpoint(name, tmp_path / name, tiny_llama)))
    task = asked_as(Task(), name, load_tokenizer(base))  # type: ignore[arg-type]
    write_merged(make_run(tmp_path, base, task, LoraSettings(4, 8, 0.0, ALL)), tmp_path / "merged", "fp32")
    merged = resolve_base_model(str(tmp_path / "merged"))
    tokenizer = load_tokenizer(merged)
    assert family_of(merged, tokenizer) == name
    assert asked_as(Task(), name, tokenizer) == task


def test_a_chat_model_tuned_on_a_text_is_no_chat_model_any_more(tiny_llama: Path, tmp_path: Path) -> None:
    base = resolve_base_model(str(write_checkpoint("chat", tmp_path / "chat", tiny_llama)))
    write_merged(make_run(tmp_path, base, Task(), LoraSettings(4, 8, 0.0, ALL)), tmp_path / "merged", "fp32")
    merged = resolve_base_model(str(tmp_path / "merged"))
    assert family_of(merged, load_tokenizer(merged)) == "alpaca"


def answer(completion: str, *log_likelihoods: float) -> Decoded:
    return Decoded(completion, Task().parse(completion), log_likelihoods, Task().labels, False)


def test_flips_are_counted_by_both_readings() -> None:
    run = [answer("Positive", -3, -2, -1), answer("hm", -1, -2, -3), answer("Neutral", -2, -1, -3)]
    other = [answer("positive", -3, -2, -1), answer("ah", -2.5, -2, -3), answer("?", -2, -1, -3)]
    found = compare("x", run, other)
    assert (found.rows, found.generate_flips, found.loglikelihood_flips) == (3, 1, 1)
    assert found.largest_difference == 1.5
    assert found.flipped == pytest.approx(1 / 3)
    with pytest.raises(PipelineError, match="x: expected log-likelihoods, got some that are no numbers"):
        compare("x", run, [*other[:2], answer("?", float("nan"), -1, -2)])


def rendered(modelfile: str, tweet: str) -> str:
    """What Ollama would make of the template: text/template with string constants and the prompt."""
    _, template, _ = modelfile.split('"""')
    return template.replace('{{ "{{" }}', "\0").replace("{{ .Prompt }}", tweet).replace("\0", "{{")


@pytest.mark.parametrize(
    "task",
    [
        Task(),
        Task(instruction="Say {{ which }} it is: \\n or \"so\""),
        Task(("bad", "good"), "Which?", "<s>{instruction}\n{{.Prompt}}\n{input} ->"),
    ],
)  # fmt: skip
def test_a_modelfile_asks_the_prompt_to_the_letter(task: Task) -> None:
    for tweet in ("love it", "a {{ b }} c", "ends in a line\n"):
        assert rendered(modelfile(task, "m.gguf", end="</s>", answer_tokens=5), tweet) == str(task.prompt(tweet))


def test_a_modelfile_decodes_greedily() -> None:
    lines = modelfile(Task(), "m.gguf", end="</s>", answer_tokens=5).splitlines()
    assert lines[0] == "FROM ./m.gguf"
    assert lines[-4:] == [
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        "PARAMETER num_predict 5",
        'PARAMETER stop "</s>"',
    ]


@pytest.mark.parametrize(
    "template", ['x """ {instruction} {input} y', '"{instruction} {input}', '{instruction} {input}"']
)
def test_quotes_that_a_modelfile_cannot_hold_are_refused(template: str) -> None:
    with pytest.raises(PipelineError, match="--to ollama: expected a prompt without three quotes"):
        modelfile(Task(template=template), "m.gguf", end="", answer_tokens=5)


@pytest.mark.parametrize(
    ("base", "public"),
    [
        (BaseModel("smollm2-135m", "/home/me/.cache/smollm2-135m", "ab"), "smollm2-135m"),
        (BaseModel("org/name", "/home/me/hub/snapshots/ab12", "ab12"), "org/name"),
        (BaseModel("/home/me/models/mine", "/home/me/models/mine", "ab"), "mine"),
        (BaseModel("models/mine", "/home/me/models/mine", "ab"), "mine"),
        (BaseModel(".", "/home/me/models/mine", "ab"), "mine"),
        (BaseModel("../a/model.gguf", "/home/me/.cache/gguf-ab", "ab"), "model.gguf"),
    ],
)
def test_a_public_name_tells_no_folder(base: BaseModel, public: str) -> None:
    assert base.public_name == public
    assert "/home" not in base.origin
    assert ("Apache-2.0" in base.origin) == (public == "smollm2-135m")
