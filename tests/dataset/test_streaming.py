"""Streams beside the readers of whole files, which are an oracle of their own, and files that are hard to read."""

import codecs
import csv
import gzip
import io
import json
import random
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset import streaming
from pipeline.dataset.reading import read_table
from pipeline.dataset.streaming import Row, open_stream
from pipeline.dataset.tables import ReadOptions
from pipeline.errors import PipelineError


def rows_of(path: Path, n: int = 3, **options: object) -> list[Row]:
    with open_stream(str(path), n, **options) as stream:  # type: ignore[arg-type]
        pieces = list(stream)
    assert all(len(piece) == n for piece in pieces[:-1])
    return [row for piece in pieces for row in piece.rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "cp1251"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimited_files_read_as_by_the_whole_reader(tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    word = "рубль" if encoding == "cp1251" else "naïve café"
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(["id", "tweet", "more"])
    for i in range(40):
        writer.writerow([i, f'{word} "{i}"{delimiter} and{end}a second line', "x" * (i % 3)])
    path = tmp_path / "a.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    table = read_table(path)
    rows = rows_of(path)
    for column in table.columns:
        assert [row.values[column] for row in rows] == list(table.values[column])
    assert {row.problem for row in rows} == {""}


def test_a_broken_record_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,tweet\n1,"a"\n2,"b\n3,"c"\n4,d,e\n5,"f"\n')
    assert [(row.values.get("id"), row.values["tweet"], bool(row.problem)) for row in rows_of(path)] == [
        ("1", "a", False), (None, '2,"b', True), ("3", "c", False), (None, "4,d,e", True), ("5", "f", False),
    ]  # fmt: skip


def test_bytes_that_are_no_utf8_stray_in_late(tmp_path: Path) -> None:
    lines = [b"id,tweet\n", *(b"%d,caf\xc3\xa9 and so on\n" % i for i in range(60_000)), b"60000,caf\xe9 \x81\n"]
    (tmp_path / "a.csv").write_bytes(b"".join(lines))
    rows = rows_of(tmp_path / "a.csv", 10_000)
    assert len(rows) == 60_001
    assert rows[0].values["tweet"] == "café and so on"
    assert rows[-1].values["tweet"] == "café \x81"
    with pytest.raises(PipelineError, match=r"expected utf-8, got the byte 0xe9; give another --encoding"):
        rows_of(tmp_path / "a.csv", options=ReadOptions(encoding="utf-8"))


def test_a_sample_may_end_within_a_character(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        content = "tweet,id\n" + "".join(f"🚀🚀 {i},{i}\n" for i in range(100_000))
        (tmp_path / "a.csv").write_bytes(content.encode(encoding))
        rows = rows_of(tmp_path / "a.csv", 50_000)
        assert [row.values["tweet"] for row in rows[:2] + rows[-1:]] == ["🚀🚀 0", "🚀🚀 1", "🚀🚀 99999"]


def test_a_line_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_LONGEST_LINE", 1_000)
    (tmp_path / "a.txt").write_text("x" * 5_000 + "\nb\n" + "y" * 1_001 + "\nc\n" + "z" * 2_002 + "\nd\n")
    assert [len(row.values["text"]) for row in rows_of(tmp_path / "a.txt")] == [1_001, 1, 1_001, 1, 1_001, 1]


@pytest.mark.parametrize(
    ("name", "content", "kind", "column"),
    [
        ("a.txt", b"love it\nhate it, really\n", "text", "text"),
        ("a.txt", b"tweet;id\nlove it;1\n", "csv", "tweet"),
        ("a", b'{"text": "a"}\n{"text": "b"}\n', "jsonl", "text"),
        ("a.json", b'[{"input": "a", "output": "b"}]', "json", "input"),
        ("a.json", codecs.BOM_UTF8 + b'{"text": "a"}\n', "jsonl", "text"),
        ("a.csv", b"body_text\nlove it\nhate it\n", "csv", "body_text"),
        ("a.csv", b",tweet,\n1,a,x\n", "csv", "tweet"),
    ],
)
def test_what_a_file_is(tmp_path: Path, name: str, content: bytes, kind: str, column: str) -> None:
    (tmp_path / name).write_bytes(content)
    with open_stream(str(tmp_path / name), 9) as stream:
        assert (stream.kind, stream.text) == (kind, column)
        assert sum(map(len, stream)) > 0
        assert stream.place == stream.size == len(content)


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("fecha;opinión;valor\nhoy;bien, gracias;x\nayer;mal, muy mal;y\n", "opinión"),
        ("text;opinión\nbien;mal\n", "opinión"),
        ("text;Opinión\nbien;mal\n", "text"),
        ("fecha;valor\nhoy;mal\n", None),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_is_known_comes_before_the_usual_names(
    tmp_path: Path, content: str, column: str | None, suffix: str
) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    if suffix == "parquet":
        table = pyarrow.csv.read_csv(tmp_path / "a.csv", parse_options=pyarrow.csv.ParseOptions(delimiter=";"))
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    if column is None:
        with pytest.raises(PipelineError, match="give --text_column"):
            rows_of(tmp_path / f"a.{suffix}", known="opinión")
        return
    with open_stream(str(tmp_path / f"a.{suffix}"), 9, known="opinión") as stream:
        assert stream.text == column
    with open_stream(str(tmp_path / f"a.{suffix}"), 9, known="opinión", text=stream.columns[0]) as stream:
        assert stream.text == stream.columns[0]


def test_one_column_is_divided_by_nothing(tmp_path: Path) -> None:
    for content, about in (
        ("tweet\nlove it\n", "CSV of one column, with a header, UTF-8"),
        ("tweet;id\nlove it;1\n", "CSV, divided by a semicolon, with a header, UTF-8"),
    ):
        (tmp_path / "a.csv").write_text(content)
        with open_stream(str(tmp_path / "a.csv"), 9) as stream:
            assert stream.about == about


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "expected rows of data, got an empty file"),
        ("a.xlsx", b"PK\x03\x04", "expected .csv"),
        ("a.parquet", b"PAR1junk", "expected a Parquet file"),
        ("a.csv", b"tweet,tweet\na,b\n", "got 'tweet' twice"),
        ("a.csv", b"this,that\n1,a\n2,b\n", "give --text_column NAME"),
        ("a.csv.gz", gzip.compress(b"tweet\n" + random.Random(0).randbytes(3_000_000).hex().encode())[:-2_000_000],
         "expected a file that is whole"),
        ("a.jsonl", b"1\n2\n", "expected JSON objects with a text in each, got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PipelineError, match=says) as raised:
        rows_of(tmp_path / name)
    assert "\n" not in str(raised.value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=9),
    n=st.integers(1, 4),
)
def test_json_and_parquet_rows_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str], n: int) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"text": text, "n": [i, None]} for i, text in enumerate(texts)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet", row_group_size=2)
    for name in ("a.jsonl", "a.parquet"):
        assert [dict(row.values) for row in rows_of(folder / name, n)] == rows


