import gzip
import io
import json
import sys
import types
import zipfile
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from pipeline.dataset import sources
from pipeline.dataset.columns import find_columns
from pipeline.dataset.reading import ReadOptions, Table, read_sources
from pipeline.dataset.sources import divide
from pipeline.errors import PipelineError

GOOD = "tweet,sentiment\nup we go,1\ndown,0\n"


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(table: Table) -> dict[str, list[object]]:
    return {name: list(column) for name, column in table.values.items()}


def zipped(members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


ZST = pyarrow.compress(GOOD.encode(), codec="zstd", asbytes=True)


@pytest.mark.parametrize("kind", ["gzip", "zip", "zst", "zst after a frame to skip"])
def test_compression_is_known_by_content(tmp_path: Path, kind: str) -> None:
    content = {
        "gzip": gzip.compress(GOOD.encode()),
        "zip": zipped({"./tweets.csv": GOOD, "__MACOSX/._tweets.csv": "x", "./.DS_Store": "x", "empty/": ""}),
        "zst": ZST,
        "zst after a frame to skip": b"\x5a\x2a\x4d\x18\x04\0\0\0skip" + ZST,
    }[kind]
    kind = kind.split()[0]
    for name in ("tweets.csv", f"tweets.csv.{kind.removesuffix('ip') if kind == 'gzip' else kind}"):
        table = read_sources([write(tmp_path / name, content)])
        assert rows(table) == {"tweet": ["up we go", "down"], "sentiment": ["1", "0"]}
        assert table.files[0].compression == kind


def test_an_archive_of_several_tables(tmp_path: Path) -> None:
    path = write(
        tmp_path / "all.zip", zipped({"b.csv": GOOD, "a.csv": "sentiment;tweet\n-1;first\n", "sub/b.csv": GOOD})
    )
    table = read_sources([path])
    assert list(table.numbers) == ["a.csv:1", "b.csv:1", "b.csv:2", "sub/b.csv:1", "sub/b.csv:2"]
    assert table.values["tweet"] == ["first", "up we go", "down", "up we go", "down"]
    assert [file.path for file in table.files] == [f"{path}/a.csv", f"{path}/b.csv", f"{path}/sub/b.csv"]


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST", 1 << 20)
    for name, content in {
        "a.gz": gzip.compress(bytes((1 << 20) + 1)),
        "a.zst": pyarrow.compress(bytes((1 << 20) + 1), codec="zstd", asbytes=True),
        "a.zip": zipped({"a.csv": "\0" * ((1 << 20) + 1)}),
    }.items():
        with pytest.raises(PipelineError, match=r"expected at most .* after unpacking, got more"):
            list(sources.unpack(Path(write(tmp_path / name, content)), None))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.zip",
            zipped({"a.csv.gz": gzip.compress(GOOD.encode())}),
            r"a\.zip/a\.csv\.gz: .*zip file, got a gzip file",
        ),
        ("a.gz", gzip.compress(gzip.compress(GOOD.encode())), r"a\.gz: expected a table in the gzip file, got a gzip"),
        ("a.zst", pyarrow.compress(ZST, codec="zstd", asbytes=True), r"a\.zst: .*zst file, got a zst file; unpack it"),
        ("a.zip", zipped({"a.csv": GOOD, "b/../../c.csv": GOOD}), r"a\.zip: .*got 'b/\.\./\.\./c\.csv', a path out"),
    ],
    ids=["gzip in zip", "gzip in gzip", "zst in zst", "path out of zip"],
)
def test_an_archive_in_an_archive_and_a_path_out_of_one_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        read_sources([write(tmp_path / name, content)])


def test_damage_to_an_archive_is_told_in_one_line(tmp_path: Path) -> None:
    whole = zipped({"a.csv": GOOD * 50}, zipfile.ZIP_LZMA)
    reasons = set()
    # In the compressed bytes, and in the last ones, which say where the list of members begins.
    for place in (*range(30, 80), *range(len(whole) - 10, len(whole) - 2)):
        damaged = whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :]
        try:
            read_sources([write(tmp_path / "a.zip", damaged)])
        except PipelineError as error:
            reasons.add(str(error).removeprefix(f"{tmp_path}/a.zip: expected a whole zip file; "))
    assert "Corrupt input data" in reasons
    assert any("negative seek" in reason for reason in reasons)


