import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.labels import Classes
from pipeline.dataset.overrides import Overridden, apply_overrides, read_overrides
from pipeline.dataset.reading import read_table
from pipeline.dataset.records import Example
from pipeline.dataset.suspects import Suspect, Suspects
from pipeline.dataset.tables import Rejected, Table
from pipeline.errors import PipelineError

CLASSES = Classes(("Bearish", "Neutral", "Bullish"), {"-1": "Bearish", "0": "Neutral", "1": "Bullish"})
ROWS = [
    Example("1", "to the moon", "Bullish"),
    Example("2", "=rekt again", "Bearish"),
    Example("3", "fee per byte\nrose", "Neutral"),
    Example("4", "'tis over", "Bearish"),
]


def table(rows: Sequence[Sequence[object]], columns: Sequence[str] = ("id", "label")) -> Table:
    cells = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
    return Table(Path("labels.csv"), cells, range(1, len(rows) + 1))


def apply(
    *rows: Sequence[object], columns: Sequence[str] = ("id", "label"), left_out: Sequence[str] = ()
) -> Overridden:
    return apply_overrides(ROWS, read_overrides(table(rows, columns), CLASSES), left_out)


def labels(found: Overridden) -> dict[str, str]:
    return {example.id: example.label for example in found.sifted.kept}


def test_labels_change_rows_go_and_the_rest_stays() -> None:
    found = apply(("1", "Bearish"), ("2", ""), ("3", "Neutral"))
    assert labels(found) == {"1": "Bearish", "3": "Neutral", "4": "Bearish"}
    assert [(row.id, row.reason, row.detail) for row in found.sifted.dropped] == [
        ("2", "excluded by overrides", "by row 2 of the overrides")
    ]
    assert found.to_json() == {"changed": 1, "dropped": 1, "unused": 1}
    assert [example.label for example in ROWS] == ["Bullish", "Bearish", "Neutral", "Bearish"]


@pytest.mark.parametrize("cell", ["Bullish", "bullish ", "1", "1.0", 1, 1.0, "+1", "'+1"])
def test_spellings_of_a_label(cell: object) -> None:
    assert labels(apply(("2", cell)))["2"] == "Bullish"


@pytest.mark.parametrize("cell", ["-1", "'-1", -1.0, "BEARISH"])
def test_guarded_and_numeric_labels(cell: object) -> None:
    assert labels(apply(("1", cell)))["1"] == "Bearish"


@pytest.mark.parametrize("cell", ["", None, " ", float("nan")])
def test_an_empty_label_leaves_the_row_out(cell: object) -> None:
    assert "1" not in labels(apply(("1", cell)))


@pytest.mark.parametrize("name", ["2", 2, 2.0, " 2 "])
def test_spellings_of_an_id(name: object) -> None:
    assert labels(apply((name, "Neutral")))["2"] == "Neutral"


def test_columns_are_found_by_name() -> None:
    found = apply(("x", "Neutral", "2"), columns=("note", "LABEL", "ID"))
    assert labels(found)["2"] == "Neutral"


def test_the_same_decision_twice_is_one() -> None:
    assert apply(("1", "Bearish"), ("1", "-1")).to_json() == {"changed": 1, "dropped": 0, "unused": 0}


def test_rows_that_are_out_already_are_unused() -> None:
    assert apply(("9", "Bearish"), left_out=["9"]).to_json() == {"changed": 0, "dropped": 0, "unused": 1}


