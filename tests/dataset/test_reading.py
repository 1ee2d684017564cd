import gzip
import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.reading import ReadOptions, fingerprint, read_sources, read_table
from pipeline.dataset.tables import describe_rejected
from pipeline.errors import PipelineError

GOOD = "tweet,sentiment\nup we go,1\n"

# name of the file, its content, what the message must say
MALFORMED: list[tuple[str, bytes, str]] = [
    ("empty.csv", b"", "the file is empty"),
    ("blank.csv", b"\n\n", "the file is empty"),
    ("only_bom.csv", b"\xef\xbb\xbf", "the file is empty"),
    ("header_only.csv", b"tweet,sentiment\n", "expected rows of data, got none"),
    (
        "extra_everywhere.csv",
        b"tweet,sentiment\na,1,x\nb,0,y\n",
        "line 2: expected 2 columns, got 3; it starts with 'a,1,x.*2 of 2 rows .* one name in the header",
    ),
    ("ragged.csv", b"tweet,sentiment\na, b,1\nc, d, e,0\n", "2 of 2 rows .* put quotes around texts that hold a comma"),
    ("notes.txt", b"tweet,sentiment\na\n", "one tweet a line as FILE=LABEL"),
    ("extra_later.csv", b"tweet,sentiment\na,1\nb,0\nc, d,1\n", "line 4: expected 2 columns, got 3; .*hold a comma"),
    ("too_few.csv", b"tweet,sentiment\na,1\nb\n", "line 3: expected 2 columns, got 1"),
    ("lone_cr.csv", b"tweet,sentiment\nbroken\rtweet,1\n", "line 2: expected 2 columns, got 1"),
    ("same_header.csv", b"tweet,tweet\na,b\n", "different names, got 'tweet' twice"),
    ("same_header_spaces.csv", b"tweet, tweet\na,b\n", "different names, got 'tweet' twice"),
    ("open_quote.csv", b'tweet,sentiment\n"a",1\n"b",1\n"c,1\n', "line 4: a quote without its partner; .*1 of 3 rows"),
    ("text_after_quote.csv", b'tweet,sentiment\n"a"b,1\n"c",1\n', "line 2: text after a closing quote"),
    ("endless_field.csv", b'tweet,sentiment\n"' + b"a" * (17 << 20), "line 2: a field of more than 16,777,216"),
    ("extra.tsv", b"tweet\tsentiment\na\t1\tx\nb\t1\n", "line 2: expected 2 columns, got 3; .*hold a tab"),
    ("extra_semicolon.csv", b"tweet;sentiment\na;1;x\nb;1\n", "expected 2 columns, got 3; .*hold a semicolon"),
    ("empty.json", b"", "expected one JSON list of objects"),
    ("empty_list.json", b"[]", "expected rows of data, got none"),
    ("number.json", b"3", "expected a JSON list of objects, got a number"),
    ("of_texts.json", b'[{"a": 1}, "b"]', "line 2: expected an object with named values, got a text"),
    ("of_lists.json", b"[[1]]", "line 1: expected an object with named values, got a list"),
    ("of_null.json", b"[null]", "line 1: expected an object with named values, got null"),
    ("cut.json", b'[{"tweet": "a"', "expected one JSON list of objects, .*line 1 column"),
    ("repeated_key.json", b'[{"a": 1}, {"a": 1, "a": 2}]', "line 2: the key 'a' occurs twice"),
    ("nan.json", b'[{"a": 1}, {"a": NaN}]', "line 2: 'a' is nan, not JSON; write null"),
    ("infinity.json", b'[{"a": -Infinity}]', "line 1: 'a' is -inf, not JSON; write null"),
    ("deep.json", b"[" * 200_000, "nested too deeply"),
    ("long_number.json", b'[{"a": ' + b"1" * 5000 + b"}]", "expected one JSON list .*integer string conversion"),
    ("bad_line.jsonl", b'{"a": 1}\n\n{"a": \n', "line 3: expected one JSON object a line; Expecting value"),
    ("list_line.jsonl", b'{"a": 1}\n[1]\n', "line 2: expected an object with named values, got a list"),
    ("nan_line.jsonl", b'\n{"a": NaN}\n', "line 2: 'a' is nan"),
    ("deep_line.jsonl", b'{"a": 1}\n' + b"[" * 200_000, "line 2: .*nested too deeply"),
    (
        "keys.jsonl",
        b"".join(b'{"text": 1, "k%d": 1}\n' % n for n in range(12_000)),  # a table of them would take a gigabyte
        "line 1000: expected at most 1,000 different keys in all rows together, got 1,001 up to here",
    ),
    ("blank.jsonl", b"\n \n", "expected rows of data, got none"),
    ("not.parquet", b"PAR1 but not really PAR1", "expected a Parquet file"),
    ("empty.parquet", b"", "expected a Parquet file"),
    ("table.xlsx", b"PK\x03\x04", r"expected \.csv.*got \.xlsx; convert it"),
    ("cut.csv.gz", gzip.compress(GOOD.encode() * 99)[:-20], "expected a whole gzip file"),
    ("cut.csv.zst", b"\x28\xb5\x2f\xfd\x04", "expected a whole zst file"),
    ("cut.zip", b"PK\x03\x04 and no more", "expected a whole zip file"),
    ("none.zip", b"PK\x05\x06" + bytes(18), "expected files in the archive, got none"),
    ("report.pdf.gz", gzip.compress(b"%PDF"), r"got \.pdf; convert it"),
]


