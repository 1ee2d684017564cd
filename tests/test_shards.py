"""A folder of files as shards, in this process and on a local Ray cluster one of whose workers is killed."""

import csv
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet
import pytest
from conftest import make_rows
from predicting import command

from pipeline import library, parts, predict
from pipeline import shards as module
from pipeline.artifacts import read_json
from pipeline.cluster import _cores
from pipeline.errors import PipelineError

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four files of CSV; the third has a row that cannot be read."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        lines = [row.input for row in make_rows(6, start=400 + 10 * i)]
        (folder / f"{name}.csv").write_text("\n".join(["tweet,id", *(f"{line},{n}" for n, line in enumerate(lines))]))
    with (folder / "c.csv").open("a") as file:
        file.write("\none,two,three")
    (folder / "notes.md").write_text("no table")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_every_file_of_a_folder_becomes_one_of_the_same_name(easy_run: Path, shards: Path, tmp_path: Path) -> None:
    arguments = ("--run", easy_run, "--source", shards)
    assert command(*arguments, "--out", tmp_path / "out") == 0
    for name in NAMES:
        assert command("--run", easy_run, "--source", shards / f"{name}.csv", "--out", tmp_path / f"{name}.csv") == 0
        assert (tmp_path / "out" / f"{name}.csv").read_bytes() == (tmp_path / f"{name}.csv").read_bytes()
    manifest = read_json(tmp_path / "out/manifest.json")
    assert (manifest["kind"], sorted(manifest["files"])) == ("predictions", [f"{name}.csv" for name in NAMES])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*sorted(manifest["files"]), "manifest.json"]
    assert command(*arguments, "--out", tmp_path / "out") == 1  # nothing is overwritten
    before = (tmp_path / "out/manifest.json").read_bytes()
    assert command(*arguments, "--out", tmp_path / "out", "--resume") == 0
    assert (tmp_path / "out/manifest.json").read_bytes() == before  # nor written again


def test_what_is_done_stays_and_what_has_changed_is_refused(
    easy_run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ("--run", easy_run, "--source", shards, "--out", out)
    label, labelled = predict.label_file, []

    def dying(config: predict.PredictConfig, *given: object, **named: object) -> object:
        labelled.append(Path(config.source).name)
        if len(labelled) == 3:
            raise PipelineError("killed here")
        return label(config, *given, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(predict, "label_file", dying)
        assert command(*arguments) == 1
    assert set(contents(out)) == {"a.csv", "b.csv"}
    before = contents(out)
    assert command(*arguments) == 1
    assert "is unfinished; go on with --resume" in capsys.readouterr().err
    assert command(*arguments, "--resume", "--decoding", "loglikelihood") == 1
    assert "decoding generate -> loglikelihood" in capsys.readouterr().err
    (shards / "e.csv").write_text("tweet\nlove it\n")
    assert command(*arguments, "--resume") == 1
    assert "got shards" in capsys.readouterr().err
    (shards / "e.csv").unlink()
    labelled[:] = ["more than three"] * 3
    with monkeypatch.context() as patch:
        patch.setattr(predict, "label_file", dying)
        assert command(*arguments, "--resume") == 0
    assert labelled[3:] == ["c.csv", "d.csv"]
    assert contents(out).items() >= before.items()


@pytest.mark.parametrize("late", [False, True])
def test_a_mistake_leaves_nothing_in_the_way(
    easy_run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], late: bool
) -> None:
    if late:  # only the last shard cannot be labelled
        (shards / "z.csv").write_text("one,two\n1,2\n")
    arguments = ("--run", easy_run, "--source", shards, "--out", tmp_path / "out")
    assert command(*arguments, "--text_column", "tweet" if late else "twet") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert ("z.csv" if late else "a.csv") in said
    assert ("the columns are 'one', 'two'" if late else "no column 'twet'") in said
    assert not (tmp_path / "out").exists()
    (shards / "z.csv").unlink(missing_ok=True)
    assert command(*arguments) == 0


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_an_empty_file_is_a_shard_of_no_rows(
    easy_run: Path, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.csv").write_text("tweet\nlove it\nhate it\n")
    empty = folder / f"b.{suffix}"
    empty.touch()
    caplog.set_level(logging.INFO, "pipeline")
    arguments = ("--run", easy_run, "--source", folder, "--out", out, "--text_column", "tweet")
    assert command(*arguments) == 0
    warnings = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == [f"{empty}: is empty; counted as a shard of 0 rows"]
    assert "2 shards labelled now, 1 of them empty" in caplog.text
    assert "2 rows: Negative" in caplog.text
    assert sorted(read_json(out / "manifest.json")["files"]) == ["a.csv", empty.name]
    # A file of its kind without rows, which other programs read like the rest.
    done = out / empty.name
    rest = [name for name in csv.DictReader((out / "a.csv").open()).fieldnames or () if name != "tweet"]
    if suffix == "jsonl":
        assert done.read_bytes() == b""
    elif suffix == "parquet":
        table = pyarrow.parquet.read_table(done)
        assert (table.num_rows, table.column_names) == (0, rest)
    else:
        assert done.read_text() == (",", "\t")[suffix == "tsv"].join(rest) + "\n"
    assert command(*arguments, "--resume") == 0
    if suffix != "parquet":  # a file of blank lines is no different
        empty.write_text("\ufeff\n \n")
        assert command(*arguments[:4], "--out", tmp_path / "again", "--text_column", "tweet") == 0
        assert (tmp_path / "again" / empty.name).read_bytes() == done.read_bytes()
        empty.write_text("")
    # Alone it is a mistake.
    assert command("--run", easy_run, "--source", empty, "--out", tmp_path / "alone.csv") == 1
    assert f"{empty}: expected rows of data, got an empty file" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["write_manifest", "parts"])
def test_a_death_at_the_end_costs_nothing(
    easy_run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    out = tmp_path / "out"
    arguments = ("--run", easy_run, "--source", shards, "--out", out)
    # Either the last shard has its name while its parts are still there, or all are done and no manifest says so.
    place, name = (parts.Parts, "_remove") if where == "parts" else (module, where)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, lambda *_, **__: sys.exit(9))
        assert command(*arguments) == 9
    assert command(*arguments, "--resume") == 0
    assert sorted(path.name for path in out.iterdir()) == [*(f"{name}.csv" for name in NAMES), "manifest.json"]


def test_workers_fit_on_the_machines_of_a_cluster() -> None:
    node = {"CPU": 8.0}
    assert [_cores([node] * 3, n) for n in (2, 3, 4, 6, 24, 99)] == [8, 8, 4, 4, 1, 1]
    assert _cores([{"CPU": 4.0}] * 4, 2) == 4
    assert _cores([{}], 1) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "ray", "--source", "in/a.csv"], "--engine ray: expected a folder of files as --source"),
        (["--workers", "2", "--source", "in"], "--workers: expected --engine ray with it"),
        (["--workers", "2", "--source", "in/a.csv"], "--workers: expected --engine ray with it"),
        (["--ray_address", "auto", "--source", "in"], "--ray_address: expected --engine ray with it"),
        (["--source", "in", "--out", "out.csv"], "--out out.csv: expected a folder, as --source is one"),
        (["--source", "in", "--out", "-"], "--out -: expected a folder, as --source is one"),
        (["--source", "in", "--out", "in"], "--out in: is the source itself; choose another --out"),
        (["--source", "in/a.csv", "--out", "in/a.csv", "--resume"], "--out in/a.csv: is the source itself"),
        (["--source", "in", "--out", "mine"], "mine: already exists; choose another --out"),
        (
            ["--source", "in", "--out", "mine", "--resume"],
            "mine: expected shards that are being labelled, got a folder",
        ),
        (
            ["--source", "in/a.csv", "--out", "mine/b.csv", "--resume"],
            "mine/b.csv: already exists, and is no result of",
        ),
        (["--engine", "ray", "--workers", "0", "--source", "in"], "--workers: expected 1 or more, got 0"),
        (["--engine", "vllm", "--precision", "fp32", "--source", "in"], "--engine vllm: expected no --device"),
        (["--source", "empty"], "expected files that end with .parquet, .jsonl, .csv, .tsv; got none"),
        (["--merged", "--precision", "int8", "--source", "in"], "--merged: expected --precision bf16 or fp32"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    easy_run: Path, shards: Path, options: list[str], words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(shards.parent)
    Path("empty").mkdir()
    Path("mine").mkdir()
    Path("mine/b.csv").write_text("a,label\n1,2\n")
    assert command("--run", easy_run, "--out", "out", *options) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in Path("mine").iterdir()] == ["b.csv"]


