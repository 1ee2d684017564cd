"""A tiny LLaMA, built and tokenised here, that goes through the real loading, tuning and decoding."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from accessibility import CHROMIUM, FLAGS

from pipeline.artifacts import Row, Run, new_folder, write_manifest, write_text
from pipeline.task import ALPACA_TEMPLATE, SENTIMENT_INSTRUCTION, Task

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from teacher_server import TeacherServer

    from pipeline.library import TunedClassifier
    from pipeline.model.base import BaseModel
    from pipeline.model.decoding import Decoded
    from pipeline.model.training import TrainingResult

WORDS = {
    "Positive": ("love it", "great day", "so happy", "what a win", "moon soon"),
    "Neutral": ("the price is", "block mined", "at noon today", "who knows when", "fee per byte"),
    "Negative": ("hate it", "awful day", "so sad", "what a loss", "rekt again"),
}


# Small models of real architectures: those that compute on rows without padding, and one that cannot.
SMALL = {
    "vocab_size": 400, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "phi3": {},
    "glm": {"head_dim": 8, "attention_bias": True, "partial_rotary_factor": 0.5},
    "qwen2": {},
}
EXACT = sorted(FAMILIES)
FAMILIES["gemma2"] = {"head_dim": 8, "query_pre_attn_scalar": 8}
# Files of tests by their folder, those that take minutes first: a core that begins one at the end is waited for.
_ORDER = ("tests", "model", "scoring", "dataset")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_ORDER)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


# What the run that has learnt the easy tweets said, by what it was asked.
ANSWERS: "dict[tuple[str, ...], list[Decoded]]" = {}


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer LLaMA and a byte-level BPE tokenizer that has control tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    corpus = [ALPACA_TEMPLATE, SENTIMENT_INSTRUCTION, *WORDS, *(phrase for each in WORDS.values() for phrase in each)]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def family(request: pytest.FixtureRequest, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> "BaseModel":
    """A random model of a family, with the tokenizer of the tiny LLaMA."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from pipeline.model.base import resolve_base_model

    folder = tmp_path_factory.mktemp("models") / request.param
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(request.param, **SMALL, **FAMILIES[request.param])
    ).save_pretrained(folder)
    for path in tiny_llama.glob("tokenizer*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return resolve_base_model(str(folder))


def make_rows(n: int, *, start: int = 0) -> list[Row]:
    """Simple tweets, the three classes in turn, each text different."""
    rows = []
    for i in range(start, start + n):
        label = Task().labels[i % 3]
        phrases = WORDS[label]
        text = f"{phrases[i % 5]} {phrases[(i // 5) % 5]} {chr(97 + i % 26)}{chr(97 + i // 26)}"
        rows.append(Row(str(i), SENTIMENT_INSTRUCTION, text, label, i))
    return rows


def write_prepared(folder: Path, splits: Mapping[str, Sequence[Row]], task: Task | None = None) -> Path:
    """A prepared folder with the given rows."""
    with new_folder(folder) as staging:
        for name, rows in splits.items():
            write_text(staging / f"{name}.json", json.dumps([row.to_json() for row in rows]))
        write_manifest(staging, "prepared", task or Task(), {})
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of easy tweets."""
    rows = {"train": make_rows(48), "val": make_rows(12, start=100), "test": make_rows(15, start=200)}
    return write_prepared(tmp_path_factory.mktemp("prepared") / "easy", rows)


@pytest.fixture(scope="session")
def learnt(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, TrainingResult]":
    """Folder with an fp32 adapter of the tiny model that classifies easy tweets, and how its training went."""
    from pipeline.model.adapter import LoraSettings
    from pipeline.model.base import resolve_base_model
    from pipeline.model.encoding import Encoder
    from pipeline.model.loading import load_tokenizer, place
    from pipeline.model.training import TrainingSettings, tune

    def score(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
        return {"macro_f1": sum(a == b for a, b in zip(y_true, y_pred, strict=True)) / len(y_true)}

    base = resolve_base_model(str(tiny_llama))
    folder = tmp_path_factory.mktemp("learnt")
    settings = TrainingSettings(
        batch_size=12,
        micro_batch_size=12,
        epochs=99,
        max_steps=200,
        learning_rate=1e-2,
        warmup=0.1,
        evaluations=2,
        seed=1,
    )
    result = tune(
        base,
        place("fp32", "cpu"),
        Encoder(load_tokenizer(base), Task(), 128),
        make_rows(48),
        make_rows(12, start=100),
        lora=LoraSettings(8, 16, 0.0, ("all-linear",)),
        settings=settings,
        score=score,
        folder=folder,
    )
    return folder, result


def plain_loss(model: Any, encoder: Any, rows: Sequence[Row]) -> Any:
    """Mean cross-entropy of the completions' tokens, one whole prompt at a time, with all logits."""
    import torch

    losses, tokens = [], 0
    for row in rows:
        prompt, completion = encoder.prompt(row.input).ids, encoder.completions[row.output]
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(completion), reduction="sum"))
        tokens += len(completion)
    return torch.stack(losses).sum() / tokens