def test_text_beside_the_id_must_be_that_of_the_row() -> None:
    columns = ("id", "label", "text")
    for text in ("=rekt again", "'=rekt again", " =rekt again\u200b", ""):
        assert labels(apply(("2", "Neutral", text), columns=columns))["2"] == "Neutral"
    assert labels(apply(("4", "Neutral", "'tis over"), columns=columns))["4"] == "Neutral"
    assert labels(apply(("3", "Bullish", "fee per byte\r\nrose"), columns=columns))["3"] == "Bullish"
    with pytest.raises(PipelineError, match=r"labels.csv, row 1: id 2 is '=rekt again' in the source and 'moon' here"):
        apply(("2", "Neutral", "moon"), columns=columns)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("7", "Neutral")], ("id", "label"), "labels.csv, row 1: no row of the source has the id '7'"),
        ([("1", "Neutral"), ("", "Neutral")], ("id", "label"), "labels.csv, row 2: expected the id of a row"),
        (
            [("1", "Up")],
            ("id", "label"),
            "row 1: expected the label to be one of Bearish, Neutral, Bullish",
        ),
        ([("1", "2")], ("id", "label"), "got '2'"),
        ([("1", "Neutral"), ("1", "")], ("id", "label"), "row 2: id 1 is left out here and Neutral in row 1"),
        ([("1", "Neutral")], ("id", "sentiment"), "expected the columns id and label, got id, sentiment"),
    ],
)
def test_what_cannot_be_done_is_one_line(rows: list[tuple[str, str]], columns: Sequence[str], message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        apply(*rows, columns=columns)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_could_not_be_read_is_an_error() -> None:
    rejected = Rejected.of("labels.csv", 3, "3 cells instead of 2", "1,a,b")
    broken = Table(Path("labels.csv"), {"id": ["1"], "label": ["1"]}, [1], rejected=[rejected])
    with pytest.raises(PipelineError, match=r"labels.csv, line 3: .*3 cells instead of 2"):
        read_overrides(broken, CLASSES)


def test_the_list_of_suspects_comes_back_as_it_went_out(tmp_path: Path) -> None:
    suspects = Suspects([Suspect(row, "Neutral", 0.1) for row in ROWS], 4, 4)
    path = tmp_path / "suspects.csv"
    path.write_text(suspects.to_csv(), encoding="utf-8", newline="")
    untouched = apply_overrides(ROWS, read_overrides(read_table(path), CLASSES))
    assert list(untouched.sifted.kept) == ROWS
    assert untouched.to_json() == {"changed": 0, "dropped": 0, "unused": 4}

    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    rows[1][1], rows[3][1] = "Bullish", ""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    reviewed = apply_overrides(ROWS, read_overrides(read_table(path), CLASSES))
    assert labels(reviewed) == {"1": "Bullish", "2": "Bullish", "3": "Neutral"}
    assert reviewed.to_json() == {"changed": 1, "dropped": 1, "unused": 2}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    decisions=st.dictionaries(
        st.sampled_from([row.id for row in ROWS]), st.sampled_from(["Bearish", "Neutral", "Bullish", ""])
    )
)
def test_nothing_is_lost_and_nothing_else_changes(decisions: dict[str, str]) -> None:
    found = apply(*decisions.items())
    assert [row.id for row in ROWS] == sorted([e.id for e in found.sifted.kept] + [d.id for d in found.sifted.dropped])
    for row in ROWS:
        assert labels(found).get(row.id, "") == decisions.get(row.id, row.label)
    assert sum(found.to_json().values()) == len(decisions)


def test_a_decision_holds_for_the_copies_of_the_text_that_nobody_decided() -> None:
    rows = [*ROWS, Example("5", "To the MOON!", "Neutral"), Example("6", "to the moon 🚀", "Neutral")]

    def decided(*decisions: tuple[str, str]) -> Overridden:
        return apply_overrides(rows, read_overrides(table(decisions), CLASSES))

    changed = decided(("1", "Bearish"))
    assert {labels(changed)[name] for name in ("1", "5", "6")} == {"Bearish"}
    assert (changed.changed, changed.unused) == (3, 0)
    assert labels(decided(("1", ""))).keys() == {"2", "3", "4"}
    # Where a person decided copies in two ways, each decision holds for its own row.
    several = labels(decided(("1", "Bearish"), ("5", "Bullish")))
    assert [several[name] for name in ("1", "5", "6")] == ["Bearish", "Bullish", "Neutral"]
