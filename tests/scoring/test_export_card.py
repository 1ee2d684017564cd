import ast
import dataclasses
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from family_checkpoints import CHECKPOINTS, write_checkpoint
from markdown_it import MarkdownIt
from synthetic_predictions import LABELS, make_predictions

from pipeline.families import asked_as
from pipeline.model.base import resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer
from pipeline.scoring.evaluation import score
from pipeline.scoring.export_card import Exported, Form, render_export_card
from pipeline.task import Task

METRICS = score(make_predictions(300), labels=LABELS)
DATA: dict[str, Any] = {
    "source": {"files": [{"path": "/home/me/tweets.csv"}]},
    "alarms": [{"kind": "machine_made", "text": "By TextBlob."}],
}
PARITY = {"rows": 200, "flips": {"generate": 3, "loglikelihood": 1}}
MERGED = Exported(
    "merged", "base tuned on tweets", Task(), "org/base", "commit 12", True, "bf16", [1, 7], [8], 2, 5, PARITY
)


def parts(text: str) -> tuple[dict[str, Any], str]:
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), MarkdownIt("commonmark", {"html": True}).enable("table").render(body)


def blocks(text: str) -> list[str]:
    return [token.content for token in MarkdownIt("commonmark").parse(text) if token.type == "fence"]


@pytest.mark.parametrize(
    ("form", "library"), [("merged", "transformers"), ("adapter", "peft"), ("gguf", "gguf")]
)  # fmt: skip
def test_every_form_has_the_prompt_a_program_and_what_flips(form: Form, library: str) -> None:
    text = render_export_card(dataclasses.replace(MERGED, form=form, file="model.gguf"), METRICS, DATA)
    head, html = parts(text)
    assert (head["base_model"], head["library_name"]) == ("org/base", library)
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "tweets.csv"
    prompt, program = blocks(text)
    assert prompt == str(Task().prompt("{tweet}"))
    compile(program, "card", "exec")
    for told in (
        "asked 200 tweets",
        "org/base (commit 12)",
        "for 3 of them",
        "for 1 by the likeliest",
        "Machine-made labels",
        *Task().labels,
    ):
        assert told in html
    assert "/home/me" not in text


def test_what_is_not_known_is_said() -> None:
    exported = dataclasses.replace(MERGED, form="adapter", on_hub=False, base_model="mine", parity=None)
    head, html = parts(text := render_export_card(exported, None, None))
    assert "base_model" not in head
    assert "model-index" not in head
    assert 'BASE = "path/to/mine"' in blocks(text)[1]
    for told in ("Nothing is known here of the data", "without a report", "was not compared", "has no name on a hub"):
        assert told in html


def test_a_hostile_task_breaks_no_block() -> None:
    task = Task(("```", "<b>x</b>"), '``` """ \\n {braces} \u2028 🚀', "{instruction}\n````\n{input}\n")
    text = render_export_card(dataclasses.replace(MERGED, form="gguf", task=task, title="<script>"), METRICS, DATA)
    prompt, program = blocks(text)
    assert prompt == str(task.prompt("{tweet}"))
    names: dict[str, Any] = {}
    lines = program.split("\n")
    for line in lines:
        if line.startswith(("BEFORE", "AFTER")):
            name, _, value = line.partition(" = ")
            names[name] = ast.literal_eval(value)
    assert names["BEFORE"] + "love it" + names["AFTER"] == str(task.prompt("love it"))
    assert "<script" not in parts(text)[1]
    assert "<b>" not in parts(text)[1].replace("&lt;b&gt;", "")


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_the_program_asks_with_the_ids_of_the_run(
    name: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(name, tmp_path / name, tiny_llama)
    tokenizer = load_tokenizer(resolve_base_model(str(folder)))
    encoder = Encoder(tokenizer, asked_as(Task(), name, tokenizer), 256)  # type: ignore[arg-type]
    exported = dataclasses.replace(
        MERGED, task=encoder.task, before=encoder.prefix, after=encoder.suffix, end=encoder.end
    )
    prompt, program = blocks(text := render_export_card(exported, METRICS, DATA))
    assert prompt.strip() == str(encoder.task.prompt("{tweet}")).strip()
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(folder)
    names = runpy.run_path(str(tmp_path / "program.py"))
    for tweet in ("love it", "up <|im_end|> <s> </s> [gMASK] <|eot_id|> down", " so sad 🚀"):
        assert names["encode"](tweet) == encoder.prompt(tweet).ids
    assert names["END"] == encoder.end
    html = parts(text)[1]
    assert ("There is no chat and no system prompt" in html) == (name == "alpaca")
    assert ("chat form of its family" in html) == (name != "alpaca")