@pytest.fixture(scope="session")
def easy_run(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, prepared: Path) -> Path:
    """A run that has learnt the easy tweets."""
    from pipeline import train

    folder = tmp_path_factory.mktemp("runs") / "easy"
    arguments = ["--dataset", prepared, "--out", folder, "--base_model", tiny_llama, "--max_steps", "50"]
    arguments += ["--epochs", "99", "--batch_size", "12", "--micro_batch_size", "12", "--learning_rate", "0.01"]
    arguments += ["--evaluations", "1", "--max_length", "128", "--precision", "fp32", "--checkpoint_steps", "1000"]
    with pytest.raises(SystemExit) as stopped:
        train.main([str(argument) for argument in [*arguments, "--lora.target_modules", "[all-linear]"]])
    assert not stopped.value.code
    return folder


@pytest.fixture(scope="session")
def judged(easy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of that run, as an evaluation writes beside a run, and the report on it, in a folder ``reports``."""
    from pipeline import evaluate

    home = tmp_path_factory.mktemp("judged")
    run, report = home / "easy", home / "reports" / "easy"
    shutil.copytree(easy_run, run)
    options = ["--behaviour", "none", "--few_shot", "0", "--embeddings", "none"]
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(["--run", str(run), "--out", str(report), *options])
    assert not stopped.value.code
    return run, report


@pytest.fixture(scope="session")
def loaded(easy_run: Path) -> "TunedClassifier":
    """That run, loaded."""
    from pipeline import load_classifier

    return load_classifier(easy_run)


@pytest.fixture
def one_model(loaded: "TunedClassifier", monkeypatch: pytest.MonkeyPatch) -> "TunedClassifier":
    """The command predict takes the model that is loaded already, and its answers to what it was asked before."""
    from pipeline import TunedClassifier, predict

    decode = loaded._classifier.decode

    def remembered(texts: Sequence[str]) -> "list[Decoded]":
        if tuple(texts) not in ANSWERS:
            ANSWERS[tuple(texts)] = decode(texts)
        return ANSWERS[tuple(texts)]

    def load(run: Run, **options: object) -> TunedClassifier:
        return TunedClassifier(run, loaded._classifier, loaded.placement)

    monkeypatch.setattr(loaded._classifier, "decode", remembered)
    monkeypatch.setattr(predict, "load_classifier", load)
    return loaded


@pytest.fixture
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for endpoints, and hardly a wait before a call is repeated."""
    from distilling import KEY

    from pipeline.teacher import endpoint

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(endpoint, "_BACKOFF", 0.01)


@pytest.fixture
def server() -> "Iterator[TeacherServer]":
    """An endpoint to ask."""
    from teacher_server import TeacherServer, serving

    with serving(TeacherServer()) as running:
        yield running


@pytest.fixture(scope="session")
def lopsided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice as many Positive rows as Neutral ones, and hardly a Negative one."""
    from distilling import LONG_TWEET

    rows = [row for row in make_rows(60) if row.output != "Negative" or int(row.id) < 9]
    rows = [row for row in rows if row.output != "Neutral" or int(row.id) < 30]
    test = Row("300", rows[0].instruction, LONG_TWEET, "Negative", 300)
    splits = {"train": rows, "val": make_rows(12, start=100), "test": [*make_rows(15, start=200), test]}
    return write_prepared(tmp_path_factory.mktemp("prepared") / "lopsided", splits)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS.split())
        yield browser
        browser.close()
