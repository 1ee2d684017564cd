import csv
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from pipeline import artifacts
from pipeline.artifacts import SPLITS, PreparedDataset, read_json, read_jsonl, sha256_of
from pipeline.errors import PipelineError
from pipeline.prepare import PrepareConfig, main, prepare

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(__file__).resolve().parents[1] / "../shared/data"
DATA_FILES = (
    *("train.json", "val.json", "test.json", "classes.svg", "data.html", "README.md"),
    *("dropped.jsonl", "rejected.jsonl", "conflicts.jsonl", "suspects.csv"),
)

STARTS = ["Hodlers", "My aunt", "That exchange", "Every miner", "The whale", "Our fund", "Nobody", "This wallet"]
VERBS = ["welcomed", "feared", "ignored", "explained", "praised", "cursed", "watched", "missed"]
ENDS = ["the rally", "a sudden crash", "sideways weeks", "new fees", "the upgrade", "an empty mempool", "lost keys"]
WORD_OF = {"1": "Positive", "0": "Neutral", "-1": "Negative"}


def tweet(number: int) -> str:
    """A different sentence for each number below 448."""
    return f"{STARTS[number % 8]} {VERBS[number // 8 % 8]} {ENDS[number // 64 % 7]}"


def rows(n: int = 120) -> list[tuple[str, str]]:
    return [(tweet(i * 3), ("1", "0", "1", "-1")[i % 4]) for i in range(n)]


def write(path: Path, data: list[tuple[str, str]], header: tuple[str, str] = ("tweet", "sentiment")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *data])
    return path


def config(tmp_path: Path, data: list[tuple[str, str]], **options: Any) -> PrepareConfig:
    source = write(tmp_path / "tweets.csv", data)
    return PrepareConfig(source=[str(source)], out=str(tmp_path / "out"), **options)


def kept_ids(prepared: PreparedDataset) -> dict[str, list[str]]:
    return {split: [row.id for row in prepared.rows(split)] for split in SPLITS}


def test_folder_holds_alpaca_rows_that_are_the_source_rows(tmp_path: Path) -> None:
    data = rows()
    prepared = PreparedDataset.load(prepare(config(tmp_path, data, instruction="How does it sound?")))
    assert prepared.task.labels == ("Negative", "Neutral", "Positive")
    assert prepared.task.instruction == "How does it sound?"
    found = {row.id: row for split in SPLITS for row in prepared.rows(split)}
    assert len(found) == len(data)
    for number, (text, label) in enumerate(data, start=1):
        row = found[str(number)]
        assert (row.instruction, row.input, row.output) == ("How does it sound?", text, WORD_OF[label])
    assert sorted(path.name for path in prepared.folder.iterdir()) == sorted([*DATA_FILES, "manifest.json"])
    assert prepared.verified("classes.svg").read_text().startswith("<svg")
    assert list(tmp_path.glob(".*")) == []


def test_splits_load_with_the_datasets_library(tmp_path: Path) -> None:
    out = prepare(config(tmp_path, rows()))
    files = {split: str(out / f"{split}.json") for split in SPLITS}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        assert loaded[split].to_list() == read_json(out / f"{split}.json")
        assert loaded[split].column_names[:3] == ["instruction", "input", "output"]


