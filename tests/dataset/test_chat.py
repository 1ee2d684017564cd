import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import PreparedDataset
from pipeline.dataset.chat import as_questions, instruction_of
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.prepare import PrepareConfig, prepare
from pipeline.task import SENTIMENT_INSTRUCTION

WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "knoll", "larch", "marsh"]
LABELS = ("Negative", "Neutral", "Positive")


def rows(**more: Any) -> list[dict[str, Any]]:
    return [
        {"input": f"{WORDS[i % 12]} {WORDS[i // 12]} {WORDS[i % 7]} went {i} ways", "output": LABELS[i % 3], **more}
        for i in range(90)
    ]


def prepared(tmp_path: Path, data: list[dict[str, Any]], *, lines: bool = True, **options: Any) -> PreparedDataset:
    source = tmp_path / ("chat.jsonl" if lines else "chat.json")
    source.write_text("\n".join(map(json.dumps, data)) if lines else json.dumps(data), encoding="utf-8")
    return PreparedDataset.load(prepare(PrepareConfig(source=[str(source)], out=str(tmp_path / "out"), **options)))


def texts(dataset: PreparedDataset) -> set[str]:
    return {row.input for split in ("train", "val", "test") for row in dataset.rows(split)}


def test_lines_of_input_and_output_need_no_instruction(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, rows())
    assert texts(dataset) == {row["input"] for row in rows()}
    assert dataset.task.instruction == SENTIMENT_INSTRUCTION


@pytest.mark.parametrize("lines", [True, False])
def test_the_instruction_of_a_file_is_that_of_the_task(tmp_path: Path, lines: bool) -> None:
    dataset = prepared(tmp_path, rows(instruction="How does it sound?"), lines=lines)
    assert dataset.task.instruction == "How does it sound?"
    assert {row.instruction for row in dataset.rows("train")} == {"How does it sound?"}


def test_the_user_has_the_last_word_on_the_instruction(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, rows(instruction="How does it sound?"), instruction="Mood?")
    assert dataset.task.instruction == "Mood?"


def test_a_system_text_stands_before_the_instruction(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, rows(system="You read tweets.", instruction="How does it sound?"))
    assert dataset.task.instruction == "You read tweets.\nHow does it sound?"


def test_the_misspelt_key_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = prepared(tmp_path, rows(instrution="How does it sound?"))
    assert dataset.task.instruction == "How does it sound?"
    assert "the key 'instrution' is read as 'instruction'" in caplog.text


def test_instructions_that_differ_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    table = Table("f", {"input": ["a", "b"], "output": ["x", "y"], "instruction": ["One?", "Other?"]}, (1, 2))
    assert instruction_of(table, "Mood?") == "Mood?"
    assert "column 'instruction' has 2 different texts" in caplog.text


@pytest.mark.parametrize("more", [{}, {"input": ""}])
def test_a_tweet_in_the_instruction_is_the_text_where_there_is_no_input(tmp_path: Path, more: dict[str, str]) -> None:
    data = [{"instruction": row["input"], "output": row["output"], **more} for row in rows()]
    dataset = prepared(tmp_path, data)
    assert texts(dataset) == {row["input"] for row in rows()}
    assert dataset.task.instruction == SENTIMENT_INSTRUCTION


def test_earlier_turns_stand_before_the_text_without_their_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = Table(
        "f",
        {
            "input": ["and now?", "calm", None],
            "output": ["Negative", "Neutral", "Positive"],
            "history": [[["up a lot", "Positive"], ["down again", "Negative"]], [], None],
        },
        (1, 2, 3),
    )
    assert as_questions(table).values["input"] == ["up a lot\ndown again\nand now?", "calm", None]
    assert table.values["input"][0] == "and now?"
    assert "1 rows have a history" in caplog.text


@pytest.mark.parametrize("history", [["up", "Positive"], [["up"]], [[1, 2]]])
def test_a_history_of_another_form_is_refused(history: object) -> None:
    table = Table("f", {"input": ["a"], "output": ["b"], "history": [history]}, (7,))
    with pytest.raises(PipelineError, match=r"f, row 7: expected in 'history' a list of pairs, \[question, answer\]"):
        as_questions(table)


def test_columns_of_other_tables_that_are_called_so_mean_nothing() -> None:
    plain = {"tweet": ["a", "b"], "sentiment": ["x", "y"]}
    for column, cells in {
        "system": ["Twitter for iPhone"] * 2, "history": ["3 years", "1 year"], "instruction": ["rate it"] * 2,
    }.items():  # fmt: skip
        table = Table("f", {**plain, column: cells}, (1, 2))
        assert as_questions(table) == table
        assert instruction_of(table, "Mood?") == "Mood?"
    table = Table("f", {"input": ["a", "b"], "output": ["x", "y"], "history": ["3 years", "[]"]}, (1, 2))
    assert as_questions(table).values == table.values


def test_a_system_text_alone_stands_before_the_usual_instruction() -> None:
    table = Table("f", {"Input": ["a"], "Output": ["x"], "System": ["You read tweets."]}, (1,))
    assert instruction_of(table, "Mood?") == "You read tweets.\nMood?"
