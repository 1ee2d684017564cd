"""What is written can be read again, and nothing in a spreadsheet's CSV is a formula."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.spreadsheet import unguarded
from pipeline.dataset.streaming import Piece, Row
from pipeline.dataset.writing import Added, header, join, write_lines, write_part

RUN = re.compile(r"^[\s\x00-\x1f\u200b\ufeff]*[=+\-@\t\r\n＝＋－＠]")
ADDED = [Added("label", str), Added("confidence", float), Added("abstained", bool)]
nasty = st.text(st.sampled_from("=+-@'\"\t\r\n ＝＋－＠﹦,;\u00a0\u200b\ufeff\x00\x01a1"), max_size=12) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=40
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(nasty, nasty), min_size=1, max_size=4),
    name=nasty.filter(lambda name: name != "text"),
    kind=st.sampled_from(["spreadsheet", "semicolons", "csv", "tsv"]),
)
def test_cells_come_back_and_none_is_a_formula(rows: list[tuple[str, str]], name: str, kind: str) -> None:
    piece = Piece("a", "text", [Row({"text": text, name: other}) for text, other in rows])
    out = io.StringIO(newline="")
    out.write(header(["text", name], ADDED, kind))  # type: ignore[arg-type]
    write_lines(out, piece, ["text", name], ADDED, [["Up", 0.5, None]] * len(rows), kind)  # type: ignore[arg-type]
    content = out.getvalue()
    # Line by line as a file gives them: a carriage return alone must not end a row.
    lines = io.StringIO(content.removeprefix("\ufeff"), newline="")
    first, *read = csv.reader(lines, delimiter={"tsv": "\t", "semicolons": ";"}.get(kind, ","), strict=True)
    if kind in ("csv", "tsv"):
        assert [tuple(row) for row in read] == [(*row, "Up", "0.5", "") for row in rows]
        return
    assert content.startswith('\ufeff"')
    assert not any(RUN.match(cell) for row in (first, *read) for cell in row)
    assert [tuple(map(unguarded, row[:2])) for row in read] == rows
    assert unguarded(first[1]) == name
    assert [row[-1] for row in read] == [
        "true" if row[0] != text else "false" for row, (text, _) in zip(read, rows, strict=True)
    ]


@pytest.mark.parametrize("kind", ["csv", "spreadsheet", "semicolons"])
def test_a_part_that_lacks_a_column_is_laid_out_anew(tmp_path: Path, kind: str) -> None:
    pieces = [[Row({"text": "=1", "a": "x\r\ny"})], [Row({"text": '"q"\r'})], [Row({"b": "\n", "text": ""})]]
    parts = []
    for i, rows in enumerate(pieces):
        piece = Piece("a", "text", rows)
        write_part(tmp_path / str(i), piece, ADDED, [["Up", 0.25, True]], kind)  # type: ignore[arg-type]
        parts.append((tmp_path / str(i), piece.columns))
    join(parts, tmp_path / "all", ["text"], ADDED, kind)  # type: ignore[arg-type]
    with (tmp_path / "all").open(encoding="utf-8-sig", newline="") as file:
        read = [
            [unguarded(cell) for cell in row][:6]
            for row in csv.reader(file, delimiter=";" if kind == "semicolons" else ",")
        ]
    assert read == [
        ["text", "a", "b", "label", "confidence", "abstained"],
        ["=1", "x\r\ny", "", "Up", "0.25", "true"],
        ['"q"\r', "", "", "Up", "0.25", "true"],
        ["", "", "\n", "Up", "0.25", "true"],
    ]