def test_what_was_read_has_a_hash_of_its_own(tmp_path: Path) -> None:
    def hashes(*tweets: str) -> list[str]:
        (tmp_path / "a.csv").write_text("id,tweet\n" + "".join(f"{i},{tweet}\n" for i, tweet in enumerate(tweets)))
        with open_stream(str(tmp_path / "a.csv"), 2) as stream:
            return [piece.sha256 for piece in stream]

    first = hashes("a", "b", "c")
    assert hashes("a", "b", "c") == first
    assert [a == b for a, b in zip(hashes("a", "b", "x"), first, strict=True)] == [True, False]
    assert not set(hashes("b", "a", "x")) & set(first)


@pytest.mark.parametrize("end", ["jsonl", "json"])
def test_keys_are_few_in_all_rows_together(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_SAMPLE", 5_000)  # the limit is reached behind it
    path = tmp_path / f"a.{end}"

    def written(keys: int) -> Path:
        rows = [json.dumps({"text": "so happy", f"k{i}": i}) for i in range(keys - 1)]
        path.write_text("\n".join(rows) if end == "jsonl" else f"[{','.join(rows)}]")
        return path

    assert len(rows_of(written(1_000))) == 999
    says = r"row 1,000: expected at most 1,000 different keys in all rows together, got 1,001 up to here; keep those"
    taken: list[streaming.Piece] = []
    with pytest.raises(PipelineError, match=says), open_stream(str(written(1_100)), 100) as stream:
        taken.extend(iter(stream))
    assert len(taken) == (9 if end == "jsonl" else 0)  # a list is read whole at first
    monkeypatch.undo()
    path.write_text(json.dumps({"text": "so sad", **dict.fromkeys(map(str, range(1_000)))}))
    with pytest.raises(PipelineError, match="row 1: expected at most 1,000 different keys"):
        rows_of(path, kind="jsonl")