def test_a_locked_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.csv": GOOD}))
    for place in (6, content.index(b"PK\x01\x02") + 8):  # the flag that says the member is encrypted
        content[place] |= 1
    with pytest.raises(PipelineError, match=r"expected a whole zip file; .*encrypted"):
        read_sources([write(tmp_path / "a.zip", bytes(content))])


def test_a_folder_of_tables_is_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "d" / "b.csv", "Tweet,Sentiment\nsecond,1\n")
    write(tmp_path / "d" / "a.jsonl", '{"sentiment": 0, "tweet": "first"}\n{"tweet": "third"}\n')
    write(tmp_path / "d" / "README.md", "no table")
    write(tmp_path / "d" / ".hidden.csv", "no table")
    table = read_sources([str(tmp_path / "d")])
    assert rows(table) == {"sentiment": [0, None, "1"], "tweet": ["first", "third", "second"]}
    assert list(table.numbers) == ["a.jsonl:1", "a.jsonl:2", "b.csv:1"]
    assert table.lacking == {"sentiment": "a.jsonl:2"}
    assert str(table.source) == f"{tmp_path / 'd' / 'a.jsonl'} and 1 more"
    (tmp_path / "none").mkdir()
    with pytest.raises(PipelineError, match=r"none: expected a folder made with .*, or one with tables"):
        read_sources([str(tmp_path / "none")])


def test_several_files_have_different_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / name / "tweets.csv", GOOD) for name in ("x", "y")]
    numbers = read_sources(paths).numbers
    assert list(numbers) == ["x/tweets.csv:1", "x/tweets.csv:2", "y/tweets.csv:1", "y/tweets.csv:2"]
    monkeypatch.chdir(tmp_path)
    for again in (paths[0], "x/tweets.csv", "y/../x/tweets.csv"):
        with pytest.raises(PipelineError, match=r"x/tweets\.csv: expected different sources, got this one twice"):
            read_sources([paths[0], again])
    with pytest.raises(PipelineError, match="got this one twice"):
        read_sources(["x", paths[0]])


def test_ids_differ_from_those_of_the_test_and_validation_rows(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, "tweet,label\na,b\n") for name in ("test", "val", "test:a", "testing", "a")]
    assert list(read_sources(paths).numbers) == ["./test:1", "./val:1", "./test:a:1", "testing:1", "a:1"]


