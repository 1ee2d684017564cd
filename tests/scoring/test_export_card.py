import ast
import dataclasses
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.export_card import Exported, Form, render_export_card
from pipeline.task import Task

METRICS = score(make_predictions(300), labels=LABELS)
DATA: dict[str, Any] = {
    "source": {"files": [{"path": "/home/me/tweets.csv"}]},
    "alarms": [{"kind": "machine_made", "text": "By TextBlob."}],
}
PARITY = {"rows": 200, "flips": {"generate": 3, "loglikelihood": 1}}
MERGED = Exported("merged", "base tuned on tweets", Task(), "org/base", "commit 12", True, "bf16", 5, PARITY)


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
    text = render_export_card(dataclasses.replace(MERGED, task=task, title="<script>"), METRICS, DATA)
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
