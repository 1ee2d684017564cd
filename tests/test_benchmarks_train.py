"""The benchmark of training: its arithmetic, its baselines on the tiny model, its tables."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_rows
from peft import LoraConfig, get_peft_model
from sklearn.metrics import f1_score
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.decoder import Decoder
from benchmarks.jobs import Spent, spawn
from benchmarks.rates import Product, mixed_rate
from benchmarks.train import factory, tables, tutorial
from benchmarks.train.__main__ import TrainBenchmarkConfig, benchmark
from benchmarks.train.arithmetic import Tweet, products, scaffold_flops, step_flops, tweet_flops, tweets_seen
from benchmarks.train.growth import VALIDATION, Size, made_up, write_dataset
from benchmarks.train.job import Job
from benchmarks.train.programs import Machine, Outcome, Program, adapter, our_command, programs, trial
from benchmarks.train.scores import judged
from benchmarks.tweets import counter
from pipeline.artifacts import PreparedDataset, Run
from pipeline.errors import PipelineError
from pipeline.model.adapter import check_adapter
from pipeline.task import Task
from pipeline.train import main

# Weights of a layer: 4 x 4, 4 x 2, 4 x 2, 4 x 4, 4 x 6, 4 x 6, 6 x 4, together 120.
SMALL = Decoder(layers=1, hidden=4, intermediate=6, heads=2, key_value_heads=1, head_size=2, vocabulary=10)


@pytest.fixture
def job(tiny_llama: Path, prepared: Path, tmp_path: Path) -> Job:
    return Job(
        model=str(tiny_llama),
        dataset=str(prepared),
        out=str(tmp_path / "out"),
        steps=8,
        batch_size=8,
        micro_batch_size=4,
        learning_rate=1e-2,
        warmup_steps=1,
        seed=1,
        max_length=256,
        rank=4,
        alpha=8,
    )


def test_flops_by_hand() -> None:
    # 3 tokens in front: 3 x 120 weights, 2 operations each, forward and backward: 1440. Rank 1: inputs and outputs of
    # the layers are 8 + 6 + 6 + 8 + 10 + 10 + 10 = 58, so 3 x 58 x 2, forward and twice that backward: 1044. They see
    # 1 + 2 + 3 = 6 tokens with 2 heads of 2 numbers, in 6 products: 6 x 4 x 2 x 6 = 288.
    assert scaffold_flops(SMALL, 3, rank=1) == 1440 + 1044 + 288
    # Two tokens of prompt and two of completion, the last of which is never read: again 3 tokens. They see 3 x 3 + 6
    # tokens: 720. Two places go through the output layer's 40 weights, forward and backward: 320.
    tweet = Tweet(prompt=2, completion=2)
    assert tweet_flops(SMALL, 3, tweet, rank=1) == 1440 + 1044 + 720 + 320
    assert step_flops(SMALL, 3, [tweet, tweet], rank=1) == 2772 + 2 * 3524


def test_flops_are_those_that_pytorch_counts(tiny_llama: Path) -> None:
    decoder = Decoder.from_config(json.loads((tiny_llama / "config.json").read_text(encoding="utf-8")))
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    tweet = Tweet(prompt=10, completion=3)
    n = 12
    with FlopCounterMode(display=False) as counted:
        logits = model(input_ids=torch.arange(n).unsqueeze(0), logits_to_keep=torch.arange(n - 3, n)).logits
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits[0], torch.tensor([5, 6, 2])))
    # PyTorch computes the attention that the mask hides, and leaves out the gradient of the first layer's inputs.
    hidden = 6 * 2 * decoder.layers * decoder.heads * decoder.head_size * (n * n - n * (n + 1) // 2)
    first = sum(2 * n * (inputs * outputs + 4 * inputs) for inputs, outputs in decoder.linear[:3])
    assert tweet_flops(decoder, 0, tweet, rank=4) == counted.get_total_flops() - hidden + first


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"LLaMA family.*num_attention_heads"):
        Decoder.from_config({"n_head": 12})


def test_products_of_a_step_are_those_of_the_frozen_weights() -> None:
    found = products(SMALL, tokens=9, places=4)
    assert [found[Product(9, 4, 4, way)] for way in (True, False)] == [2, 2]  # queries and output, forward, backward
    assert [found[Product(9, 4, 6, way)] for way in (True, False)] == [2, 1]  # gate and up forward, down backward
    assert [found[Product(9, 6, 4, way)] for way in (True, False)] == [1, 2]
    assert [found[Product(4, 4, 10, True)], found[Product(4, 10, 4, False)]] == [1, 1]
    assert sum(2 * count * m * k * n for (m, k, n, _), count in found.items()) == 9 * 120 * 4 + 4 * 40 * 4
    slow = [
        {**Product(1, 1, 500, False)._asdict(), "count": 1, "best": 10.0},
        {**Product(1, 1, 1000, True)._asdict(), "count": 2, "best": 40.0},
    ]
    assert mixed_rate([*slow, {**Product(9, 9, 9, True)._asdict(), "count": 0, "best": 1.0}], "best") == 5000 / 200


@pytest.mark.parametrize(("rows", "batch_size"), [(10, 4), (8, 4), (3, 4), (590, 8)])
def test_tweets_seen(rows: int, batch_size: int) -> None:
    seen = 0
    for step in range(1, 3 * (rows // batch_size + 1)):
        left = rows - seen % rows
        seen += min(batch_size, left)
        assert tweets_seen(rows, batch_size, step) == seen


def test_the_tutorial_learns_whole_prompts_in_small_batches(job: Job) -> None:
    made = tutorial.trainer(job)
    batch = next(iter(made.get_train_dataloader()))
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    assert ids.shape[0] == 4
    assert ids.shape[1] % 8 == 0
    assert ((labels == ids) | (mask == 0)).all()
    assert (labels[mask == 0] == -100).all()
    assert (mask.diff(dim=1) >= 0).all()  # padding stands on the left
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    known = {
        f"{Task().prompt(row.input)}{row.output}<|im_end|>" for row in PreparedDataset.load(job.dataset).rows("train")
    }
    assert {tokenizer.decode(row[kept == 1]) for row, kept in zip(ids, mask, strict=True)} <= known
    assert made.args.gradient_accumulation_steps == 2
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    _learns(tutorial.run(job)["losses"], job)


def test_trl_learns_labels_alone(job: Job) -> None:
    pytest.importorskip("trl")
    from benchmarks.train import sft

    firsts: list[float] = []
    for numbers, padding_free in (("fp32", False), ("fp32", True), ("bf16", False)):
        settings = {
            "attention": "sdpa", "autocast": numbers == "fp32", "adapter": numbers, "padding_free": padding_free,
        }  # fmt: skip
        its = dataclasses.replace(job, out=f"{job.out}-{len(firsts)}", settings=settings)
        made = sft.trainer(its)
        assert {str(p.dtype) for p in made.model.parameters() if p.requires_grad} == {
            "torch.float32" if numbers == "fp32" else "torch.bfloat16"
        }
        batch = next(iter(made.get_train_dataloader()))
        tokenizer = AutoTokenizer.from_pretrained(job.model)
        completions = tokenizer.decode(batch["labels"][batch["labels"] != -100]).split("<|im_end|>")
        assert len(completions) == 9
        assert set(completions) <= {*Task().labels, ""}
        losses = sft.run(its)["losses"]
        _learns(losses, its)
        firsts.append(losses[0][1])
    assert firsts == pytest.approx(3 * [firsts[0]], abs=0.02)  # without padding each tweet still sees itself alone


def _learns(losses: Sequence[Sequence[float]], job: Job) -> None:
    assert [step for step, _ in losses] == list(range(1, 9))
    assert losses[-1][1] < losses[0][1] - 0.1
    check_adapter(Path(job.out))


def test_llama_factory_gets_the_same_rows_and_numbers(job: Job, tmp_path: Path) -> None:
    settings = dataclasses.replace(job, settings={"attention": "disabled"})
    path = factory.write_files(settings, "<|im_end|>", tmp_path)
    rows = json.loads((tmp_path / "tweets.json").read_text(encoding="utf-8"))
    first = PreparedDataset.load(job.dataset).rows("train")[0]
    assert rows[0] == {
        "instruction": str(Task().prompt(first.input)),
        "input": "",
        "output": f"{first.output}<|im_end|>",
    }
    options = json.loads(path.read_text(encoding="utf-8"))
    assert {name: options[name] for name in ("max_steps", "warmup_steps", "seed", "cutoff_len", "lora_rank")} == {
        "max_steps": 8,
        "warmup_steps": 1,
        "seed": 1,
        "cutoff_len": 256,
        "lora_rank": 4,
    }
    assert (options["per_device_train_batch_size"], options["flash_attn"]) == (8, "disabled")


def test_our_command_does_the_job(job: Job) -> None:
    _, _, module, *options = our_command(job, job.model)
    assert module == "pipeline.train"
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 0
    run = Run.load(job.out)
    assert run.manifest["result"]["steps"] == 8
    asked = {
        "r": 4,
        "alpha": 8,
        "dropout": 0.0,
        "target_modules": ["all-linear"],
        "last_layers": None,
        "variant": "lora",
    }
    assert run.manifest["config"]["lora"] == asked
    check_adapter(adapter(programs(sys.executable, None)["ours"], job))


def test_a_failed_program_is_told_with_its_last_words(tmp_path: Path) -> None:
    text, spent = spawn([sys.executable, "-c", "x = 'a' * 100_000_000; print(len(x))"], tmp_path, {})
    assert text == "100000000\n"
    assert spent.peak_bytes > 100_000_000
    with pytest.raises(PipelineError, match=r"code 3; it says: \.\.\.no such thing"):
        spawn([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"], tmp_path, {})


def test_a_trial_takes_the_better_of_two_turns(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # How busy the machine is cannot be arranged: the first setting is the fastest, and disturbed the first time.
    seconds = iter([6.0, 4.0, 5.0, 9.0, 6.0, 5.0, 3.0])
    done = []

    def run(program: Program, job: Job, machine: Machine) -> Outcome:
        done.append((job.settings["attention"], job.out))
        return Outcome(next(seconds), [], Spent(0, 0, 0))

    monkeypatch.setattr("benchmarks.train.programs.run", run)
    names = ("sdpa", "eager", "flash", "slow")
    program = Program("trl", "trl", sys.executable, [{"attention": name} for name in names])
    fastest, tried = trial(program, job, Machine(tmp_path, {}, "", "", ""))
    assert fastest == {"attention": "sdpa"}
    assert [each["seconds"] for each in tried] == [3.0, 4.0, 5.0, 9.0]
    assert [name for name, _ in done] == [*names, "eager", "flash", "sdpa"]  # the slowest is not tried again
    assert len({out for _, out in done}) == 7  # nothing is overwritten


def test_scores_are_over_the_answers_of_all_rounds() -> None:
    rows = make_rows(60)
    labels = Task().labels
    right: list[str | None] = [row.output for row in rows]
    wrong = [labels[0] if i % 4 == 0 else each for i, each in enumerate(right)]
    silent = [None if i % 5 == 0 else each for i, each in enumerate(right)]
    found = judged(rows, {"ours": [wrong, silent], "same": [wrong, silent], "best": [right, right]}, labels, "ours")
    y_true = [row.output for row in rows] * 2
    y_pred = [each or "none" for each in wrong + silent]
    expected = f1_score(y_true, y_pred, labels=labels, average="macro")
    score = found["scores"]["ours"]
    assert score["macro_f1"] == pytest.approx(expected)
    assert score["low"] < expected < score["high"]
    assert score["unparsed_rate"] == pytest.approx(0.1)
    same, best = found["comparisons"]
    assert (same["other"], same["difference"], same["p_value"]) == ("same", 0, 1)
    assert best["difference"] == pytest.approx(expected - 1)
    assert best["high"] < 0
    assert best["p_holm"] < 0.01


@pytest.mark.parametrize("tokens", [16, 64])
def test_made_up_tweets_have_their_length(tiny_llama: Path, tokens: int, tmp_path: Path) -> None:
    count = counter(tiny_llama)
    texts = list(made_up(Size(20, tokens), count, seed=0))
    assert len(texts) == 20 + VALIDATION
    sizes = [len(count(text)) for text, _ in texts]
    assert max(sizes) <= tokens
    assert sum(sizes) / len(sizes) > 0.8 * tokens
    write_dataset(tmp_path / "made", texts)
    dataset = PreparedDataset.load(tmp_path / "made")
    assert [(row.input, row.output) for row in dataset.rows("train")] == texts[:20]
    assert {row.output for row in dataset.rows("train")} == set(Task().labels)


def test_tables() -> None:
    rounds = [_round(10.0), _round(30.0), _round(20.0)]
    record: dict[str, Any] = {
        "programs": ["tutorial", "llamafactory", "ours"],
        "skipped": {"llamafactory": "no interpreter given with --llamafactory"},
        "rounds": {"tutorial": [_round(5.0)], "ours": rounds},
        "machine_rates": {"sustained": 4e12, "peak": 10e12, "square": 8e12},
        "scores": {
            "n": 227,
            "scores": {
                "tutorial": {"macro_f1": 0.4, "low": 0.35, "high": 0.5},
                "ours": {"macro_f1": 0.7, "low": 0.6, "high": 0.8},
            },
            "test_losses": {"tutorial": [0.5], "ours": [0.2, 0.1, 0.3]},
            "comparisons": [
                {"other": "tutorial", "difference": 0.3, "low": 0.2, "high": 0.4, "p_value": 0.0001, "p_holm": 0.0002}
            ],
        },
    }
    head, rule, tuto, skipped, ours = tables.compared(record)
    assert head.count("|") == rule.count("|") == tuto.count("|") == skipped.count("|") == ours.count("|")
    assert tuto.startswith("| Alpaca-LoRA tutorial, fp32 | 5.00 | 5.00 | 4.00 | 2.00 to 2.00 | 512 | 1.250 | 0.500 |")
    assert "skipped: no interpreter" in skipped
    # 20 tweets a second at 0.1 TFLOP each
    assert ours.startswith("| this project | 20.00 | 10.00, 30.00, 20.00 | 1.00 | 1.00 to 1.00 |")
    assert ours.endswith("| 0.200 | 0.700 [0.600, 0.800] | 50 | 20 | 25 |")
    assert list(tables.paired(record))[2:] == [
        "| Alpaca-LoRA tutorial, fp32 | +0.300 [+0.200, +0.400] | 0.0001 | 0.0002 |"
    ]
    line = {"tweets": 1000, "tokens": 16.2, "steps": 10, "seconds": 8.0, "tweets_per_second": 10.0}
    *_, grown = tables.growth([{**line, "wall_seconds": 20.0, "peak_bytes": 2**30}])
    assert grown == "| 1,000 | 16 | 10 | 8.0 | 800 | 10.00 | 20.0 | 1024 |"


def _round(tweets_per_second: float) -> dict[str, float]:
    return {
        "tweets_per_second": tweets_per_second,
        "useful_flops_per_second": tweets_per_second * 1e11,
        "loss": 1.25,
        "peak_bytes": 2**29,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"programs": ["ours", "unsloth"]},
            "--programs: expected some of tutorial, trl, llamafactory, ours; got unsloth",
        ),
        ({"rounds": 0}, "--rounds.*expected above 0"),
        ({"growth_lengths": [16, 0]}, "--growth_.*expected above 0"),
        ({"batch_size": 6}, "--batch_size: expected a multiple of 4.*got 6"),
    ],
)
def test_impossible_options_are_refused_at_once(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=message):
        benchmark(TrainBenchmarkConfig(**options, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