def test_every_reason_is_counted_and_listed_once(tmp_path: Path) -> None:
    bad = [
        (" \u200b", "1"),
        ("a text without a label", ""),
        ("long " * 3000, "1"),
        ("RT @one: say it again", "1"),
        ("look at https://example.com now", "0"),
        ("@ann two sides to it", "1"),
        ("@bob TWO sides to it!", "-1"),
        ("three votes here", "0"),
        ("three votes here", "1"),
        ("three votes here", "1"),
        ("official words stand in the test file", "1"),
    ]
    test = write(
        tmp_path / "test.csv",
        [("official words stand in the test file", "0"), ("rt @x: more https://a.b", "1"), ("", "1")],
    )
    data = [*bad, *rows()]
    prepared = PreparedDataset.load(prepare(config(tmp_path, data, test_source=str(test), train_rows=50)))
    dropped = read_jsonl(prepared.verified("dropped.jsonl"))
    by_reason: dict[str, list[str]] = {}
    for row in dropped:
        by_reason.setdefault(row["reason"], []).append(row["id"])
    assert len(by_reason.pop("not sampled")) == 109 - 50
    assert by_reason == {
        "empty text": ["1", "test:3"],
        "no label": ["2"],
        "text too long": ["3"],
        "retweet": ["4"],
        "link": ["5"],
        "copy of a test row": ["11"],
        "conflicting label": ["6", "7", "8"],
        "duplicate": ["10"],
    }
    assert dropped[1] == {
        "id": "2",
        "reason": "no label",
        "detail": "",
        "text": "a text without a label",
        "label": None,
    }
    counted = prepared.manifest["rows"]
    assert counted["dropped"] == Counter(row["reason"] for row in dropped)
    assert counted["read"] == len(data) + 3 == counted["kept"] + len(dropped)
    ids = [*(row["id"] for row in dropped), *(name for names in kept_ids(prepared).values() for name in names)]
    assert sorted(ids) == sorted([*(str(i) for i in range(1, len(data) + 1)), "test:1", "test:2", "test:3"])
    assert kept_ids(prepared)["test"] == ["test:1", "test:2"]


@pytest.mark.parametrize("policy", ["one", "all"])
def test_copies_never_cross_the_split_where_a_random_one_leaks(tmp_path: Path, policy: Any) -> None:
    data = [*rows(), *((text.upper() + "!!", label) for text, label in rows())]
    data += [(text + " today", label) for text, label in rows(60)]
    prepared = PreparedDataset.load(prepare(config(tmp_path, data, duplicates=policy)))
    train, val, test = ({row.group for row in prepared.rows(split)} for split in SPLITS)
    assert train.isdisjoint(val)
    assert train.isdisjoint(test)
    assert val.isdisjoint(test)
    counted, leaks = prepared.manifest["rows"], prepared.manifest["leakage"]
    assert counted["dropped"] == ({"duplicate": 120} if policy == "one" else {})
    assert leaks["made"] == {"test_rows": len(prepared.rows("test")), "exact": 0, "template": 0, "near": 0}
    assert leaks["random_split"]["exact"] == 0
    assert leaks["random_split"]["near"] > leaks["random_split"]["template"] > 0.4
    found = prepared.manifest["duplicates"]
    assert (found["usable_rows"], found["conflicting"]) == (300, 0)
    assert 120 < found["templates"] <= 180
    assert [group["size"] for group in found["largest_groups"]] == sorted(
        (group["size"] for group in found["largest_groups"]), reverse=True
    )
    assert sum(found["largest_groups"][0]["label_shares"].values()) == pytest.approx(1)


def test_manifest_describes_source_options_classes_and_dates(tmp_path: Path) -> None:
    source = tmp_path / "tweets.csv"
    lines = [f'{text},{label},2018-03-{i % 28 + 1:02},"x"' for i, (text, label) in enumerate(rows())]
    source.write_text("Text,Label,Date,more\n" + "\n".join(lines))
    prepared = PreparedDataset.load(prepare(PrepareConfig(source=[str(source)], out=str(tmp_path / "out"), seed=7)))
    manifest = prepared.manifest
    assert manifest["source"]["columns"] == {"text": "Text", "label": "Label", "date": "Date"}
    [file] = manifest["source"]["files"]
    assert (file["split"], file["path"], file["sha256"]) == ("source", str(source), sha256_of(source))
    assert (file["rows"], file["delimiter"], file["header"]) == (120, ",", True)
    assert manifest["options"]["seed"] == 7
    assert manifest["options"]["drop_links"] is True
    dates = {"first": "2018-03-01T00:00:00+00:00", "last": "2018-03-28T00:00:00+00:00", "unread": 0}
    assert manifest["dates"] == {**dates, "unread_example": None}
    for split in SPLITS:
        assert manifest["classes"][split] == dict(
            Counter(dict.fromkeys(prepared.task.labels, 0)) + Counter(row.output for row in prepared.rows(split))
        )
    assert sum(sum(counts.values()) for counts in manifest["classes"].values()) == 120


