"""Tuning a tiny LLaMA for real: Trainer, PEFT, bitsandbytes, saving, loading again."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_rows, plain_loss
from peft import PeftModel

from pipeline.artifacts import Row
from pipeline.errors import PipelineError
from pipeline.model import training
from pipeline.model.adapter import LoraSettings, add_lora, check_adapter
from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.examples import CompletionLoss
from pipeline.model.loading import load_base, load_tokenizer, load_tuned, place
from pipeline.model.training import TrainingResult, TrainingSettings, tune
from pipeline.task import Task

WEIGHTS = "adapter_model.safetensors"
LORA = LoraSettings(8, 16, 0.0, ("all-linear",))
SETTINGS = TrainingSettings(
    batch_size=8, micro_batch_size=4, epochs=9, max_steps=8, learning_rate=5e-3, warmup=0.1, evaluations=2, seed=1
)


def accuracy(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
    share = sum(a == b for a, b in zip(y_true, y_pred, strict=True)) / len(y_true)
    return {"macro_f1": share, "accuracy": share}


def tuned(
    tiny_llama: Path,
    folder: Path,
    precision: str,
    settings: TrainingSettings = SETTINGS,
    lora: LoraSettings = LORA,
    train: Sequence[Row] | None = None,
) -> TrainingResult:
    base = resolve_base_model(str(tiny_llama))
    encoder = Encoder(load_tokenizer(base), Task(), 128)
    folder.mkdir()
    return tune(
        base,
        place(precision, "cpu"),
        encoder,
        train or make_rows(48),
        make_rows(12, start=100),
        lora=lora,
        settings=settings,
        score=accuracy,
        folder=folder,
    )


@pytest.fixture(scope="module")
def encoder(tiny_llama: Path) -> Encoder:
    return Encoder(load_tokenizer(resolve_base_model(str(tiny_llama))), Task(), 128)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_a_tuned_adapter_is_saved_and_predicts_the_same_when_loaded(
    tiny_llama: Path, tmp_path: Path, precision: str
) -> None:
    result = tuned(tiny_llama, tmp_path / "run", precision)
    assert result.steps == 8
    check_adapter(tmp_path / "run" / "adapter")
    lines = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert [line["step"] for line in lines if "eval_macro_f1" in line] == [4, 8]
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_the_best_checkpoint_is_kept_and_not_the_last(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.1])
    monkeypatch.setattr(f"{__name__}.accuracy", lambda y_true, y_pred: {"macro_f1": next(scores)})
    result = tuned(tiny_llama, tmp_path / "run", "fp32")
    assert (result.best_step, result.best_score) == (4, 0.9)
    kept, first, last = (
        (tmp_path / "run" / folder / WEIGHTS).read_bytes()
        for folder in ("adapter", "checkpoints/checkpoint-4", "checkpoints/checkpoint-8")
    )
    assert kept == first != last


def test_a_tiny_model_learns_easy_tweets(learnt: tuple[Path, TrainingResult]) -> None:
    assert learnt[1].best_score > 0.8


def test_the_loss_of_the_validation_is_that_of_plain_scoring(
    tiny_llama: Path, encoder: Encoder, learnt: tuple[Path, TrainingResult]
) -> None:
    folder, result = learnt
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    logged = next(line["eval_loss"] for line in lines if "eval_loss" in line and line["step"] == result.best_step)
    model = load_tuned(resolve_base_model(str(tiny_llama)), folder / "adapter", place("fp32", "cpu"))
    rows = make_rows(12, start=100)
    with torch.inference_mode():
        assert logged == pytest.approx(float(plain_loss(model, encoder, rows)), abs=1e-4)


@pytest.mark.parametrize(
    "lora",
    [
        dataclasses.replace(LORA, variant="rslora"),
        dataclasses.replace(LORA, variant="dora"),
        dataclasses.replace(LORA, variant="pissa"),
        dataclasses.replace(LORA, dropout=0.1),
        dataclasses.replace(LORA, last_layers=1),
    ],
    ids=["rslora", "dora", "pissa", "dropout", "last layer"],
)
def test_every_kind_of_adapter_is_saved_and_predicts_the_same_when_loaded(
    tiny_llama: Path, tmp_path: Path, lora: LoraSettings
) -> None:
    result = tuned(tiny_llama, tmp_path / "run", "fp32", lora=lora)  # which checks it
    assert result.steps == 8
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["adapter", "checkpoints", "tensorboard", "training.jsonl"]
    # PEFT alone loads it, and computes the same.
    base, ids = resolve_base_model(str(tiny_llama)), torch.arange(3, 40).unsqueeze(0)
    ours = load_tuned(base, tmp_path / "run" / "adapter", place("fp32", "cpu"))
    theirs = PeftModel.from_pretrained(load_base(base, place("fp32", "cpu")), tmp_path / "run" / "adapter")
    with torch.inference_mode():
        assert torch.allclose(theirs.eval()(ids).logits, ours.eval()(ids).logits, atol=1e-4)


def test_levers_for_small_classes_and_the_optimizer_are_trained_with(tiny_llama: Path, tmp_path: Path) -> None:
    rows = make_rows(72)
    uneven = [row for row in rows if row.output == "Neutral"] + [row for row in rows if row.output != "Neutral"][:8]
    weights = set()
    changes: tuple[dict[str, Any], ...] = (
        *({}, {"sampling": "balanced"}, {"class_weights": "balanced"}, {"b_learning_rate": 4.0}),
    )
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        tuned(tiny_llama, folder, "fp32", dataclasses.replace(SETTINGS, max_steps=2, **change), train=uneven)
        weights.add((folder / "adapter" / WEIGHTS).read_bytes())
    assert len(weights) == len(changes)


def test_weights_do_not_repeat_what_sampling_does(tiny_llama: Path, tmp_path: Path) -> None:
    rows = make_rows(90)
    uneven = [row for row in rows if row.output == "Neutral"][:22] + [r for r in rows if r.output != "Neutral"][:8]
    balanced = dataclasses.replace(SETTINGS, batch_size=10, micro_batch_size=5, max_steps=3, sampling="balanced")
    for name, method in (("a", "none"), ("b", "balanced")):
        tuned(tiny_llama, tmp_path / name, "fp32", dataclasses.replace(balanced, class_weights=method), train=uneven)
    a, b = ((tmp_path / name / "adapter" / WEIGHTS).read_bytes() for name in ("a", "b"))
    assert a == b  # ten of each class are seen


def test_validations_are_spread_evenly(tiny_llama: Path, tmp_path: Path) -> None:
    tuned(tiny_llama, tmp_path / "run", "fp32", dataclasses.replace(SETTINGS, max_steps=7, evaluations=3))
    lines = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_loss" in line] == [3, 5, 7]


def test_accelerate_cannot_turn_autocast_on(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned(tiny_llama, tmp_path / "plain", "fp32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    tuned(tiny_llama, tmp_path / "launched", "fp32")
    a, b = ((tmp_path / name / "adapter" / WEIGHTS).read_bytes() for name in ("plain", "launched"))
    assert a == b


@pytest.mark.parametrize(("select_by", "best"), [("macro_f1", 4), ("accuracy", 8)])
def test_the_metric_that_was_named_chooses_the_adapter(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select_by: str, best: int
) -> None:
    scores = iter([{"macro_f1": 0.9, "accuracy": 0.1}, {"macro_f1": 0.2, "accuracy": 0.3}])
    monkeypatch.setattr(f"{__name__}.accuracy", lambda y_true, y_pred: next(scores))
    result = tuned(tiny_llama, tmp_path / "run", "fp32", dataclasses.replace(SETTINGS, select_by=select_by))
    assert result.best_step == best


def test_training_stops_when_it_gets_no_better(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.6, 0.55, 0.58, 0.7])
    monkeypatch.setattr(f"{__name__}.accuracy", lambda y_true, y_pred: {"macro_f1": next(scores)})
    patient = dataclasses.replace(SETTINGS, evaluations=8, patience=2)
    result = tuned(tiny_llama, tmp_path / "run", "fp32", patient)
    assert (result.steps, result.best_step, result.best_score) == (4, 2, 0.6)


def test_the_same_seed_gives_the_same_adapter(tiny_llama: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        tuned(tiny_llama, tmp_path / name, "fp32")
    a, b = ((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b


def test_an_adapter_that_loads_differently_fails_the_run(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*arguments: object) -> object:
        model = load_tuned(*arguments)  # type: ignore[arg-type]
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=3.0)
        return model

    monkeypatch.setattr(training, "load_tuned", other)
    with pytest.raises(PipelineError, match=r"loaded again it answers .* differently"):
        tuned(tiny_llama, tmp_path / "run", "fp32")


def test_an_adapter_that_learnt_nothing_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    model = add_lora(load_base(resolve_base_model(str(tiny_llama)), place("fp32", "cpu")), LORA)
    model.save_pretrained(tmp_path)
    with pytest.raises(PipelineError, match="14 of 14 B matrices all zero"):
        check_adapter(tmp_path)


def test_a_target_that_does_not_exist_is_named_with_those_that_do(tiny_llama: Path) -> None:
    model = load_base(resolve_base_model(str(tiny_llama)), place("fp32", "cpu"))
    with pytest.raises(PipelineError, match=r"no linear layer named W_pack; expected some of down_proj, .*v_proj"):
        add_lora(model, LoraSettings(4, 8, 0.0, ("W_pack", "o_proj")))


def test_int8_layers_score_as_they_were_tuned(tiny_llama: Path, tmp_path: Path, encoder: Encoder) -> None:
    tuned(tiny_llama, tmp_path / "run", "int8")
    model = load_tuned(resolve_base_model(str(tiny_llama)), tmp_path / "run" / "adapter", place("int8", "cpu"))
    Classifier(model, encoder).decode(["love it"])
    eight_bit = [module for module in model.modules() if type(module).__name__ == "Linear8bitLt"]
    assert eight_bit
    assert all(module.training for module in eight_bit)


def test_too_little_memory_says_what_to_lower(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CompletionLoss, "__call__", full)
    with pytest.raises(MemoryError, match="4 tweets of up to 128 tokens do not fit; lower --micro_batch_size"):
        tuned(tiny_llama, tmp_path / "run", "fp32")


def test_a_training_that_diverges_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    wild = dataclasses.replace(SETTINGS, learning_rate=1e30, warmup=0.0)
    with pytest.raises(PipelineError, match=r"step \d+: .* not a finite number, the training has diverged; lower"):
        tuned(tiny_llama, tmp_path / "run", "fp32", wild)


def test_epochs_count_up_to_the_limit_of_steps(tiny_llama: Path, tmp_path: Path) -> None:
    one_epoch = dataclasses.replace(SETTINGS, epochs=1, max_steps=None)
    assert tuned(tiny_llama, tmp_path / "a", "fp32", one_epoch).steps == 48 // 8
    assert tuned(tiny_llama, tmp_path / "b", "fp32", dataclasses.replace(one_epoch, max_steps=2)).steps == 2


def test_a_limit_beyond_what_the_model_reads_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    base = resolve_base_model(str(tiny_llama))
    encoder = Encoder(load_tokenizer(base), Task(), 1000)
    with pytest.raises(PipelineError, match=r"--max_length 1000: .* reads at most 512 tokens"):
        tune(base, place("fp32", "cpu"), encoder, [], [], lora=LORA, settings=SETTINGS, score=accuracy, folder=tmp_path)