def test_a_merged_model_answers_as_the_run_does(easy_run: Path) -> None:
    texts = [row.input for row in make_rows(9, start=500)]
    plain = library.load_classifier(easy_run, precision="fp32").predict(texts)
    merged = library.load_classifier(easy_run, precision="fp32", merged=True).predict(texts)
    assert [one.label for one in merged] == [one.label for one in plain]
    for a, b in zip(merged, plain, strict=True):
        assert a.probabilities == pytest.approx(dict(b.probabilities), abs=1e-5)


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.mark.thorough
@needs_ray
def test_a_cluster_labels_every_shard_though_a_worker_is_killed(easy_run: Path, shards: Path, tmp_path: Path) -> None:
    (shards / "empty.csv").touch()
    expected = tmp_path / "expected"
    assert command("--run", easy_run, "--source", shards, "--out", expected, "--rows_at_once", 2) == 0
    out = tmp_path / "out"
    arguments = ["--run", easy_run, "--source", shards, "--out", out, "--rows_at_once", 2]
    arguments += ["--engine", "ray", "--workers", 2, "--device", "cpu"]
    killed: list[int] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.predict", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    watch = threading.Thread(target=kill_a_worker, args=(process, out, killed))
    watch.start()
    _, said = process.communicate(timeout=300)
    watch.join()
    assert process.returncode == 0, said
    assert killed
    assert contents(out) == contents(expected)
    assert len(contents(out)) == len(NAMES) + 1
    assert f"{shards / 'empty.csv'}: is empty; counted as a shard of 0 rows" in said
    assert "5 shards labelled now, 1 of them empty" in said
    assert "Traceback" not in said


def kill_a_worker(process: "subprocess.Popen[str]", out: Path, killed: list[int]) -> None:
    """Kills the first process that has begun a shard, which its lock names."""
    while process.poll() is None and not killed:
        for lock in out.glob("*.parts/.lock"):
            pid = lock.read_text().strip()
            if pid.isdecimal():
                os.kill(int(pid), signal.SIGKILL)
                killed.append(int(pid))
                return
        time.sleep(0.01)


@needs_ray
def test_a_cluster_that_is_not_there_is_told_in_one_line(
    easy_run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--engine", "ray", "--ray_address", "auto")
    assert command("--run", easy_run, "--source", shards, "--out", tmp_path / "out", *options) == 1
    assert "--ray_address auto: no cluster can be had there" in capsys.readouterr().err
