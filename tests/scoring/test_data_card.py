import json
from collections import Counter
from pathlib import Path
from typing import Any

import html5lib
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_content import LABELS, make_content
from test_report import XSS

from pipeline.scoring.data_card import render_data_card

CONTENT = make_content()
MARKDOWN = [
    *XSS,
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "www.evil.example and https://evil.example",
    "a | b | c",
    "a\n---\nlicense: mit\n---\n# b",
    "a\n\n```\nb",
    "`code` **bold** ~~gone~~ &lt; \\",
    "<!--\n-->",
]
YAML = [
    *MARKDOWN,
    *("a: b", "!!python/object/apply:os.system [x]", "*a", "&a b", "- x", "'", '"', "%YAML 1.1", "yes", "\x85"),
]


def _parts(card: str) -> tuple[dict[str, Any], str]:
    assert card.startswith("---\n")
    head, body = card[4:].split("\n---\n", 1)
    return yaml.safe_load(head), body


def _with(text: str) -> dict[str, Any]:
    """A manifest with a foreign text wherever one can stand."""
    label = text + "1"
    return {
        **{key: CONTENT[key] for key in ("leakage",)},
        "rows": {"read": 3, "kept": 2, "dropped": {text: 1}},
        "classes": {split: {"Negative": 1, label: 2} for split in ("train", "val", "test")},
        "source": {"files": [{"path": text, "rows": 3, "sha256": text}, {"path": "b/" + text}]},
        "alarms": [{"kind": "campaign", "text": text}],
    }


def _rendered(card: str) -> Counter[str]:
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    dom = html5lib.parse(markdown.render(_parts(card)[1]), namespaceHTMLElements=False)
    return Counter(str(element.tag) for element in dom.iter())


def test_the_head_names_files_and_size() -> None:
    head, _ = _parts(render_data_card(CONTENT))
    assert head == {
        "pretty_name": "march_tweets, april_tweets",
        "task_categories": ["text-classification"],
        "size_categories": ["10K<n<100K"],
        "annotations_creators": ["machine-generated"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.json"},
                    {"split": "validation", "path": "val.json"},
                    {"split": "test", "path": "test.json"},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("kept", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**8, "100M<n<1B")]
)
def test_the_size_is_the_hub_s_word_for_it(kept: int, size: str) -> None:
    assert _parts(render_data_card({"rows": {"read": kept, "kept": kept}}))[0]["size_categories"] == [size]


def test_the_body_tells_the_numbers() -> None:
    _, body = _parts(render_data_card(CONTENT))
    rows, classes = CONTENT["rows"], CONTENT["classes"]
    assert f"{rows['kept']:,} short texts, each with one of 3 classes: Negative, Neutral, Positive." in body
    for label in LABELS:
        assert f"| {label} | " + " | ".join(f"{row[label]:,}" for row in classes.values()) + " |" in body
    for reason, n in {
        "read": rows["read"],
        "rejected": rows["rejected"],
        **rows["dropped"],
        "kept": rows["kept"],
    }.items():
        assert f"| {reason} | {n:,} |" in body
    assert "| this split | 0.0 % | 0.0 % | 0.0 % |\n| your files as they are | 5.1 % | 7.3 % | 11.2 % |" in body
    assert f"| march\\_tweets.csv | 40,997 | {'5c40' * 16} |" in body
    assert all(alarm["text"] in body for alarm in CONTENT["alarms"])


def test_datasets_loads_the_folder_by_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "prepared"
    folder.mkdir()
    for split, n in (("train", 5), ("val", 2), ("test", 3)):
        rows = [
            {"instruction": "Do.", "input": f"{split} {i}", "output": "a", "id": str(i), "group": i} for i in range(n)
        ]
        (folder / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    for other in ("manifest.json", "dropped.jsonl", "suspects.csv", "data.html"):
        (folder / other).write_text('{"a": 1}\n', encoding="utf-8")
    (folder / "README.md").write_text(render_data_card(_with(YAML[0])), encoding="utf-8")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 5, "validation": 2, "test": 3}
    assert loaded["validation"][1]["input"] == "val 1"


@pytest.mark.parametrize("text", YAML)
def test_foreign_text_changes_neither_head_nor_structure(text: str) -> None:
    card, plain = render_data_card(_with(text)), render_data_card(_with("harmless"))
    head, expected = _parts(card)[0], _parts(plain)[0]
    assert {**head, "pretty_name": ""} == {**expected, "pretty_name": ""}
    assert isinstance(head["pretty_name"], str)
    assert _rendered(card) == _rendered(plain)


@given(text=st.text(max_size=40).filter(lambda text: text.split() and not set(text) & set("/\\")))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_text_changes_neither_head_nor_structure(text: str) -> None:
    card, plain = render_data_card(_with(text)), render_data_card(_with("harmless"))
    head, expected = _parts(card)[0], _parts(plain)[0]
    assert {**head, "pretty_name": ""} == {**expected, "pretty_name": ""}
    assert _rendered(card) == _rendered(plain)


def test_an_address_is_no_link() -> None:
    card = render_data_card(_with("see www.evil.example or https://evil.example or a@evil.example"))
    assert "www\\.evil" in card
    assert "https\\://" in card
    assert "a\\@evil" in card


@pytest.mark.parametrize("key", [None, *CONTENT])
def test_every_part_may_be_missing(key: str | None) -> None:
    card = render_data_card({k: v for k, v in CONTENT.items() if k != key} if key else {})
    assert "None" not in card
    assert _parts(card)[0]["configs"][0]["data_files"][1] == {"split": "validation", "path": "val.json"}
