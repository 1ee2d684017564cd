"""Training batches: what is learnt, in which order, and that packed rows compute what whole prompts do."""

import dataclasses
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from conftest import EXACT, make_rows, plain_loss
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifacts import Row
from pipeline.errors import PipelineError, ShortageError
from pipeline.model.adapter import LoraSettings, add_lora
from pipeline.model.attention import NAME, attention
from pipeline.model.base import BaseModel, resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.examples import (
    IGNORED,
    SAMPLING,
    CompletionLoss,
    Example,
    PackedCollator,
    PaddedCollator,
    Schedule,
    class_weights,
    encode_examples,
    in_order,
    quotas,
)
from pipeline.model.layout import Layout
from pipeline.model.loading import Placement, load_base, load_tokenizer, place
from pipeline.model.lora_linear import LoraLinear
from pipeline.model.lower_layers import LowerLayers, _allocate
from pipeline.task import Task

LORA = LoraSettings(4, 16, 0.0, ("all-linear",))
# Of unlike length in tokens.
LABELS = {"Negative": "Bad", "Neutral": "Neutral", "Positive": "Very good indeed"}


def some_rows(n: int) -> list[Row]:
    return [dataclasses.replace(row, output=LABELS[row.output]) for row in make_rows(n)]


@pytest.fixture(scope="module")
def encoder(tiny_llama: Path) -> Encoder:
    tokenizer = load_tokenizer(resolve_base_model(str(tiny_llama)))
    encoder = Encoder(tokenizer, dataclasses.replace(Task(), labels=tuple(LABELS.values())), 128)
    assert len({len(completion) for completion in encoder.completions.values()}) > 1  # some are filled up
    return encoder


