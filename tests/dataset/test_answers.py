import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.dataset.answers import read_answers
from pipeline.errors import PipelineError

LABELS = ("Negative", "Neutral", "Positive")
IDS = ("7", "3", "12")


def lines(path: Path, *answers: str) -> str:
    path.write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
    return str(path)


def table(path: Path, header: Sequence[str], *rows: Sequence[str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.mark.parametrize(
    ("answers", "mapping"),
    [
        (("Positive", "negative", " NEUTRAL "), None),
        (("1", "-1", "0"), None),
        (("1.0", "-1.0", "0.0"), None),
        (("2", "0", "1"), "0=negative,1=Neutral,2=Positive"),
        # The mapping may be that of the data set's own file, where a system answers with names.
        (("Positive", "negative", "1"), "0=negative,1=Neutral,2=Positive"),
    ],
)
def test_answers_by_line_are_those_of_the_rows_in_their_order(
    tmp_path: Path, answers: tuple[str, ...], mapping: str | None
) -> None:
    found = read_answers(lines(tmp_path / "a.txt", *answers), IDS, LABELS, mapping)
    assert found == ["Positive", "Negative", "Neutral"]


def test_what_is_no_label_is_unparsed(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.txt", "Positive", "", "I think that it is Negative")
    assert read_answers(path, IDS, LABELS) == ["Positive", None, None]


def test_lines_of_rows_that_were_left_out_of_the_user_s_test_file_are_passed_over(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.txt", "Neutral", "Positive", "Neutral", "Negative")
    assert read_answers(path, ("test:2", "test:4"), LABELS) == ["Positive", "Negative"]


def test_a_table_is_joined_by_id_whatever_the_order(tmp_path: Path) -> None:
    rows = (("12", "Neutral"), ("3", "Negative"), ("99", "Neutral"), ("7", "Positive"))
    for header in (("id", "prediction"), ("ID", "Label")):
        path = table(tmp_path / "a.csv", header, *rows)
        assert read_answers(path, IDS, LABELS) == ["Positive", "Negative", "Neutral"]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (("id", "text"), [("7", "x"), ("3", "y"), ("12", "z")], "expected the columns id and prediction"),
        (("id", "label"), [("7", "0"), ("3", "1")], "got none for 1, the first of them id '12'"),
        (("id", "label"), [("7", "0"), ("7", "1"), ("3", "1"), ("12", "1")], "got '7' twice"),
        (("id", "label"), [("7", "a"), ("3", "b"), ("12", "c")], "expected answers among Negative, Neutral, Positive"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(
    tmp_path: Path, header: tuple[str, str], rows: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        read_answers(table(tmp_path / "a.csv", header, *rows), IDS, LABELS)
    assert "\n" not in str(caught.value)


def test_wrong_files_and_mappings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such file"):
        read_answers(str(tmp_path / "a.txt"), IDS, LABELS)
    path = lines(tmp_path / "a.txt", "1", "0")
    with pytest.raises(PipelineError, match="expected 3 lines, one a test row, got 2"):
        read_answers(path, IDS, LABELS)
    with pytest.raises(PipelineError, match=r"expected each value to mean one of .* got 'Bad'"):
        read_answers(path, IDS, LABELS, "0=Bad,1=Positive")


@pytest.mark.parametrize("answers", [("0", "1", "2"), ("1", "2", "3"), ("Positive", "0", "7.0")])
def test_numbers_of_another_code_are_not_read_as_ours(tmp_path: Path, answers: tuple[str, ...]) -> None:
    path = lines(tmp_path / "a.txt", *answers)
    with pytest.raises(PipelineError, match="say what they mean with --answer_labels"):
        read_answers(path, IDS, LABELS)


def test_spellings_that_are_no_label_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = lines(tmp_path / "a.txt", "bullish", "Neutral", "bullish")
    assert read_answers(path, IDS, LABELS) == [None, "Neutral", None]
    assert "2 answers are no label and count as wrong, such as 'bullish' 2 times" in caplog.text