def test_official_test_file_stays_whole_and_names_what_it_leaked(tmp_path: Path) -> None:
    train, test = rows()[:100], [*rows()[90:], *rows()[110:], ("RT @a: see https://example.com", "1")]
    test_source = write(tmp_path / "test.csv", test)
    prepared = PreparedDataset.load(prepare(config(tmp_path, train, test_source=str(test_source))))
    assert kept_ids(prepared)["test"] == [f"test:{i}" for i in range(1, len(test) + 1)]
    assert prepared.manifest["rows"]["dropped"] == {"copy of a test row": 10}
    assert len(prepared.rows("train")) + len(prepared.rows("val")) == 90
    leaks = prepared.manifest["leakage"]
    assert leaks["made"]["near"] == 0
    assert leaks["official_split"]["exact"] == pytest.approx(10 / len(test))
    assert prepared.manifest["source"]["files"][1]["split"] == "test"
    assert prepared.manifest["source"]["files"][1]["sha256"] == sha256_of(test_source)


def test_labels_of_the_user_give_names_and_order(tmp_path: Path) -> None:
    data = [(tweet(i), str(i % 3)) for i in range(90)]
    prepared = PreparedDataset.load(prepare(config(tmp_path, data, labels="2=Calm,0=Bearish,1=Bullish")))
    assert prepared.task.labels == ("Calm", "Bearish", "Bullish")
    assert list(prepared.manifest["classes"]["train"]) == ["Calm", "Bearish", "Bullish"]
    assert {row.output for row in prepared.rows("test")} == {"Calm", "Bearish", "Bullish"}


def test_alpaca_json_is_a_source_too(tmp_path: Path) -> None:
    source = tmp_path / "alpaca.json"
    source.write_text(
        json.dumps([{"instruction": "?", "input": text, "output": WORD_OF[label]} for text, label in rows()])
    )
    prepared = PreparedDataset.load(prepare(PrepareConfig(source=[str(source)], out=str(tmp_path / "out"))))
    assert sum(len(prepared.rows(split)) for split in SPLITS) == 120


