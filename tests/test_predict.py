"""The command from end to end on a tiny model: formats, what cannot be used, kills, and what is refused."""

import csv
import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.parquet
import pytest
from conftest import make_rows

from pipeline import library, parts, predict
from pipeline.artifacts import Run, dump_json
from pipeline.errors import PipelineError
from pipeline.locking import Lock
from pipeline.predictions import Reading
from pipeline.traces import CALIBRATION

if TYPE_CHECKING:
    from pipeline.model.decoding import Decoded

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300
LABELS = ("Negative", "Neutral", "Positive")
ADDED = ["label", "confidence", "abstained", *(f"probability_{label}" for label in LABELS), "reason"]
ANSWERS: "dict[tuple[str, ...], list[Decoded]]" = {}
TWEETS = [row.input for row in make_rows(30, start=300)]


@pytest.fixture(scope="module")
def run(easy_run: Path) -> Path:
    return easy_run


@pytest.fixture(scope="module")
def loaded(run: Path) -> library.TunedClassifier:
    return library.load_classifier(run)


@pytest.fixture
def one_model(loaded: library.TunedClassifier, monkeypatch: pytest.MonkeyPatch) -> library.TunedClassifier:
    """The command takes the model that is loaded already, and its answers to what it was asked before."""
    decode = loaded._classifier.decode

    def remembered(texts: Sequence[str]) -> "list[Decoded]":
        if tuple(texts) not in ANSWERS:
            ANSWERS[tuple(texts)] = decode(texts)
        return ANSWERS[tuple(texts)]

    def load(run: object, **options: object) -> library.TunedClassifier:
        return library.TunedClassifier(Run.load(str(run)), loaded._classifier, loaded.placement)

    monkeypatch.setattr(loaded._classifier, "decode", remembered)
    monkeypatch.setattr(predict, "load_classifier", load)
    return loaded


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        predict.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def read_csv(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> list[dict[str, str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_csv(path: Path, texts: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "tweet"])
        writer.writerows([f"{i:04d}", text] for i, text in enumerate(texts))
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet", "text"])
def test_rows_come_out_as_they_went_in_with_the_same_answers(
    run: Path, one_model: library.TunedClassifier, tmp_path: Path, kind: str, suffix: str
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
    assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 8) == 0
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


def test_no_row_is_dropped(run: Path, one_model: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text(
        'id,tweet\n1,love it a\n2,\n3," \u200b "\n4,a,b\n5,"so\nsad"\n6,rekt "again\n7,hate it b\n'
    )
    assert command("--run", run, "--source", tmp_path / "a.csv", "--out", tmp_path / "a2.csv") == 0
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
    assert command("--run", run, "--source", tmp_path / "b.jsonl", "--out", tmp_path / "b2.jsonl") == 0
    found = read_lines(tmp_path / "b2.jsonl")
    assert [row.get("tweet") for row in found] == ["love it", None, "{broken", None, 7, "[1]", '{"n": NaN}']
    assert [row["reason"] and row["reason"].split(":")[0] for row in found[1:]] == [
        "empty", "unreadable", "empty", "no text", "unreadable", "unreadable",
    ]  # fmt: skip
    assert "n" not in found[1]

    (tmp_path / "c.txt").write_text("love it\n\nhate it\n")
    assert command("--run", run, "--source", tmp_path / "c.txt", "--out", tmp_path / "c2.csv") == 0
    assert [row["text"] for row in read_csv(tmp_path / "c2.csv")] == ["love it", "", "hate it"]


def test_cut_and_unparsed_answers_say_so() -> None:
    from pipeline.model.decoding import Decoded

    decoded = Decoded("I'd say up", None, (-2.0, -2.0, -0.8), LABELS, True)
    assert Reading().read(decoded).label is None
    assert Reading().read(decoded).reason == (
        'unparsed: the model wrote "I\'d say up"; shortened: only its beginning was read'
    )
    assert sum(Reading().read(decoded).probabilities.values()) == pytest.approx(1)
    assert Reading().read(decoded).abstained is None
    assert Reading(threshold=0.5).read(decoded).abstained is True
    likely = Reading("loglikelihood", threshold=0.65).read(decoded)
    assert (likely.label, likely.abstained) == ("Positive", True)
    assert likely.confidence == pytest.approx(0.6240, abs=1e-4)
    assert Reading("loglikelihood", threshold=0.6).read(decoded).abstained is False
    offsets = {"Negative": 3.0, "Neutral": 0.0, "Positive": 0.0}
    moved = Reading("loglikelihood", offsets, threshold=0.9).read(decoded)
    assert (moved.label, moved.abstained) == ("Negative", None)
    assert moved.confidence == moved.probabilities["Negative"]


def test_an_empty_cell_of_a_lone_column_is_a_row(run: Path, one_model: object, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\nlove it\n""\n\nhate it\n')
    assert command("--run", run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv") == 0
    rows = list(csv.DictReader((tmp_path / "b.csv").open()))
    assert [row["text"] for row in rows] == ["love it", "", "hate it"]
    assert rows[1]["reason"].startswith("empty")


def test_rows_that_cannot_be_written_again_stop_nothing(run: Path, one_model: object, tmp_path: Path) -> None:
    deep = '{"text": "love it", "x": ' + "[" * 600 + "]" * 600 + "}"
    (tmp_path / "a.jsonl").write_text(deep + '\n{"text": "love it", "\\ud83d": 1}\n')
    for suffix in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"b.{suffix}"
        assert command("--run", run, "--source", tmp_path / "a.jsonl", "--out", out) == 0
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert rows[0]["reason"] == "unreadable: brackets nested too deeply"
    assert rows[1]["label"] in LABELS


def test_a_refused_beginning_leaves_nothing_in_the_way(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("text\nlove it\n")
    arguments = ("--run", run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv")
    assert command(*arguments, "--merged", "--precision", "int8") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_flipped_bit_in_an_archive_is_told_in_one_line(
    run: Path, one_model: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Few rows, and more than is looked at first.
    numbers = [random.Random(i).randbytes(50_000).hex() for i in range(30)]
    lines = "\n".join(f"love it,{number}" for number in numbers)
    for name, content in (("a.csv.gz", f"text,x\n{lines}"), ("b.json.gz", json.dumps([{"text": lines}]))):
        packed = bytearray(gzip.compress(content.encode(), 1))
        packed[-2_000:-1_000] = bytes(1_000)
        (tmp_path / name).write_bytes(packed)
        assert command("--run", run, "--source", tmp_path / name, "--out", tmp_path / f"{name}.csv") == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"{name}: expected a" in said


def test_the_runs_threshold_and_offsets_are_used(run: Path, one_model: object, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", TWEETS)
    content = {"threshold": 1.1, "adjustment": {"offsets": {"Negative": 99.0, "Neutral": 0.0, "Positive": 0.0}}}
    (run / CALIBRATION).write_text(dump_json(content))
    try:
        assert command("--run", run, "--source", source, "--out", tmp_path / "b.csv") == 0
        assert {row["abstained"] for row in read_csv(tmp_path / "b.csv")} == {"true"}
        options = ["--decoding", "loglikelihood", "--adjusted", "--out", tmp_path / "c.csv"]
        assert command("--run", run, "--source", source, *options) == 0
        assert {(row["label"], row["abstained"]) for row in read_csv(tmp_path / "c.csv")} == {("Negative", "")}
    finally:
        (run / CALIBRATION).unlink()


def test_copies_are_decoded_once(
    run: Path, one_model: library.TunedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    decode = one_model._classifier.decode

    def noted(texts: Sequence[str]) -> "list[Decoded]":
        asked.extend(texts)
        return decode(texts)

    monkeypatch.setattr(one_model._classifier, "decode", noted)
    found = one_model.predict(["love it", "hate it", "love it", None, ""])
    assert asked == ["love it", "hate it"]
    assert found[0] == found[2] != found[1]
    assert found[3].label is None


def test_a_column_that_is_there_already_is_refused_by_name(
    run: Path, one_model: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("tweet,reason\nlove it,mine\n")
    paths = ("--run", run, "--source", tmp_path / "a.csv", "--out", tmp_path / "b.csv")
    assert command(*paths) == 1
    said = capsys.readouterr().err
    assert "expected no column 'reason'" in said
    assert "--prefix predicted_" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert command(*paths, "--prefix", "predicted_") == 0
    assert [*read_csv(tmp_path / "b.csv")[0]] == ["tweet", "reason", *(f"predicted_{name}" for name in ADDED)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "b.xlsx"], "expected a name that ends with .csv, .tsv, .jsonl, .parquet"),
        (["--out", "b.jsonl", "--spreadsheet"], "--spreadsheet: expected an --out that ends with .csv"),
        (["--out", "b.csv", "--adjusted"], "--adjusted: expected --decoding loglikelihood"),
        (["--out", "b.csv", "--rows_at_once", "0"], "--rows_at_once: expected 1 or more"),
        (["--out", "b.csv", "--source", "gone.csv"], "gone.csv: no such file"),
        (["--out", "b.csv", "--text_column", "body"], "no column 'body'; the columns are 'id', 'tweet'"),
        (["--out", "a.csv"], "a.csv: already exists"),
        (["--out", "-", "--resume"], "--resume: expected a file as --out"),
        (["--out", "b.csv", "--encoding", "klingon"], "--encoding: expected the name of an encoding"),
    ],
)
def test_what_cannot_be_is_one_line_before_the_model_loads(
    run: Path,
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
    assert command("--run", run, *given, *options) == 1
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_standard_input_and_output(
    run: Path, one_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
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
            assert command("--run", run, "--source", "-", "--out", "-") == 0
        found = (tmp_path / "out").read_text()
        assert found.startswith(first)
        assert len(found.splitlines()) == n


def test_compressed_sources_are_read(run: Path, one_model: object, tmp_path: Path) -> None:
    content = write_csv(tmp_path / "a.csv", TWEETS).read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("in/tweets.csv", content)
    (tmp_path / "d.csv.zst").write_bytes(pyarrow.compress(content, "zstd", asbytes=True))
    outs = []
    for i, name in enumerate(("a.csv", "b.csv.gz", "c.zip", "d.csv.zst")):
        assert command("--run", run, "--source", tmp_path / name, "--out", tmp_path / f"out{i}.csv") == 0
        outs.append((tmp_path / f"out{i}.csv").read_bytes())
    assert len(set(outs)) == 1


def test_keys_that_come_late_are_columns_too(run: Path, one_model: object, tmp_path: Path) -> None:
    objects: list[dict[str, Any]] = [{"text": text} for text in TWEETS]
    objects[20] |= {"id": 2**60 + 1, "user": {"name": "a"}, "price": 1}
    objects[29] |= {"id": "x", "price": 1.5}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    for suffix in ("csv", "parquet"):
        arguments = ("--source", tmp_path / "a.jsonl", "--out", tmp_path / f"b.{suffix}", "--rows_at_once", 7)
        assert command("--run", run, *arguments) == 0
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


def start(run: Path, source: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    arguments = ["--run", run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.predict", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class DeathError(BaseException):
    """Ends a command where a power cut would: nothing is cleaned up that a command cleans up for itself."""


def deaths() -> Iterator[tuple[str, int]]:
    """Points at which a command that writes five parts dies: before the nth call of what reaches the disk."""
    yield from (("sync", n) for n in range(1, 17, 2))
    yield from (("write", n) for n in range(1, 6))
    yield from (("fsync", n) for n in range(1, 22, 3))
    yield from (("replace", n) for n in range(1, 6))
    yield from (("unlink", n) for n in range(1, 10))
    yield from (("rmtree", n) for n in range(1, 2))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_death_between_any_two_steps_costs_nothing(
    run: Path, one_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    source = write_csv(tmp_path / "a.csv", [row.input for row in make_rows(40)])
    arguments = ("--run", run, "--source", source, "--rows_at_once", 9)
    assert command(*arguments, "--out", tmp_path / f"whole.{suffix}") == 0
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    from pipeline.dataset import writing

    owners: dict[str, tuple[Any, str]] = {
        "sync": (parts, "sync"), "write": (writing, "write_part"), "fsync": (os, "fsync"),
        "replace": (Path, "replace"), "unlink": (Path, "unlink"), "rmtree": (shutil, "rmtree"),
    }  # fmt: skip
    died = 0
    for i, (what, number) in enumerate(deaths()):
        out, calls = tmp_path / f"{i}.{suffix}", iter(range(1, 1000))
        with monkeypatch.context() as patch:
            real = getattr(*owners[what])

            def dying(*given: Any, real: Any = real, calls: Any = calls, number: int = number, **named: Any) -> Any:
                if next(calls) == number:
                    raise DeathError
                return real(*given, **named)

            patch.setattr(*owners[what], dying)
            try:
                command(*arguments, "--out", out)
            except DeathError:
                died += 1
            else:
                assert out.exists()
        assert command(*arguments, "--out", out, "--resume") == 0, (what, number)
        assert out.read_bytes() == whole, (what, number)
        assert not parts.Parts(out).folder.exists()
    assert died >= 20


def test_kills_at_random_moments_cost_nothing(run: Path, one_model: object, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", [row.input for row in make_rows(200)])
    arguments = ("--run", run, "--source", source, "--rows_at_once", 5)
    # The first fills the memory of the model, whose answers the processes that are forked from here then have.
    assert command(*arguments, "--out", tmp_path / "first.csv") == 0
    before = time.monotonic()
    assert command(*arguments, "--out", tmp_path / "whole.csv") == 0
    seconds = time.monotonic() - before
    kills, rng = 0, random.Random(1)
    for i in range(4):
        out = tmp_path / f"{i}.csv"
        for _ in range(50):
            process = get_context("fork").Process(target=command, args=(*arguments, "--out", out, "--resume"))
            process.start()
            process.join(rng.random() * seconds / 2)
            kills += process.is_alive()
            process.kill()
            process.join(PATIENCE)
            if out.exists():
                break
        assert command(*arguments, "--out", out, "--resume") == 0
        assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
        assert not parts.Parts(out).folder.exists()
    assert kills >= 10


def test_a_signal_is_code_3_and_a_second_process_code_5(
    run: Path, one_model: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_csv(tmp_path / "a.csv", [row.input for row in make_rows(600)]), tmp_path / "out.csv"
    with start(run, source, out) as process:
        journal = parts.Parts(out).folder / parts.FINISHED
        end = time.monotonic() + PATIENCE
        while not (journal.exists() and journal.stat().st_size) and time.monotonic() < end:
            time.sleep(0.005)
        assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 5
        assert "another run is predicting into it" in capsys.readouterr().err
        process.send_signal(signal.SIGTERM)
        said, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (3, "")
    assert err.strip().splitlines()[-1] == (
        f"python -m pipeline.predict: {out}: stopped; go on with the same command and --resume"
    )
    assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 16) == 1
    assert "holds parts of a prediction; go on with --resume" in capsys.readouterr().err
    assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 8, "--resume") == 1
    assert "rows_at_once 16 -> 8" in capsys.readouterr().err
    text = source.read_text()
    source.write_text(text.replace("0003,", "0003x,"))
    assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 1
    assert "got others from row 1 on; give the former" in capsys.readouterr().err
    source.write_text("\n".join(text.splitlines()[:10]) + "\n")
    assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 1
    source.write_text(text)
    assert command("--run", run, "--source", source, "--out", out, "--rows_at_once", 16, "--resume") == 0
    assert len(read_csv(out)) == 600
    before = out.stat().st_mtime_ns
    assert command("--run", run, "--source", "gone", "--out", out, "--resume") == 0
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["flip", "gone", "line"])
def test_a_damaged_part_is_done_again(
    run: Path, one_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    source = write_csv(tmp_path / "a.csv", TWEETS)
    arguments = ("--run", run, "--source", source, "--rows_at_once", 8)
    assert command(*arguments, "--out", tmp_path / "whole.csv") == 0
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "join", lambda *_: (_ for _ in ()).throw(PipelineError("stop here")))
        assert command(*arguments, "--out", out) == 1
    folder = parts.Parts(out).folder
    part = folder / "part-000002"
    if damage == "flip":
        part.write_bytes(part.read_bytes().replace(b"e", b"a", 1))
    elif damage == "gone":
        part.unlink()
    else:
        lines = (folder / parts.FINISHED).read_text()
        (folder / parts.FINISHED).write_text(lines[: len(lines) - 70])
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "join", lambda *_: (_ for _ in ()).throw(PipelineError("stop here")))
        assert command(*arguments, "--out", out, "--resume") == 1
    # What was done again is whole now, and needs no third time.
    monkeypatch.setattr(predict, "load_classifier", lambda *_, **__: pytest.fail("the model was loaded"))
    assert command(*arguments, "--out", out, "--resume") == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_folder_of_something_else_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_csv(tmp_path / "a.csv", TWEETS)
    (tmp_path / "b.csv.parts").mkdir()
    (tmp_path / "b.csv.parts" / "letters.txt").write_text("mine")
    assert command("--run", run, "--source", source, "--out", tmp_path / "b.csv", "--resume") == 1
    assert "got a folder without begun.json" in capsys.readouterr().err
    (tmp_path / "b.csv").write_text("mine too")
    assert command("--run", run, "--source", source, "--out", tmp_path / "b.csv", "--resume") == 1
    assert (tmp_path / "b.csv.parts" / "letters.txt").read_text() == "mine"
    with Lock(tmp_path / "b.csv.parts") as lock:
        lock.take()


def test_a_full_disk_is_code_4_and_costs_nothing(
    run: Path, one_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_csv(tmp_path / "a.csv", TWEETS), tmp_path / "out.csv"
    arguments = ("--run", run, "--source", source, "--rows_at_once", 8)
    assert command(*arguments, "--out", tmp_path / "whole.csv") == 0
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, limits[1]))  # parts fit, the whole does not
        assert command(*arguments, "--out", out) == 4
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "free some space and run again" in capsys.readouterr().err
    assert command(*arguments, "--out", out, "--resume") == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


MEASURED = """
import resource, sys
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
    return library.TunedClassifier(predict.Run.load(run), stub, stub.placement)

predict.load_classifier = load
import torch, transformers  # which a real model needs, and which take room once

run, *names = sys.argv[1:]
for source in names:
    try:
        predict.main(["--run", run, "--source", source, "--out", source + ".csv", "--rows_at_once", "2000"])
    except SystemExit as ended:
        assert not ended.code
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_rows(run: Path, tmp_path: Path) -> None:
    names = []
    for rows in (4_000, 80_000):
        texts = [f"tweet number {i} of many, about the price of things and of nothing else" for i in range(rows)]
        names += [write_csv(tmp_path / f"{rows}.csv", texts), tmp_path / f"{rows}.parquet"]
        pyarrow.parquet.write_table(pyarrow.table({"text": texts[:30_000]}), names[-1], row_group_size=rows)
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, run, *names],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "80,000 rows" in result.stderr
    peaks = [int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("peak")]
    assert len(peaks) == 4
    assert peaks[3] - peaks[1] < 16, peaks  # MiB; all rows together would take more


# --- as a library


def test_the_library_answers_as_the_command_does(loaded: library.TunedClassifier, run: Path, tmp_path: Path) -> None:
    import pipeline

    assert pipeline.load_classifier is library.load_classifier
    answers = loaded.predict(["love it a", "", None])
    assert [each.label for each in answers[1:]] == [None, None]
    assert answers[0].label in LABELS
    assert answers[0].confidence == answers[0].probabilities[answers[0].label]
    with pytest.raises(TypeError, match="expected a list of texts"):
        loaded.predict("love it")
    with pytest.raises(AttributeError):
        _ = pipeline.nothing
    with pytest.raises(PipelineError, match="decoding loglikelihood"):
        loaded.predict(["a"], adjusted=True)


def test_the_estimator_works_in_scikit_learns_tools(loaded: library.TunedClassifier) -> None:
    import numpy as np
    from sklearn.base import clone
    from sklearn.metrics import classification_report
    from sklearn.model_selection import cross_val_predict, cross_val_score

    estimator = loaded.as_estimator(decoding="loglikelihood")
    texts, labels = np.array(TWEETS), np.array([LABELS[i % 3] for i in range(30)])
    assert clone(estimator).classifier is loaded
    assert clone(estimator).get_params()["decoding"] == "loglikelihood"
    expected = [each.label for each in loaded.predict(TWEETS, decoding="loglikelihood")]
    assert cross_val_predict(estimator, texts, labels, cv=3).tolist() == expected
    shares = cross_val_predict(estimator, texts, labels, cv=3, method="predict_proba")
    assert shares.shape == (30, 3)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert [estimator.classes_[i] for i in shares.argmax(axis=1)] == expected
    assert cross_val_score(estimator, texts, labels, cv=3).mean() > 0.4
    report = classification_report(labels, estimator.predict(texts), output_dict=True, zero_division=0)
    assert report["accuracy"] == np.mean(np.array(expected) == labels)
    assert estimator.predict(["", "love it"])[0] == "unparsed"
    assert np.isnan(estimator.predict_proba(["", "love it"])[0]).all()


def test_the_example_in_the_docs_runs(run: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "predicting.md").read_text(encoding="utf-8")
    (code,) = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    (tmp_path / "example.py").write_text(code.replace("data/runs/mine", str(run)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, tmp_path / "example.py"], env=environment, capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "precision" in result.stdout


def test_a_lone_surrogate_survives(run: Path, one_model: object, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "love it \\ud83d"}\n{"text": "\\u0000=1"}\n')
    for suffix in ("jsonl", "csv", "parquet"):
        assert command("--run", run, "--source", tmp_path / "a.jsonl", "--out", tmp_path / f"b.{suffix}") == 0
    assert read_lines(tmp_path / "b.jsonl")[0]["text"] == "love it \ud83d"
    assert read_csv(tmp_path / "b.csv")[0]["text"] == "love it \\ud83d"
    assert io.StringIO((tmp_path / "b.csv").read_text(encoding="utf-8")).read().count("\n") == 3
