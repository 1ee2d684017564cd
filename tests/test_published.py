from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.published import read_published

GOOD = """about: a set
rows: 3
tables:
  - metric: accuracy
    source: a paper
    results: {one: 0.5, two: 1}
"""


@pytest.mark.parametrize(("name", "rows"), [("tfns", 2388), ("tweeteval", 12284)])
def test_what_ships_can_be_read(name: str, rows: int) -> None:
    found = read_published(name)
    assert found["rows"] == rows
    for table in found["tables"]:
        assert "http" in table["source"]
        assert len(table["results"]) > 5


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    [table] = read_published(str(tmp_path / "a.yaml"))["tables"]
    assert table == {"metric": "accuracy", "source": "a paper", "results": {"one": 0.5, "two": 1}}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("rows: 3", "", "rows: expected a int that is not empty, got None"),
        ("rows: 3", "row: 3", "expected the keys about, rows, tables; got 'row'"),
        ("accuracy", "auc", "metric: expected one of macro_f1, .*; got 'auc'"),
        ("0.5", "50", "one: expected a share such as 0.903, got 50"),
        ("0.5", "yes", "one: expected a share"),
        ("{one: 0.5, two: 1}", "{}", "results: expected a dict that is not empty"),
        ("{one: 0.5, two: 1}", "{1: 0.5}", "expected names of at most 80 letters, got 1"),
        ("about: a set", "about: [", "expected a YAML file in UTF-8; while parsing"),
        (GOOD, "- 1", "expected the keys about, rows, tables; got"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in GOOD
    (tmp_path / "a.yaml").write_text(GOOD.replace(before, after), encoding="utf-8")
    with pytest.raises(PipelineError, match=message) as told:
        read_published(str(tmp_path / "a.yaml"))
    assert "\n" not in str(told.value)


def test_a_name_that_is_nearly_one_is_asked_back() -> None:
    with pytest.raises(PipelineError, match=r"one of tfns, tweeteval \(did you mean tfns\?\)"):
        read_published("tfn")