def test_same_source_options_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    data = [*rows(), *rows(30), ("RT @a: again", "1")]
    options = config(tmp_path, data, train_rows=60)
    first = prepare(options)
    # Another process with another hash seed, time zone, locale and working folder.
    second = tmp_path / "second"
    command = [sys.executable, "-m", "pipeline.prepare", "--source", *options.source, "--out", str(second)]
    run = subprocess.run(
        [*command, "--train_rows", "60"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f"{second}\n"
    assert "rows read" in run.stderr
    assert "test rows with a copy in train" in run.stderr
    for name in DATA_FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    other = prepare(replace(options, out=str(tmp_path / "third"), seed=43))
    assert (first / "test.json").read_bytes() != (other / "test.json").read_bytes()


def test_source_is_not_touched_and_nothing_is_overwritten(tmp_path: Path) -> None:
    options = config(tmp_path, rows())
    before = Path(options.source[0]).read_bytes()
    manifest = (prepare(options) / "manifest.json").read_bytes()
    with pytest.raises(PipelineError, match="already exists"):
        prepare(options)
    assert Path(options.source[0]).read_bytes() == before
    assert (tmp_path / "out" / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0.0}, "--val: expected a share between 0 and 1, got 0.0"),
        ({"test": 1.5}, "--test: expected a share between 0 and 1, got 1.5"),
        ({"val": float("nan")}, "--val: expected a share"),
        ({"val": 0.5, "test": 0.5}, "--val, --test: expected together less than 1, got 0.5 and 0.5"),
        ({"train_rows": 100_000}, "--train_rows: expected 3"),
        ({"labels": "1=Up,0=Down"}, "row 4: expected 'sentiment' to be one of 1, 0; got '-1'"),
        ({"labels": "1=Up,0=up,-1=Down"}, "not distinct when case and width are ignored"),
        ({"labels": "1=Up,0=Up,-1=Up"}, "expected 2 to 20 classes, got 1"),
        ({"labels": "1=Up,0=Flat,-1=Down,7=Sideways"}, "class 'Sideways': expected at least 3 groups .* got 0"),
        ({"text_column": "words"}, "no column 'words'; the columns are 'tweet', 'sentiment'"),
        ({"test_source": "absent.csv"}, "absent.csv: no such file"),
        ({"source": ["absent.csv"]}, "absent.csv: no such file"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        prepare(replace(config(tmp_path, rows()), **options))
    assert [path.name for path in tmp_path.iterdir()] == ["tweets.csv"]


@pytest.mark.parametrize("last", [1, 4, 6, 9, 11])
def test_stopped_at_any_write_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    write_text, written = artifacts.write_text, []

    def stopped(path: Path, text: str | Iterable[str]) -> None:
        written.append(path)
        if len(written) < last:
            write_text(path, text)
        else:
            path.write_text("half")
            raise KeyboardInterrupt

    monkeypatch.setattr(artifacts, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path, rows()))
    assert len(written) == last
    assert [path.name for path in tmp_path.iterdir()] == ["tweets.csv"]


def test_test_file_must_have_a_text_a_label_and_usable_rows(tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", [("a", "1")], header=("words", "sentiment"))
    with pytest.raises(
        PipelineError, match=r"test\.csv: expected one column 'tweet' as in the source, or one with a us"
    ):
        prepare(config(tmp_path, rows(), test_source=str(test)))
    write(test, [("", "1"), ("a", "")])
    with pytest.raises(PipelineError, match=r"test\.csv: expected rows with a text and a label, got none"):
        prepare(config(tmp_path, rows(), test_source=str(test)))


def dated(path: Path) -> Path:
    """A file with dates, authors and some later copies of early tweets."""
    lines = [f"{text},{label},2018-03-{i // 5 + 1:02},author{i % 40}" for i, (text, label) in enumerate(rows())]
    lines += [f"@x {text},{label},2018-03-31,author{i}" for i, (text, label) in enumerate(rows(8))]
    path.write_text("text,label,date,author\n" + "\n".join(lines))
    return path


def test_a_split_in_time_puts_the_oldest_into_train(tmp_path: Path) -> None:
    source = dated(tmp_path / "tweets.csv")
    options = PrepareConfig(source=[str(source)], out=str(tmp_path / "out"), split_by="time")
    prepared = PreparedDataset.load(prepare(options))
    ids = {split: [int(row.id) for row in prepared.rows(split)] for split in SPLITS}
    assert {121, 128} <= set(ids["train"])  # where the tweets are that they repeat
    ids["train"] = [number for number in ids["train"] if number <= 120]
    assert max(ids["train"]) < min(ids["val"]) <= max(ids["val"]) < min(ids["test"])
    assert prepared.manifest["splits"]["by"] == "time"
    assert prepared.manifest["splits"]["later_copies"] == {"train": 8, "val": 0}
    assert prepared.manifest["timeline"]["unit"] == "day"


def test_a_column_s_values_stay_in_one_split(tmp_path: Path) -> None:
    source = dated(tmp_path / "tweets.csv")
    options = PrepareConfig(source=[str(source)], out=str(tmp_path / "out"), split_by="author")
    prepared = PreparedDataset.load(prepare(options))
    authors = {split: {(int(row.id) - 1) % 40 for row in prepared.rows(split)} for split in SPLITS}
    assert not authors["train"] & authors["test"]
    assert not authors["train"] & authors["val"]
    assert not authors["val"] & authors["test"]


def test_folds_are_finished_folders_and_test_every_row_once(tmp_path: Path) -> None:
    out = prepare(config(tmp_path, rows(), folds=4))
    tests = [row.id for i in range(1, 5) for row in PreparedDataset.load(out / f"fold-{i}").rows("test")]
    assert sorted(map(int, tests)) == list(range(1, 121))
    with pytest.raises(PipelineError, match="says kind 'folds'"):
        PreparedDataset.load(out)
    manifest = read_json(out / "manifest.json")
    folds = [read_json(out / f"fold-{i}" / "manifest.json") for i in range(1, 5)]
    assert manifest["classes"] == {f"fold-{i}": fold["classes"]["test"] for i, fold in enumerate(folds, start=1)}
    assert manifest["leakage"] == {"random_split": folds[0]["leakage"]["random_split"]}
    assert "every row is in the test of one of them" in (out / "data.html").read_text(encoding="utf-8")
    assert "<title>tweets, fold 2 of 4" in (out / "fold-2" / "data.html").read_text(encoding="utf-8")


def test_decisions_of_a_person_hold_and_copies_in_another_file_are_listed(tmp_path: Path) -> None:
    overrides = write(tmp_path / "overrides.csv", [("1", "Negative"), ("2", "")], header=("id", "label"))
    against = write(tmp_path / "benchmark.csv", [(f"{tweet(30)}!", "1")])
    options = config(tmp_path, rows(), overrides=str(overrides), against=str(against))
    prepared = PreparedDataset.load(prepare(options))
    found = {row.id: row.output for split in SPLITS for row in prepared.rows(split)}
    assert found["1"] == "Negative"
    assert "2" not in found
    assert prepared.manifest["labels"]["overrides"]["changed"] == 1
    assert prepared.manifest["rows"]["dropped"] == {"excluded by overrides": 1}
    [match] = read_jsonl(prepared.verified("against.jsonl"))
    assert (match["id"], match["kind"], match["other"]) == ("11", "template", "1")


def test_suspects_of_a_test_file_of_one_s_own_can_be_given_back(tmp_path: Path) -> None:
    data = rows()
    test = write(tmp_path / "test.csv", data[100:])
    overrides = write(tmp_path / "overrides.csv", [("test:1", "Negative"), ("3", "Positive")], header=("id", "label"))
    options = config(tmp_path, data[:90], test_source=str(test), overrides=str(overrides))
    prepared = PreparedDataset.load(prepare(options))
    found = {row.id: row.output for split in SPLITS for row in prepared.rows(split)}
    assert (found["test:1"], found["3"]) == ("Negative", "Positive")


def test_files_of_the_user_s_own_become_the_splits(tmp_path: Path) -> None:
    data = rows()
    val = write(tmp_path / "val.csv", [*data[80:100], data[110]])
    test = write(tmp_path / "test.csv", data[100:], header=("Review", "STARS"))
    prepared = PreparedDataset.load(prepare(config(tmp_path, data[:90], val_source=str(val), test_source=str(test))))
    ids = kept_ids(prepared)
    assert ids["test"] == [f"test:{i}" for i in range(1, 21)]
    assert ids["val"] == [f"val:{i}" for i in range(1, 21)]
    assert ids["train"] == [str(i) for i in range(1, 81)]
    assert prepared.manifest["splits"]["own_files"] == ["val", "test"]
    assert prepared.manifest["rows"]["dropped"] == {"copy of a test row": 1, "copy of a validation row": 10}


def test_a_class_that_was_left_out_as_a_whole_is_told_of(tmp_path: Path) -> None:
    data = [*rows(), ("the sky is up there", "2"), ("RT @a: to the moon", "2")]
    test = write(tmp_path / "test.csv", [*rows()[100:], ("The sky is up there!", "2")])
    options = config(tmp_path, data, test_source=str(test), labels="-1=Down,0=Flat,1=Up,2=Moon")
    with pytest.raises(
        PipelineError, match=r"'Moon': .* all of the source \(2\) .*: retweet 1, copy of a test row 1; k"
    ):
        prepare(options)


def test_sample_rows_are_drawn(tmp_path: Path) -> None:
    pages = [
        (prepare(replace(config(tmp_path, rows()), out=str(tmp_path / str(seed)), seed=seed)) / "data.html").read_text()
        for seed in (2**32 - 1, 1)
    ]
    shown = [page[page.index('<section id="samples"') :] for page in pages]
    assert [tweet(0) in each or tweet(3) in each for each in shown] != [True, True]


def test_several_files_and_a_file_with_one_label(tmp_path: Path) -> None:
    data = rows()
    good = tmp_path / "good.txt"
    good.write_text("\n".join(text for text, label in data if label == "1"))
    bad = tmp_path / "bad.txt"
    bad.write_text("\n".join(text for text, label in data if label == "-1"))
    sources = [f"{good}=Positive", f"{bad}=Negative"]
    prepared = PreparedDataset.load(prepare(PrepareConfig(source=sources, out=str(tmp_path / "out"))))
    assert {row.output for row in prepared.rows("train") if row.id.startswith("good.txt:")} == {"Positive"}
    assert prepared.manifest["rows"]["kept"] == 90
    assert [file["label"] for file in prepared.manifest["source"]["files"]] == ["Positive", "Negative"]


def test_inspect_shows_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "tweets.csv", rows())
    with pytest.raises(SystemExit) as stopped:
        main(["--source", str(source), "--inspect"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "delimiter         ','" in shown
    assert "label values: 3" in shown
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": None}, "--out: expected a folder to write, got none"),
        ({"split_by": "time"}, "--split_by time: expected a column with dates, found none"),
        ({"split_by": "colour"}, "--split_by colour: expected random, time or one of the columns tweet, sentiment"),
        ({"folds": 3, "split_by": "time"}, "--folds: expected no"),
        ({"folds": 1}, "--folds: expected 2 to 10, got 1"),
        ({"duplicates": 0}, "--duplicates: expected one, all, or a number from 1, got 0"),
        ({"max_rejected": 1.0}, "--max_rejected: expected a share from 0 to below 1, got 1.0"),
        ({"seed": -1}, "--seed: expected 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "--seed: expected 0 to 4294967295, got 4294967296"),
        ({"overrides": "absent.csv"}, "--overrides absent.csv: no such file"),
        ({"against": "absent.csv"}, "--against absent.csv: no such file"),
        ({"rater_columns": ["sentiment"]}, "--rater_columns sentiment: expected two ratings or more of a text"),
        ({"source": ["a.csv,b.csv"]}, "a.csv,b.csv: no such file; .* divide several files by spaces"),
        ({"out": "/proc/x"}, "/proc/x: expected a place to write to; /proc is none: No such file or directory"),
        ({"source": []}, "--source: expected at least one file"),
    ],
)
def test_options_that_contradict_each_other(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        prepare(replace(config(tmp_path, rows()), **options))


def test_an_error_is_one_line_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "tweets.csv", [("only one row", "5")])
    with pytest.raises(SystemExit) as stopped:
        main(["--source", str(source), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"python -m pipeline.prepare: {source}, row 1: ")
    assert err.count("\n") == 1


def test_help_names_every_option_and_loads_no_heavy_library() -> None:
    code = (
        "import atexit, sys; from pipeline.prepare import main\n"
        "heavy = {'sklearn', 'scipy', 'pandas', 'numpy', 'datasets', 'pyarrow', 'matplotlib', 'torch'}\n"
        "atexit.register(lambda: print('loaded:', sorted(heavy & set(sys.modules))))\n"
        "main(['--help'])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "loaded: []" in run.stdout
    for name in PrepareConfig.__dataclass_fields__:
        assert f"--{name}" in run.stdout


def test_bitcoin_tweets_of_the_tutorial(tmp_path: Path) -> None:
    source = REAL / "btc_1897.csv"
    if not source.is_file():
        pytest.skip("the tutorial's tweets are not on this machine")
    prepared = PreparedDataset.load(prepare(PrepareConfig(source=[str(source)], out=str(tmp_path / "out"))))
    assert prepared.manifest["rows"] == {
        "read": 1897,
        "rejected": 0,
        "kept": 1081,
        "dropped": {"link": 2, "duplicate": 814},
    }
    # sign(TextBlob polarity) gives every label.
    assert prepared.manifest["labels"]["lexicons"]["textblob"]["agreement"] == 1
    assert [alarm["kind"] for alarm in prepared.manifest["alarms"]][:2] == ["machine_made", "campaign"]
    assert prepared.manifest["duplicates"]["largest_groups"][0]["label_shares"]["Positive"] == 1
    assert prepared.manifest["leakage"]["made"]["near"] == 0
    # 21.7 % of the rows of one such split have their exact text in train.
    assert prepared.manifest["leakage"]["random_split"]["exact"] == pytest.approx(0.217, abs=0.03)
    kept = Counter(row.output for split in SPLITS for row in prepared.rows(split))
    for split, share in (("val", 0.10), ("test", 0.25)):
        found = Counter(row.output for row in prepared.rows(split))
        assert all(abs(found[label] - share * n) <= 1 for label, n in kept.items())


def test_the_order_that_is_proposed_can_be_pasted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        f"{word} room {i} {'abcdefghij'[i % 10]},{word}" for i in range(20) for word in ("good", "very good", "bad")
    ]
    (tmp_path / "rooms.csv").write_text("\n".join(["text,label", *rows]))
    with caplog.at_level("INFO", logger="pipeline"), pytest.raises(SystemExit):  # such rows cannot be divided
        main(["--source", str(tmp_path / "rooms.csv"), "--out", str(tmp_path / "out")])
    [line] = [record.message for record in caplog.records if "alphabetical" in record.message]
    assert shlex.split(line)[-2:] == ["--labels", "bad,good,very good"]


def test_what_is_not_used_of_the_file_is_said_once_and_a_spanish_date_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = [f"{1 + i % 28:02}/0{1 + i // 28}/2025;{text};{label};x" for i, (text, label) in enumerate(rows())]
    (tmp_path / "a.csv").write_text("\n".join(["fecha;texto;valoración;tienda", *cells]))
    with caplog.at_level("INFO", logger="pipeline"):
        prepare(PrepareConfig([str(tmp_path / "a.csv")], out=str(tmp_path / "out")))
    assert [line for line in caplog.messages if "not used" in line] == ["columns not used: 'tienda'"]
    dates = read_json(tmp_path / "out/manifest.json")["dates"]
    assert (dates["first"][:10], dates["last"][:10], dates["order"]) == ("2025-01-01", "2025-05-08", "day first")


def test_one_line_says_what_a_typo_means_and_how_to_say_the_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ["bueno", "malo"] * 40 + ["buemo"] * 3
    data = [(tweet(i * 3), label) for i, label in enumerate(labels)]
    with caplog.at_level("INFO", logger="pipeline"):
        prepare(config(tmp_path, data))
    [line] = [record.message for record in caplog.records if "--labels" in record.message]
    assert line.startswith("'buemo' (3) looks like 'bueno' (40); if so, say --labels buemo=bueno,bueno,malo, in the ")
    assert "alphabet" in line
