"""The command from end to end on a tiny model: formats, what cannot be used, kills, and what is refused."""

import csv
import gzip
import io
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from conftest import make_rows
from predicting import LABELS, PATIENCE, TWEETS, command, read_csv, read_lines, write_csv

from pipeline import library, parts, predict
from pipeline.artifacts import dump_json
from pipeline.traces import CALIBRATION

ROOT = Path(__file__).resolve().parents[1]
ADDED = ["label", "confidence", "abstained", *(f"probability_{label}" for label in LABELS), "reason"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet", "text"])
def test_rows_come_out_as_they_went_in_with_the_same_answers(
    easy_run: Path, one_model: library.TunedClassifier, tmp_path: Path, kind: str, suffix: str
) -> None:
    source, out = tmp_path / f"tweets.{kind}", tmp_path / f"scored.{suffix}"
    rows: list[dict[str, Any]] = [{"id": i, "tweet": text} for i, text in enumerate(TWEETS)]
    if kind == "csv":
        write_csv(source, TWEETS)
        rows = [{**row, "id": f"{row['id']:04d}"} for row in rows]
    elif kind == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        source.write_text(json.dumps(rows))
    elif kind == "parquet":
        table = pyarrow.Table.from_pylist(rows, pyarrow.schema([("id", pyarrow.int16()), ("tweet", "string")]))
        pyarrow.parquet.write_table(table, source, row_group_size=7)
    else:
        source = source.with_suffix(".txt")
        source.write_text("".join(text + "\n" for text in TWEETS))
        rows = [{"text": text} for text in TWEETS]
    assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 8) == 0
    if suffix in ("csv", "tsv"):
        found: list[Any] = read_csv(out, "," if suffix == "csv" else "\t")
        rows = [{name: str(value) for name, value in row.items()} for row in rows]
    else:
        found = read_lines(out) if suffix == "jsonl" else pyarrow.parquet.read_table(out).to_pylist()
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert [*found[0]] == [*rows[0], *ADDED]
    expected = one_model.predict(TWEETS)
    assert [row["label"] for row in found] == [
        each.label or ("" if suffix in ("csv", "tsv") else None) for each in expected
    ]
    assert sum(row["label"] == LABELS[i % 3] for i, row in enumerate(found)) > 14  # it has learnt
    for row, each in zip(found, expected, strict=True):
        assert float(row["probability_Positive"]) == pytest.approx(each.probabilities["Positive"], abs=1e-5)
        if each.confidence is not None:
            assert float(row["confidence"]) == pytest.approx(each.confidence, abs=1e-5)
    if kind == suffix == "parquet":
        assert pyarrow.parquet.read_schema(out).field("id").type == pyarrow.int16()
    assert sorted(tmp_path.iterdir()) == sorted([source, out])