def with_lora(base: BaseModel, placement: Placement, lora: LoraSettings = LORA) -> Any:
    model = add_lora(load_base(base, placement), lora)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # at its start of zero the A matrices would get no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def of_peft(base: BaseModel, model: Any, placement: Placement) -> Any:
    """The same weights in PEFT's own layers."""
    config = peft.LoraConfig(r=LORA.r, lora_alpha=LORA.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(load_base(base, placement), config)
    assert not any(isinstance(module, LoraLinear) for module in theirs.modules())
    theirs.load_state_dict(model.state_dict())
    return theirs


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def ours(model: Any, encoder: Encoder, rows: Sequence[Row], collator: Any, weights: Any = None) -> torch.Tensor:
    batch = collator(encode_examples(encoder, rows)[0])
    labels = batch.pop("labels")
    with attention(model, NAME if isinstance(collator, PackedCollator) else "eager"):
        return CompletionLoss(encoder, weights)(model(**batch), labels)


def assert_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, gradient in a.items():
        assert float((gradient - b[name]).norm() / b[name].norm()) < 1e-5, name


@pytest.mark.parametrize("collator", [PackedCollator, PaddedCollator])
@pytest.mark.parametrize("family", EXACT, indirect=True)
def test_loss_and_gradients_are_those_of_the_plain_computation(
    family: BaseModel, encoder: Encoder, collator: Any
) -> None:
    model = with_lora(family, place("fp32", "cpu"))
    assert any(isinstance(module, LoraLinear) for module in model.modules())
    rows = some_rows(7)
    loss = ours(model, encoder, rows, collator(encoder))
    # The yardstick is PEFT's own layer, on the same weights.
    theirs = of_peft(family, model, place("fp32", "cpu"))
    expected = plain_loss(theirs, encoder, rows)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_close(gradients(model, loss), gradients(theirs, expected))


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_in_bf16_gradients_are_as_near_to_the_truth_as_those_of_peft(family: BaseModel, encoder: Encoder) -> None:
    rows = some_rows(16)
    whole, half = with_lora(family, place("fp32", "cpu")), with_lora(family, place("bf16", "cpu"))
    half.load_state_dict(whole.state_dict())
    half_of_peft = of_peft(family, half, place("bf16", "cpu"))
    truth, found, reference = (
        torch.cat([gradient.flatten() for gradient in gradients(model, loss).values()])
        for model, loss in (
            (whole, plain_loss(whole, encoder, rows)),
            (half, ours(half, encoder, rows, PackedCollator(encoder))),
            (half_of_peft, plain_loss(half_of_peft, encoder, rows)),
        )
    )
    error, usual = (float((each - truth).norm() / truth.norm()) for each in (found, reference))
    assert 0 < error < 1.5 * usual < 0.2


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize("family", ["llama", "phi3", "glm"], indirect=True)
def test_the_same_holds_for_quantised_weights(family: BaseModel, encoder: Encoder, precision: str) -> None:
    model = with_lora(family, Placement("cpu", precision, torch.float32))
    rows = some_rows(5)
    loss, expected = ours(model, encoder, rows, PackedCollator(encoder)), plain_loss(model, encoder, rows)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_close(gradients(model, loss), gradients(model, expected))


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_forward_passes_of_one_step_add_up_to_the_mean(family: BaseModel, encoder: Encoder) -> None:
    model = with_lora(family, place("fp32", "cpu"))
    rows, collator, loss = some_rows(6), PackedCollator(encoder), CompletionLoss(encoder)
    batches = [collator(encode_examples(encoder, part)[0]) for part in (rows[:4], rows[4:])]
    # The Trainer counts so.
    tokens = sum(int(batch["labels"][:, 1:].ne(IGNORED).sum()) for batch in batches)
    assert tokens == sum(len(encoder.completions[row.output]) for row in rows)
    with attention(model, NAME):
        parts = [
            loss(model(**batch), labels, tokens) for batch in batches if (labels := batch.pop("labels")) is not None
        ]
    assert float(sum(parts)) == pytest.approx(float(plain_loss(model, encoder, rows)), rel=1e-5)


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_a_weighted_loss_weighs_whole_tweets_by_their_class(family: BaseModel, encoder: Encoder) -> None:
    model = with_lora(family, place("fp32", "cpu"))
    rows, labels = some_rows(5), encoder.task.labels
    weights = [0.5, 3.0, 1.25]
    by_hand = sum(
        weights[labels.index(row.output)]
        * float(plain_loss(model, encoder, [row]))
        * len(encoder.completions[row.output])
        for row in rows
    ) / sum(len(encoder.completions[row.output]) for row in rows)
    for collator in (PackedCollator(encoder), PaddedCollator(encoder)):
        assert float(ours(model, encoder, rows, collator, weights)) == pytest.approx(by_hand, rel=1e-5)


def test_a_batch_can_be_checked_by_eye(encoder: Encoder) -> None:
    rows = some_rows(3)
    batch = PackedCollator(encoder)(encode_examples(encoder, rows)[0])
    ids, positions = batch["input_ids"][0].tolist(), batch["position_ids"][0].tolist()
    prefix = len(encoder.prefix)
    assert ids[:prefix] == encoder.prefix
    at = prefix
    for number, row in enumerate(rows):
        completion = encoder.completions[row.output]
        whole = encoder.prompt(row.input).ids + completion
        own = whole[prefix:]
        assert ids[at : at + len(own)] == own
        assert positions[at : at + len(own)] == list(range(prefix, len(whole)))
        slots = batch["slots"][number].tolist()
        assert slots[: len(own)] == list(range(at, at + len(own)))
        kept = batch["logits_to_keep"].view(len(rows), -1)[number][: len(completion)].tolist()
        assert [ids[place + 1] for place in kept] == completion
        assert batch["labels"][number].tolist()[: 1 + len(completion)] == [IGNORED, *completion]
        at += len(own)
    assert at == len(ids)
    slots = batch["slots"].flatten()
    assert slots[batch["places"]].tolist() == list(range(prefix, len(ids)))


def laid_out(model: Any, encoder: Encoder, rows: Sequence[Row], scratch: Path, last: int | None = None) -> Layout:
    return Layout(model, encoder, encode_examples(encoder, rows)[0], last_layers=last, scratch=scratch)


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_a_model_that_computes_something_else_on_packed_rows_gets_whole_prompts(
    family: BaseModel,
    encoder: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = with_lora(family, place("fp32", "cpu"))
    rows = some_rows(6)
    assert isinstance(laid_out(model, encoder, rows, tmp_path).collator, PackedCollator)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    whole = PackedCollator.__call__

    def blind(self: PackedCollator, examples: Sequence[Example]) -> dict[str, Any]:
        batch = whole(self, examples)
        return batch | {"position_ids": batch["position_ids"] * 0}

    monkeypatch.setattr(PackedCollator, "__call__", blind)
    assert isinstance(laid_out(model, encoder, rows, tmp_path).collator, PaddedCollator)
    assert "its answers would differ by" in caplog.text
    monkeypatch.undo()
    caplog.clear()
    for name, value, why in (
        ("attention_dropout", 0.1, "it drops attention weights"),
        ("sliding_window", 100, "it looks back no further than 100 tokens"),
    ):
        setattr(model.config, name, value)
        assert isinstance(laid_out(model, encoder, rows, tmp_path).collator, PaddedCollator)
        assert why in caplog.text
        setattr(model.config, name, None)


@pytest.mark.parametrize("family", ["gemma2"], indirect=True)
def test_a_model_whose_attention_does_more_gets_whole_prompts(
    family: BaseModel, encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = with_lora(family, place("fp32", "cpu"))
    assert isinstance(laid_out(model, encoder, some_rows(6), tmp_path).collator, PaddedCollator)
    assert "its attention needs softcap" in caplog.text


@pytest.mark.parametrize("family", EXACT, indirect=True)
def test_layers_below_the_adapters_are_computed_once_and_change_nothing(
    family: BaseModel, encoder: Encoder, tmp_path: Path
) -> None:
    model = with_lora(family, place("fp32", "cpu"), dataclasses.replace(LORA, last_layers=1))
    assert {name.split(".layers.")[1][0] for name, p in model.named_parameters() if p.requires_grad} == {"1"}
    rows = some_rows(9)
    examples, _ = encode_examples(encoder, rows)
    layout = Layout(model, encoder, examples, last_layers=1, scratch=tmp_path)
    assert isinstance(layout.collator, LowerLayers)
    some = [7, 2, 5]
    batch = layout.collator([examples[i] for i in some])
    labels = batch.pop("labels")
    with layout.training():
        assert [type(layer).__name__ == "_LeftOut" for layer in model.get_decoder().layers] == [True, False]
        loss = CompletionLoss(encoder)(model(**batch), labels)
        with layout.decoding():
            expected = plain_loss(model, encoder, [rows[i] for i in some])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_close(gradients(model, loss), gradients(model, expected))


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_more_layers_than_there_are_and_pissa_in_few_digits_are_refused(family: BaseModel) -> None:
    with pytest.raises(PipelineError, match=r"lora.last_layers: this model has 2 layers, got 3"):
        with_lora(family, place("fp32", "cpu"), dataclasses.replace(LORA, last_layers=3))
    with pytest.raises(PipelineError, match=r"lora.variant pissa: expected weights in fp32, got torch.bfloat16"):
        with_lora(family, place("bf16", "cpu"), dataclasses.replace(LORA, variant="pissa"))


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1)


@given(counts, st.sampled_from(sorted(SAMPLING)))
def test_quotas_fill_a_pass_and_no_class_is_left_out(counts: dict[str, int], sampling: str) -> None:
    share = quotas(counts, sampling)
    assert sum(share.values()) == sum(counts.values())
    assert share.keys() == counts.keys()
    assert min(share.values()) >= 1


def test_quotas_by_hand() -> None:
    many_and_few = {"a": 90, "b": 10}
    assert quotas(many_and_few, "natural") == many_and_few
    assert quotas(many_and_few, "balanced") == {"a": 50, "b": 50}
    assert quotas(many_and_few, "sqrt") == {"a": 75, "b": 25}  # 3 to 1


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(1, 5), st.integers(0, 9))
def test_a_natural_order_shows_every_tweet_once_a_pass(labels: list[str], passes: int, seed: int) -> None:
    order = in_order(labels, passes * len(labels), "natural", seed)
    for start in range(0, len(order), len(labels)):
        assert sorted(order[start : start + len(labels)]) == list(range(len(labels)))
    assert order == in_order(labels, passes * len(labels), "natural", seed)


def test_a_balanced_order_repeats_a_rare_tweet_only_after_all_others_of_its_class() -> None:
    labels = ["common"] * 90 + ["rare"] * 10
    order = in_order(labels, 100, "balanced", seed=3)
    assert Counter(labels[i] for i in order) == {"common": 50, "rare": 50}
    assert len({i for i in order if i < 90}) == 50
    assert Counter(i for i in order if i >= 90) == dict.fromkeys(range(90, 100), 5)
    assert order != in_order(labels, 100, "balanced", seed=4)


def test_weights_have_a_mean_of_one_over_the_training_tweets() -> None:
    counts, labels = {"a": 80, "b": 20}, ["b", "a", "empty"]
    assert class_weights(counts, labels, "none") is None
    assert class_weights(counts, labels, "balanced") == pytest.approx([2.5, 0.625, 1.0])  # n / (classes * n of class)
    assert class_weights(counts, labels, "sqrt") == pytest.approx([5 / 3, 5 / 6, 1.0])  # 1 to 2, 20 * 5/3 + 80 * 5/6


def test_within_a_batch_the_longest_come_first() -> None:
    examples = [Example([0] * n, [0]) for n in (5, 9, 7, 8, 6, 1)]
    schedule = Schedule(examples, [0, 1, 2, 3, 4, 5, 0, 1], batch_size=4)
    assert [len(schedule[i].ids) for i in range(len(schedule))] == [9, 8, 7, 5, 9, 6, 5, 1]


def test_a_disk_without_room_for_the_frozen_layers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _allocate(tmp_path / "a", 5_000)
    assert (tmp_path / "a").stat().st_blocks * 512 >= 5_000  # no hole in it
    with pytest.raises(
        ShortageError, match=r"b: No space left on device; what the frozen layers compute needs 9,000,000"
    ):
        _allocate(tmp_path / "b", 9 * 10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**19))
    with pytest.raises(ShortageError, match=r"b: .*; free some disk, or set lora.last_layers null"):
        _allocate(tmp_path / "b", 2**62)
    assert not (tmp_path / "b").exists()