@pytest.mark.parametrize(("name", "content", "message"), MALFORMED, ids=[name for name, _, _ in MALFORMED])
def test_malformed_files_are_refused_with_place_and_reason(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=message) as raised:
        read_table(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such file"):
        read_table(tmp_path / "absent.csv")


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_delimiters_line_ends_and_byte_order_marks(tmp_path: Path, delimiter: str, end: str, bom: str) -> None:
    lines = [
        f'"tweet"{delimiter}sentiment',
        f'"one, two; three\tfour|"{delimiter}1',
        "",
        f'"line{end}break"{delimiter}0',
    ]
    path = tmp_path / "tweets.csv"
    path.write_bytes((bom + end.join(lines)).encode())
    table = read_table(path)
    assert table.columns == ("tweet", "sentiment")
    assert list(table.values["tweet"]) == ["one, two; three\tfour|", f"line{end}break"]
    assert list(table.values["sentiment"]) == ["1", "0"]
    assert list(table.numbers) == [1, 2]


def test_words_that_pandas_takes_for_missing_stay_texts(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", "N/A", "", "true", "007"]
    path = tmp_path / "tweets.csv"
    path.write_text("tweet,sentiment\n" + "".join(f"{word},1\n" for word in words))
    assert list(read_table(path).values["tweet"]) == words


def test_zero_bytes_and_long_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    path.write_text("tweet,sentiment\na\0b,1\n" + "x" * 1_000_000 + ",0\n")
    assert [len(text) for text in read_table(path).values["tweet"]] == [3, 1_000_000]


FRAGMENTS = [b"tweet", b"label", b",", b"\t", b";", b'"', b"\n", b"\r", b"\0", b"\xff", b"{", b"}", b"[", b"]", b":"]
FRAGMENTS += [b'"a"', b"1", b"NaN", b"null", b"\xef\xbb\xbf", b"\xff\xfe", b'{"a": 1}', "\u2028".encode(), b"PAR1"]
BYTES = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(content=BYTES, suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet"]))
def test_any_bytes_give_a_whole_table_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        table = read_table(path)
    except PipelineError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert {len(column) for column in table.values.values()} <= {len(table)}


def test_json_keeps_types_and_remembers_missing_keys(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1}, {"text": None, "label": 1.0, "geo": [1]}, {"label": "x"}]
    whole, lines = tmp_path / "a.json", tmp_path / "a.jsonl"
    whole.write_text(json.dumps(rows))
    lines.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows) + "\n")
    for path, numbers in ((whole, [1, 2, 3]), (lines, [1, 3, 5])):
        table = read_table(path)
        assert dict(table.values) == {"text": ["a", None, None], "label": [1, 1.0, "x"], "geo": [None, [1], None]}
        assert list(table.numbers) == numbers
        assert table.lacking == {"text": numbers[2], "geo": numbers[0]}


def test_json_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\u2028line\x85here"}\n', encoding="utf-8")
    assert read_table(path).values["text"] == ["one\u2028line\x85here"]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["NA", None, "ü"], "label": [1.0, 0.0, None]}), path)
    table = read_table(path)
    assert dict(table.values) == {"text": ["NA", None, "ü"], "label": [1.0, 0.0, None]}
    assert list(table.numbers) == [1, 2, 3]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pyarrow.array([b"\xff\xfe"]).cast(pyarrow.string(), safe=False), "string; 'utf-8' codec can't decode"),
        (pyarrow.array([2**62], pyarrow.timestamp("us")), r"timestamp\[us\]; date value out of range"),
        (pyarrow.array([2**31 - 1], pyarrow.date32()), r"date32\[day\]; days=2147483647"),
        (pyarrow.array([1], pyarrow.timestamp("us", "Foo/Bar")), r"timestamp\[us, tz=Foo/Bar\]; 'Foo/Bar'"),
    ],
)
def test_parquet_with_values_that_python_does_not_know(tmp_path: Path, column: pyarrow.Array, reason: str) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": column}), path)
    with pytest.raises(PipelineError, match=f"a.parquet: expected .* in column 'a', of type {reason}.*; leave the col"):
        read_table(path)