def test_no_row_is_dropped(easy_run: Path, one_model: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text(
        'id,tweet\n1,love it a\n2,\n3," \u200b "\n4,a,b\n5,"so\nsad"\n6,rekt "again\n7,hate it b\n'
    )
    assert command("--run", easy_run, "--source", tmp_path / "a.csv", "--out", tmp_path / "a2.csv") == 0
    rows = read_csv(tmp_path / "a2.csv")
    assert [row["id"] for row in rows] == ["1", "2", "3", "", "5", "6", "7"]
    assert rows[3]["tweet"] == "4,a,b"
    assert [row["reason"] for row in rows][1:4] == [
        "empty: nothing is left to read", "empty: nothing is left to read", "unreadable: expected 2 columns, got 3",
    ]  # fmt: skip
    assert all(row["label"] == row["probability_Neutral"] == "" for row in rows[1:4])
    assert rows[4]["tweet"] == "so\nsad"
    assert rows[5]["tweet"] == 'rekt "again'
    assert "7 rows" in caplog.text
    assert "unusable 3" in caplog.text

    lines = [
        '{"tweet": "love it", "n": 1}',
        '{"tweet": null}',
        "{broken",
        '{"n": 2}',
        '{"tweet": 7}',
        "[1]",
        '{"n": NaN}',
    ]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    assert command("--run", easy_run, "--source", tmp_path / "b.jsonl", "--out", tmp_path / "b2.jsonl") == 0
    found = read_lines(tmp_path / "b2.jsonl")
    assert [row.get("tweet") for row in found] == ["love it", None, "{broken", None, 7, "[1]", '{"n": NaN}']
    assert [row["reason"] and row["reason"].split(":")[0] for row in found[1:]] == [
        "empty", "unreadable", "empty", "no text", "unreadable", "unreadable",
    ]  # fmt: skip
    assert "n" not in found[1]

    (tmp_path / "c.txt").write_text("love it\n\nhate it\n")
    assert command("--run", easy_run, "--source", tmp_path / "c.txt", "--out", tmp_path / "c2.csv") == 0
    assert [row["text"] for row in read_csv(tmp_path / "c2.csv")] == ["love it", "", "hate it"]


def test_an_empty_cell_of_a_lone_column_is_a_row(easy_run: Path, one_model: object, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\nlove it\n""\n\nhate it\n')
    assert command("--run", easy_run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv") == 0
    rows = list(csv.DictReader((tmp_path / "b.csv").open()))
    assert [row["text"] for row in rows] == ["love it", "", "hate it"]
    assert rows[1]["reason"].startswith("empty")


def test_rows_that_cannot_be_written_again_stop_nothing(easy_run: Path, one_model: object, tmp_path: Path) -> None:
    deep = '{"text": "love it", "x": ' + "[" * 600 + "]" * 600 + "}"
    (tmp_path / "a.jsonl").write_text(deep + '\n{"text": "love it", "\\ud83d": 1}\n')
    for suffix in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"b.{suffix}"
        assert command("--run", easy_run, "--source", tmp_path / "a.jsonl", "--out", out) == 0
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert rows[0]["reason"] == "unreadable: brackets nested too deeply"
    assert rows[1]["label"] in LABELS


def test_a_refused_beginning_leaves_nothing_in_the_way(
    easy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("text\nlove it\n")
    arguments = ("--run", easy_run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv")
    assert command(*arguments, "--merged", "--precision", "int8") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_picture_is_no_table_whatever_its_name(
    easy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(3_000))
    assert command("--run", easy_run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv") == 1
    assert "a.csv: expected a text, got a binary file" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_flipped_bit_in_an_archive_is_told_in_one_line(
    easy_run: Path, one_model: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Few rows, and more than is looked at first.
    numbers = [random.Random(i).randbytes(50_000).hex() for i in range(30)]
    lines = "\n".join(f"love it,{number}" for number in numbers)
    for name, content in (("a.csv.gz", f"text,x\n{lines}"), ("b.json.gz", json.dumps([{"text": lines}]))):
        packed = bytearray(gzip.compress(content.encode(), 1))
        packed[-2_000:-1_000] = bytes(1_000)
        (tmp_path / name).write_bytes(packed)
        assert command("--run", easy_run, "--source", tmp_path / name, "--out", tmp_path / f"{name}.csv") == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"{name}: expected a" in said


def test_the_runs_threshold_and_offsets_are_used(
    easy_run: Path, one_model: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    source = write_csv(tmp_path / "a.csv", TWEETS)
    assert command("--run", easy_run, "--source", source, "--out", tmp_path / "before.csv") == 0
    assert "no threshold to abstain below: this run has not been evaluated" in caplog.text
    nothing = {"threshold": None, "target_accuracy": 0.9, "adjustment": None}
    content = {"threshold": 1.1, "adjustment": {"offsets": {"Negative": 99.0, "Neutral": 0.0, "Positive": 0.0}}}
    try:
        (easy_run / CALIBRATION).write_text(dump_json(nothing))
        assert command("--run", easy_run, "--source", source, "--out", tmp_path / "none.csv") == 0
        assert "its last evaluation found no threshold at which it is surely 90 % right" in caplog.text
        (easy_run / CALIBRATION).write_text(dump_json(content))
        assert command("--run", easy_run, "--source", source, "--out", tmp_path / "b.csv") == 0
        assert f"abstained {len(TWEETS)}" in caplog.text
        assert {row["abstained"] for row in read_csv(tmp_path / "b.csv")} == {"true"}
        options = ["--decoding", "loglikelihood", "--adjusted", "--out", tmp_path / "c.csv"]
        assert command("--run", easy_run, "--source", source, *options) == 0
        assert {(row["label"], row["abstained"]) for row in read_csv(tmp_path / "c.csv")} == {("Negative", "")}
    finally:
        (easy_run / CALIBRATION).unlink()


def test_the_column_that_the_run_was_trained_on_is_taken(
    easy_run: Path,
    one_model: object,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    run = tmp_path / "run"
    shutil.copytree(easy_run, run)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["text_column"] is None  # the data set of the tests says nothing of its source
    (run / "manifest.json").write_text(json.dumps(manifest | {"text_column": "opinión"}))
    source = tmp_path / "a.csv"
    source.write_text("fecha;opinión;text\nhoy;love it;x\n", encoding="utf-8")
    assert command("--run", run, "--source", source, "--out", tmp_path / "b.csv") == 0
    assert "the tweets are in 'opinión', as in the training data of the run" in caplog.text
    del manifest["text_column"]  # an older run
    for content in (manifest, manifest | {"text_column": "comment"}):
        (run / "manifest.json").write_text(json.dumps(content))
        caplog.clear()
        out = tmp_path / f"{len(content)}.csv"
        assert command("--run", run, "--source", source, "--out", out) == 0
        assert "the tweets are in 'text'" in caplog.text
        assert "training data" not in caplog.text


def test_a_column_that_is_there_already_is_refused_by_name(
    easy_run: Path, one_model: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("tweet,reason\nlove it,mine\n")
    paths = ("--run", easy_run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv")
    assert command(*paths) == 1
    said = capsys.readouterr().err
    assert "expected no column 'reason'" in said
    assert "--prefix predicted_" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert command(*paths, "--prefix", "predicted_") == 0
    assert [*read_csv(tmp_path / "b.csv")[0]] == ["tweet", "reason", *(f"predicted_{name}" for name in ADDED)]


@pytest.mark.parametrize(("delimiter", "written"), [(";", ";"), (",", ","), ("\t", ","), ("|", ",")])
def test_a_spreadsheet_has_the_semicolons_of_its_source(
    easy_run: Path, one_model: object, tmp_path: Path, delimiter: str, written: str
) -> None:
    source = tmp_path / "a.csv"
    texts = ["love it; so happy, really", "=1+1;2", '-3, "rekt"', "so sad"]
    with source.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("tweet", "año"), *((text, "x") for text in texts)])
    paths = ("--run", easy_run, "--source", source)
    assert command(*paths, "--out", tmp_path / "b.csv", "--spreadsheet") == 0
    rows = read_csv(tmp_path / "b.csv", written, "utf-8-sig")
    assert [row["tweet"] for row in rows] == [texts[0], "'" + texts[1], "'" + texts[2], texts[3]]
    assert {row["año"] for row in rows} == {"x"}
    assert all(row["label"] in LABELS for row in rows)
    for name, own in (("c.csv", ","), ("d.tsv", "\t")):  # for no spreadsheet program
        assert command(*paths, "--out", tmp_path / name) == 0
        assert [row["tweet"] for row in read_csv(tmp_path / name, own)] == texts


def test_a_spreadsheet_goes_on_with_the_delimiter_that_it_was_begun_with(
    easy_run: Path,
    one_model: library.TunedClassifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out, again = (tmp_path / name for name in ("whole.csv", "out.csv", "begun"))
    source = tmp_path / "a.csv"

    def write(delimiter: str) -> None:
        source.write_text("".join(f"{i}{delimiter}{t}\n" for i, t in enumerate(["tweet", *TWEETS])))

    paths = ("--run", easy_run, "--source", source, "--spreadsheet", "--rows_at_once", 8)
    write(";")
    assert command(*paths, "--out", whole) == 0
    decode, calls = one_model._classifier.decode, []

    def stopped(texts: list[str]) -> object:
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(texts)

    with monkeypatch.context() as patch:
        patch.setattr(one_model._classifier, "decode", stopped)
        assert command(*paths, "--out", out) == 3
    begun = tmp_path / "out.csv.parts"
    shutil.copytree(begun, again)
    write(",")
    assert command(*paths, "--out", out, "--resume") == 1
    assert "expected what it was begun with, got delimiter ; -> ,; go on with the former" in capsys.readouterr().err
    # Before it was noted there were commas alone.
    older = {key: value for key, value in json.loads((begun / "begun.json").read_text()).items() if key != "delimiter"}
    (begun / "begun.json").write_text(json.dumps(older))
    write(";")
    assert command(*paths, "--out", out, "--resume") == 1
    assert "got delimiter , -> ;" in capsys.readouterr().err
    shutil.rmtree(begun)
    shutil.copytree(again, begun)
    assert command(*paths, "--out", out, "--resume") == 0
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "b.xlsx"], "expected a name that ends with .csv, .tsv, .jsonl, .parquet"),
        (["--out", "b.jsonl", "--spreadsheet"], "--spreadsheet: expected an --out that ends with .csv"),
        (["--out", "b.csv", "--adjusted"], "--adjusted: expected --decoding loglikelihood"),
        (["--out", "b.csv", "--rows_at_once", "0"], "--rows_at_once: expected 1 or more"),
        (["--out", "b.csv", "--source", "gone.csv"], "gone.csv: no such file"),
        (["--out", "b.csv", "--text_column", "body"], "no column 'body'; the columns are 'id', 'tweet'"),
        (["--out", "a.csv"], "--out a.csv: is the source itself"),
        (["--out", "-", "--resume"], "--resume: expected a file as --out"),
        (["--out", "b.csv", "--encoding", "klingon"], "--encoding: expected the name of an encoding"),
    ],
)
def test_what_cannot_be_is_one_line_before_the_model_loads(
    easy_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "load_classifier", lambda *_, **__: pytest.fail("the model was loaded"))
    write_csv(tmp_path / "a.csv", TWEETS)
    given = [] if "--source" in options else ["--source", "a.csv"]
    assert command("--run", easy_run, *given, *options) == 1
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_standard_input_and_output(
    easy_run: Path,
    one_model: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    content = write_csv(tmp_path / "a.csv", TWEETS).read_bytes()
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TWEETS).encode()
    pyarrow.parquet.write_table(pyarrow.table({"text": TWEETS}), tmp_path / "a.parquet")
    packed = (tmp_path / "a.parquet").read_bytes()
    for given, first, n in ((content, "id,tweet,label", 31), (lines, '{"text": "', 30), (packed, '{"text": "', 30)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        # A real descriptor, as the command has one; pytest's own stdout would not do.
        with capfd.disabled(), (tmp_path / "out").open("w") as out, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            assert command("--run", easy_run, "--source", "-", "--out", "-") == 0
        found = (tmp_path / "out").read_text()
        assert found.startswith(first)
        assert len(found.splitlines()) == n


def test_compressed_sources_are_read(easy_run: Path, one_model: object, tmp_path: Path) -> None:
    content = write_csv(tmp_path / "a.csv", TWEETS).read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("in/tweets.csv", content)
    (tmp_path / "d.csv.zst").write_bytes(pyarrow.compress(content, "zstd", asbytes=True))
    outs = []
    for i, name in enumerate(("a.csv", "b.csv.gz", "c.zip", "d.csv.zst")):
        assert command("--run", easy_run, "--source", tmp_path / name, "--out", tmp_path / f"out{i}.csv") == 0
        outs.append((tmp_path / f"out{i}.csv").read_bytes())
    assert len(set(outs)) == 1


def test_keys_that_come_late_are_columns_too(easy_run: Path, one_model: object, tmp_path: Path) -> None:
    objects: list[dict[str, Any]] = [{"text": text} for text in TWEETS]
    objects[20] |= {"id": 2**60 + 1, "user": {"name": "a"}, "price": 1}
    objects[29] |= {"id": "x", "price": 1.5}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    for suffix in ("csv", "parquet"):
        arguments = ("--source", tmp_path / "a.jsonl", "--out", tmp_path / f"b.{suffix}", "--rows_at_once", 7)
        assert command("--run", easy_run, *arguments) == 0
    rows = read_csv(tmp_path / "b.csv")
    assert [*rows[0]] == ["text", "id", "user", "price", *ADDED]
    assert [row["id"] for row in rows if row["id"]] == [str(2**60 + 1), "x"]
    assert rows[20]["user"] == '{"name": "a"}'
    assert all(row["label"] in ("", *LABELS) for row in rows)
    table = pyarrow.parquet.read_table(tmp_path / "b.parquet").to_pylist()
    assert (table[20]["id"], table[29]["id"]) == (str(2**60 + 1), "x")
    assert (table[20]["price"], table[29]["price"]) == (1.0, 1.5)
    assert table[0]["id"] is None


# --- going on


def start(easy_run: Path, source: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    arguments = ["--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.predict", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_signal_is_code_3_and_a_second_process_code_5(
    easy_run: Path,
    one_model: object,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    source, out = write_csv(tmp_path / "a.csv", [row.input for row in make_rows(600)]), tmp_path / "out.csv"
    with start(easy_run, source, out) as process:
        journal = parts.Parts(out).folder / parts.FINISHED
        end = time.monotonic() + PATIENCE
        while not (journal.exists() and journal.stat().st_size) and time.monotonic() < end:
            time.sleep(0.005)
        assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 5
        assert "another run is predicting into it" in capsys.readouterr().err
        process.send_signal(signal.SIGTERM)
        said, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (3, "")
    assert err.strip().splitlines()[-1] == (
        f"python -m pipeline.predict: {out}: stopped; go on with the same command and --resume"
    )
    assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 16) == 1
    assert "holds parts of a prediction; go on with --resume" in capsys.readouterr().err
    assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 8, "--resume") == 1
    assert "rows_at_once 16 -> 8" in capsys.readouterr().err
    text = source.read_text()
    source.write_text(text.replace("0003,", "0003x,"))
    assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 1
    assert "got others from row 1 on; give the former" in capsys.readouterr().err
    source.write_text("\n".join(text.splitlines()[:10]) + "\n")
    assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 1
    source.write_text(text)
    done = 16 * len(journal.read_text().splitlines())
    caplog.clear()
    assert command("--run", easy_run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 0
    assert f"{out}: goes on behind the {done} rows that are done" in caplog.text
    assert len(read_csv(out)) == 600
    before = out.stat().st_mtime_ns
    assert command("--run", easy_run, "--source", "gone", "--out", out, "--resume") == 0
    assert out.stat().st_mtime_ns == before


MEASURED = """
import re, sys
from pathlib import Path
from pipeline import library, predict
from pipeline.model.decoding import Decoded

class Stub:
    run, labels, threshold = None, ("Negative", "Neutral", "Positive"), None
    class placement:
        precision, dtype, device = "fp32", "float32", "cpu"
    def decode(self, texts):
        return [Decoded("Neutral", "Neutral", (-2.0, -0.5, -1.0), self.labels, False) for _ in texts]

def load(run, **options):
    stub = Stub()
    return library.TunedClassifier(run, stub, stub.placement)

predict.load_classifier = load
import torch, transformers  # which a real model needs, and which take room once

run, *names = sys.argv[1:]
for source in names:
    try:
        predict.main(["--run", run, "--source", source, "--out", source + ".csv", "--rows_at_once", "2000"])
    except SystemExit as ended:
        assert not ended.code
    # Not getrusage, whose peak begins with that of the process that started this one.
    print("peak", int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it tells the peak of a process's memory")
def test_memory_does_not_grow_with_the_rows(easy_run: Path, tmp_path: Path) -> None:
    names = []
    for rows in (4_000, 40_000):
        texts = [f"tweet number {i} of many, about the price of things and of nothing else" for i in range(rows)]
        names += [write_csv(tmp_path / f"{rows}.csv", texts), tmp_path / f"{rows}.parquet"]
        pyarrow.parquet.write_table(pyarrow.table({"text": texts[:15_000]}), names[-1], row_group_size=rows)
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, easy_run, *names],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "40,000 rows" in result.stderr
    peaks = [int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("peak")]
    assert len(peaks) == 4
    assert peaks[3] - peaks[1] < 32, peaks  # MiB; all rows together would take 75


def test_a_lone_surrogate_survives(easy_run: Path, one_model: object, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "love it \\ud83d"}\n{"text": "\\u0000=1"}\n')
    for suffix in ("jsonl", "csv", "parquet"):
        assert command("--run", easy_run, "--source", tmp_path / "a.jsonl", "--out", tmp_path / f"b.{suffix}") == 0
    assert read_lines(tmp_path / "b.jsonl")[0]["text"] == "love it \ud83d"
    assert read_csv(tmp_path / "b.csv")[0]["text"] == "love it \\ud83d"
    assert io.StringIO((tmp_path / "b.csv").read_text(encoding="utf-8")).read().count("\n") == 3
