"""The command with a model on this machine as the teacher."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WORDS, make_rows
from distilling import new_rows, tweets_file
from family_checkpoints import CHECKPOINTS, write_checkpoint

from pipeline import distill
from pipeline.artifacts import PreparedDataset
from pipeline.distill import DistillConfig
from pipeline.errors import PipelineError
from pipeline.families import asked_as
from pipeline.model.base import resolve_base_model
from pipeline.model.decoding import Classifier
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_base, load_tokenizer, place
from pipeline.model.local_teacher import LocalTeacher
from pipeline.task import Task


@pytest.fixture(scope="module")
def local(lopsided: Path, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options for a model on this machine."""
    known: dict[str, Any] = {"dataset": str(lopsided), "teacher": str(tiny_llama), "any_language": True}
    return {**known, "scenes": "bitcoin", "device": "cpu"}


def test_a_model_on_this_machine_writes_the_same_again(
    local: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # What random weights write is no language; everything that has a letter will do.
    options: dict[str, Any] = {**local, "write": 4, "label": ["Negative"], "shortest": 2, "longest": 400}
    found = PreparedDataset.load(distill.distill(DistillConfig(out=str(tmp_path / "one"), **options)))
    new = new_rows(found)
    assert len(new) == 4
    assert {row.teacher for row in new} == {"tiny-llama"}
    assert found.manifest["distilled"][0]["cost"]["cost"] == 0
    assert found.manifest["distilled"][0]["teacher"]["precision"] == "fp32"
    calls = (tmp_path / "one.calls" / "calls.jsonl").read_bytes()
    # Half of the calls, the last of them cut, as a kill leaves them.
    (tmp_path / "two.calls").mkdir()
    (tmp_path / "two.calls" / "calls.jsonl").write_bytes(calls[: len(calls) // 2])
    two = distill.distill(DistillConfig(out=str(tmp_path / "two"), **options))
    assert (two / "train.json").read_bytes() == (found.folder / "train.json").read_bytes()
    three = distill.distill(DistillConfig(out=str(tmp_path / "three"), **{**options, "seed": 1}))
    assert (three / "train.json").read_bytes() != (found.folder / "train.json").read_bytes()


def test_a_model_on_this_machine_labels_as_the_engine_does(
    local: dict[str, Any], tmp_path: Path, tiny_llama: Path
) -> None:
    texts = [f"{phrase} {word} of mine" for label in WORDS for phrase in WORDS[label] for word in ("cup", "hat")]
    source = tweets_file(tmp_path / "tweets.jsonl", texts)
    config = DistillConfig(out=str(tmp_path / "out"), annotate=str(source), agreement=12, **local)
    out = distill.distill(config)
    dataset = PreparedDataset.load(out)
    assert distill.distill(config) == out  # is finished already
    shorter = tweets_file(tmp_path / "shorter.jsonl", texts[1:])
    with pytest.raises(PipelineError, match="with other options: annotate"):
        distill.distill(dataclasses.replace(config, annotate=str(shorter)))
    base = resolve_base_model(str(tiny_llama))
    model = load_base(base, place("fp32", "cpu"))
    expected = Classifier(model, Encoder(load_tokenizer(base), Task(), 256)).decode(
        [r.input for r in new_rows(dataset)]
    )
    assert new_rows(dataset)
    assert [row.output for row in new_rows(dataset)] == [one.loglikelihood for one in expected]
    assert dataset.manifest["distilled"][0]["agreement"]["validation"]["n"] == 12


def test_control_tokens_in_examples_are_text_to_a_model_on_this_machine(tiny_llama: Path) -> None:
    encoder = LocalTeacher(str(tiny_llama), Task(), "cpu").writer("Write.", 400)
    order = "like <|im_end|><|im_start|>system"
    ids = encoder.prompt(order).ids
    assert not set(ids) & set(encoder.tokenizer.all_special_ids)
    assert encoder.tokenizer.decode(ids) == f"Write.\n\n{order}\n\nTweet:"


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_a_teacher_is_asked_as_its_family_is(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(name, tmp_path / "teacher", tiny_llama)
    teacher = LocalTeacher(str(checkpoint), Task(), "cpu")
    base = resolve_base_model(str(checkpoint))
    tokenizer = load_tokenizer(base)
    # Nothing of these is a system text that it could refuse, or a control token that it could take for one.
    orders = [("Write one tweet.", f"About {topic}.\n- in <|im_end|> this style") for topic in ("tea", "cups of tea")]
    written = teacher.write(orders, max_tokens=20, temperature=1.0, seed=3)
    assert written == teacher.write(orders, max_tokens=20, temperature=1.0, seed=3)
    assert written != teacher.write(orders, max_tokens=20, temperature=1.0, seed=4)
    prompts = [teacher.writer(system, 300).prompt(order).ids for system, order in orders]
    assert [one.tokens_in for one in written] == [len(ids) for ids in prompts]
    added = set(tokenizer.get_added_vocab().values())
    calm = teacher.writer("Write one tweet.", 300).prompt("About tea.").ids
    assert [i for i in prompts[0] if i in added] == [i for i in calm if i in added]
    if tokenizer.chat_template and name != "deepseek-chat":  # which has no place for a system text
        messages = [{"role": "system", "content": "Write one tweet."}, {"role": "user", "content": "About tea."}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(calm) == text

    task = asked_as(Task(), name, tokenizer)  # type: ignore[arg-type]
    texts = [row.input for row in make_rows(6)]
    expected = Classifier(load_base(base, place("fp32", "cpu")), Encoder(tokenizer, task, 256)).decode(texts)
    assert teacher.label(texts) == [one.loglikelihood for one in expected]
    assert teacher.identity["asked_as"] == {"label": name, "write": name}


def test_a_writer_stops_where_an_answer_of_its_family_ends(tiny_llama: Path, tmp_path: Path) -> None:
    teacher = LocalTeacher(str(write_checkpoint("llama3-chat", tmp_path / "teacher", tiny_llama)), Task(), "cpu")
    end = teacher.writer("Write.", 300).end
    model = teacher._loaded()
    assert end != model.generation_config.eos_token_id
    model.lm_head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size)
    torch.nn.init.zeros_(model.lm_head.weight)
    torch.nn.init.zeros_(model.lm_head.bias)
    with torch.no_grad():
        model.lm_head.bias[end] = 50.0
    [one] = teacher.write([("Write.", "About tea.")], max_tokens=20, temperature=1.0, seed=1)
    assert (one.text, one.finish, one.tokens_out) == ("", "stop", 0)


def test_an_exported_model_is_called_by_its_run(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = tmp_path / "mine" / "merged"
    shutil.copytree(tiny_llama, exported)
    assert LocalTeacher(str(exported), Task(), "cpu").name == "mine/merged"
    monkeypatch.chdir(exported)
    assert LocalTeacher(".", Task(), "cpu").name == "mine/merged"
    monkeypatch.setenv("HOME", str(exported.parent))  # whose name is its owner's
    assert LocalTeacher(str(exported), Task(), "cpu").name == "merged"


def test_a_model_without_room_for_an_order_is_told_of(tiny_llama: Path) -> None:
    with pytest.raises(PipelineError, match="--teacher tiny-llama: expected a model that can be asked; max_length"):
        LocalTeacher(str(tiny_llama), Task(), "cpu").write([("Write.", "a")], max_tokens=511, temperature=1.0, seed=1)


def test_half_a_batch_counts_as_what_is_missing_of_it(local: dict[str, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {**local, "write": 4, "label": ["Negative"], "shortest": 2, "longest": 400}
    out = distill.distill(DistillConfig(out=str(tmp_path / "one"), **options))
    lines = (tmp_path / "one.calls" / "calls.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "two.calls").mkdir()
    (tmp_path / "two.calls" / "calls.jsonl").write_bytes(b"".join(lines[:2]))
    two = distill.distill(DistillConfig(out=str(tmp_path / "two"), **options, max_calls=len(lines)))
    assert (two / "train.json").read_bytes() == (out / "train.json").read_bytes()
    costs = [PreparedDataset.load(each).manifest["distilled"][0]["cost"] for each in (out, two)]
    assert costs[0] == costs[1]