def test_hugging_face_folder_gives_class_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, None]}, features=features)
    dataset.save_to_disk(tmp_path / "one")
    assert dict(read_table(tmp_path / "one").values) == {"text": ["a", "b", "c"], "label": ["good", "bad", None]}

    datasets.DatasetDict(train=dataset, test=dataset).save_to_disk(tmp_path / "both")
    with pytest.raises(PipelineError, match="holds the splits train, test; give the folder of one"):
        read_table(tmp_path / "both")
    assert len(read_table(tmp_path / "both" / "train")) == 3

    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"not arrow")
    with pytest.raises(PipelineError, match=r"expected a folder made with Dataset\.save_to_disk"):
        read_table(tmp_path / "one")
    (tmp_path / "none").mkdir()
    with pytest.raises(PipelineError, match=r"expected a folder made with Dataset\.save_to_disk"):
        read_table(tmp_path / "none")


def test_fingerprint_changes_with_any_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    before = fingerprint(tmp_path)
    assert before == fingerprint(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    renamed = fingerprint(tmp_path)
    (tmp_path / "c").write_text("3")
    assert len({before, renamed, fingerprint(tmp_path), fingerprint(tmp_path / "a")}) == 4


def test_bad_rows_are_set_aside_up_to_a_share(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv"
    path.write_text("tweet,label\n" + "a,1\n" * 97 + "b\n" + "c,0,0\n" + "d,1\n")
    with pytest.raises(PipelineError, match=r"line 99: expected 2 columns, got 1; .* 'b\\n'; 2 of 100 rows"):
        read_table(path)
    table = read_sources([str(path)], ReadOptions(max_rejected=0.02))
    assert [(row.file, row.line, row.reason, row.content) for row in table.rejected] == [
        (str(path), 99, "expected 2 columns, got 1", "b\n"),
        (str(path), 100, "expected 2 columns, got 3", "c,0,0\n"),
    ]
    assert (len(table), list(table.numbers)[-2:]) == (98, [97, 100])
    assert describe_rejected([table, table]) == {
        "share": 0.02,
        "reasons": {"expected 2 columns, got 1": 2, "expected 2 columns, got 3": 2},
    }
    lines = tmp_path / "tweets.jsonl"
    lines.write_text('{"a": 1}\n' * 99 + '{"a": \n' + "[1]\n")
    rejected = read_sources([str(lines)], ReadOptions(max_rejected=0.5)).rejected
    assert [(row.line, row.reason.split(";")[0], row.content) for row in rejected] == [
        (100, "expected one JSON object a line", '{"a":'),
        (101, "expected an object with named values, got a list", "[1]"),
    ]
    assert rejected[0].to_json().keys() == {"file", "line", "reason", "content"}


def test_facts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tweets.csv.gz"
    content = "My tweets\r\ntweet;label;\r\ncafé;1;\r\n“b”;0;\r\n".encode("cp1252")
    path.write_bytes(gzip.compress(content))
    (facts,) = read_table(path).files
    assert facts.to_json() == {
        "path": str(path),
        "sha256": fingerprint(path),
        "rows": 2,
        "rejected": 0,
        "kind": "csv",
        "encoding": "cp1252",
        "delimiter": ";",
        "quoting": "quoted",
        "line_ends": "CRLF",
        "header": True,
        "title_rows": 1,
        "compression": "gzip",
        "label": None,
    }


def test_json_with_an_object_a_line_is_read_by_any_name(tmp_path: Path) -> None:
    content = '{"a": 1}\n{"a": 2}\n'
    for name in ("a.json", "a.jsonl", "a.ndjson", "a"):
        (tmp_path / name).write_text(content)
        assert read_table(tmp_path / name).values == {"a": [1, 2]}
        assert read_table(tmp_path / name).files[0].kind == "jsonl"


def test_the_encoding_can_be_forced(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("tweet,label\nпривет,1\n".encode("koi8_r"))
    table = read_sources([str(tmp_path / "a.csv")], ReadOptions(encoding="koi8_r"))
    assert table.values["tweet"] == ["привет"]
    assert table.files[0].encoding == "koi8_r"