def test_several_files_must_have_the_same_columns(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.csv", GOOD), write(tmp_path / "b.csv", "tweet,label\nx,1\n")
    with pytest.raises(PipelineError, match=r"b\.csv: expected the columns of .*a\.csv, 'tweet', 'sentiment'; got"):
        read_sources([a, b])


def test_rejected_rows_of_one_file_are_not_hidden_by_the_others(tmp_path: Path) -> None:
    big, small = write(tmp_path / "a.csv", GOOD), write(tmp_path / "b.csv", "tweet,sentiment\nx,1,2\n")
    with pytest.raises(PipelineError, match=r"b\.csv, line 2: expected 2 columns, got 3"):
        read_sources([big, small], ReadOptions(max_rejected=0.9))


def test_one_class_per_file(tmp_path: Path) -> None:
    up = write(tmp_path / "up.txt", 'so good, "really"\n\ntabs\tand; more\n')
    down = write(tmp_path / "down.csv", "id,text\n1,so bad\n")
    table = read_sources([f"{up}=Bullish", f"{write(tmp_path / 'no.txt', 'bad')}=Bearish"])
    assert rows(table) == {
        "text": ['so good, "really"', "tabs\tand; more", "bad"],
        "label": ["Bullish"] * 2 + ["Bearish"],
    }
    assert list(table.numbers) == ["up.txt:1", "up.txt:3", "no.txt:1"]
    assert [(file.kind, file.label) for file in table.files] == [("text", "Bullish"), ("text", "Bearish")]
    assert rows(read_sources([f"{down}=Bearish"])) == {"id": ["1"], "text": ["so bad"], "label": ["Bearish"]}
    assert find_columns(table).label == "label"
    table = read_sources([f"{write(tmp_path / 'w.txt', 'text;date' + chr(10) + 'so bad;today' + chr(10))}=Bearish"])
    assert rows(table) == {"text": ["so bad"], "date": ["today"], "label": ["Bearish"]}
    with pytest.raises(PipelineError, match="expected no column 'label' in a file of one class"):
        read_sources([write(tmp_path / "l.csv", "text,label\na,1\n") + "=Up"])


def test_a_path_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert len(read_sources([write(tmp_path / "a=b.csv", GOOD)])) == 2
    assert read_sources([write(tmp_path / "a=b.txt", "one") + "=Up"]).values["label"] == ["Up"]
    with pytest.raises(PipelineError, match=r"absent\.csv: no such file"):
        read_sources([str(tmp_path / "absent.csv") + "=Up"])
    assert read_sources([f"{tmp_path / 'a=b.txt'}={'Up' * 200}"]).values["label"] == ["Up" * 200]
    for name, reason in (("x" * 300, "File name too long"), ("a\0b", "no such file")):
        with pytest.raises(PipelineError, match=f"{name}: .*{reason}"):
            read_sources([str(tmp_path / name)])


def test_one_class_in_a_column_without_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"so good, so good, so very good, and good, and again so very good"\n"and bad"\n')
    assert list(read_sources([f"{path}=Up"]).columns) == ["text", "label"]


def test_hugging_face_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    asked: list[tuple[object, ...]] = []

    def load(path: str, name: str | None, split: str | None) -> object:
        asked.append((path, name, split))
        if path == "org/absent":
            raise FileNotFoundError("Couldn't find org/absent\nsecond line")
        splits = datasets.DatasetDict({"train": data, "test": data})
        return splits[split] if split else splits if path == "org/two" else datasets.DatasetDict({"train": data})

    monkeypatch.setattr(datasets, "load_dataset", load)
    table = read_sources(["hf:org/name/config:test"])
    assert rows(table) == {"text": ["a", "b"], "label": ["good", "bad"]}
    assert (table.files[0].path, table.files[0].kind) == ("hf:org/name/config:test", "dataset")
    assert len(read_sources(["hf:org/one"])) == 2
    assert asked == [("org/name", "config", "test"), ("org/one", None, None)]
    with pytest.raises(PipelineError, match=r"hf:org/two: holds the splits train, test; .* as hf:org/two:train"):
        read_sources(["hf:org/two"])
    with pytest.raises(PipelineError, match=r"hf:org/absent: expected a data set .*; Couldn't find org/absent$"):
        read_sources(["hf:org/absent"])


def test_kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "1" / "btc.csv", GOOD)
    stub = types.ModuleType("kagglehub")

    def download(handle: str) -> str:
        if handle != "owner/name":
            raise ValueError("no such handle\nmore")
        return str(tmp_path / "1")

    stub.dataset_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", stub)
    assert len(read_sources(["kaggle:owner/name"])) == 2
    with pytest.raises(PipelineError, match=r"kaggle:x: expected a data set of Kaggle, .*; no such handle$"):
        read_sources(["kaggle:x"])
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(PipelineError, match="kaggle:owner/name: expected the package kagglehub; pip install kagglehub"):
        read_sources(["kaggle:owner/name"])


def test_parquet_and_json_may_be_compressed(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": ["b"]}), sink)
    for name, content in (
        ("a.parquet.gz", sink.getvalue()),
        ("a.json.gz", json.dumps([{"text": "a", "label": "b"}]).encode()),
    ):
        assert rows(read_sources([write(tmp_path / name, gzip.compress(content))])) == {"text": ["a"], "label": ["b"]}


def test_a_file_without_a_suffix_is_read_by_its_content(tmp_path: Path) -> None:
    assert rows(read_sources([write(tmp_path / "tweets", GOOD)]))["sentiment"] == ["1", "0"]
    assert rows(read_sources([write(tmp_path / "list", '[{"a": 1}]')])) == {"a": [1]}


def test_a_file_that_is_missing_is_asked_for_by_what_is_called_nearly_so(tmp_path: Path) -> None:
    (tmp_path / "opiniones.csv").write_text("text,label\n")
    with pytest.raises(PipelineError, match=r"opinones\.csv: no such file \(did you mean opiniones\.csv\?\); expected"):
        divide(str(tmp_path / "opinones.csv"))
    with pytest.raises(PipelineError, match=r"opinones\.csv: no such file \(did you mean opiniones\.csv\?\); expected"):
        divide(f"{tmp_path / 'opinones.csv'}=good")
    for gone in (tmp_path / "elsewhere/opiniones.csv", tmp_path / "x.parquet"):
        with pytest.raises(PipelineError, match=r": no such file; expected"):
            divide(str(gone))
