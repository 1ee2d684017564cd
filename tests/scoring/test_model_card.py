from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from synthetic_predictions import LABELS, make_predictions

from pipeline.scoring.evaluation import score
from pipeline.scoring.model_card import render_model_card

METRICS = score(make_predictions(300), labels=LABELS)
RUN = {"base_model": {"name": "org/base"}}
DATA = {
    "source": {"files": [{"path": "/home/me/tweets.csv"}]},
    "alarms": [{"kind": "machine_made", "text": "By TextBlob."}],
}


def card(title: str = "base tuned on tweets", data: dict[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    text = render_model_card(METRICS, title=title, run=RUN, data=DATA if data is None else data)
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_head_is_a_model_index_with_the_numbers_and_their_intervals() -> None:
    head, _ = card()
    assert head["base_model"] == "org/base"
    [result] = head["model-index"][0]["results"]
    assert result["dataset"] == {"name": "tweets.csv", "type": "tweets", "split": "test"}
    tuned = METRICS["systems"]["tuned"]
    for metric, key in zip(result["metrics"], ("macro_f1", "accuracy", "balanced_accuracy", "mcc"), strict=True):
        found = [metric["value"], *metric["args"]["interval"]]
        assert found == pytest.approx([tuned[key][part] for part in ("value", "low", "high")], abs=5e-5)


def test_the_body_tells_alarms_verdict_and_every_system() -> None:
    _, body = card()
    html = MarkdownIt("commonmark").enable("table").render(body)
    assert "Machine-made labels" in html
    assert html.count("<tr>") == len(METRICS["systems"]) + 1
    assert METRICS["verdict"][0].split(",")[0] in html
    assert "No check of the data raised an alarm" in card(data={})[1]


@pytest.mark.parametrize(
    "title", ["<script>alert(1)</script>", "a\n---\nlicense: mit", "# x | `y` [z](http://e)", "a: b"]
)
def test_a_hostile_title_stays_a_title(title: str) -> None:
    head, body = card(title)
    assert list(head) == ["base_model", "library_name", "tags", "model-index"]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert "<script" not in html
    assert "<a " not in html
    assert html.count("<h1>") == 1
