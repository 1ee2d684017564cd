"""Files that are uploaded to the demo, and reports that it shows."""

import csv
import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import pytest
from predicting import TWEETS, write_csv

from pipeline.artifacts import Run
from pipeline.demo import batch, evaluations
from pipeline.demo.batch import Labelled
from pipeline.demo.shelf import Shelf
from pipeline.errors import PipelineError
from pipeline.predictions import Prediction

FORMULA = "=HYPERLINK(1)"
ANSWERED = ("label", "confidence", "abstained", "reason")


@pytest.fixture(scope="module")
def shelf(easy_run: Path) -> Shelf:
    return Shelf({"easy": Run.load(easy_run)})


def label(shelf: Shelf, source: Path, column: str | None = None) -> tuple[Labelled, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    found = batch.label(shelf, "easy", source, column, source.parent, lambda done, of: told.append((done, of)))
    return found, told


def test_every_row_of_a_file_comes_back_formula_safe(shelf: Shelf, tmp_path: Path) -> None:
    texts = [*TWEETS[:18], FORMULA, "", "<b>bold</b>"]
    found, told = label(shelf, write_csv(tmp_path / "mine.csv", texts))
    assert found.path.name == "mine.labelled.csv"
    with found.path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found.total == len(found.rows) == len(texts)
    assert [row["tweet"] for row in rows][18:] == ["'" + FORMULA, "", "<b>bold</b>"]
    assert [row[0] for row in found.rows] == texts
    assert found.header == ["tweet", *ANSWERED]
    assert rows[19]["reason"].startswith("empty")
    assert told == [(16, 21), (21, 21)]
    shares = batch.shares(found, ("Negative", "Neutral", "Positive"))
    assert sum(shares.values()) == pytest.approx(1)
    assert "cannot be used: 1" in shares
    expected = [answer.label for answer in _predicted(shelf, TWEETS[:18])]
    assert [row["label"] for row in rows[:18]] == expected


def _predicted(shelf: Shelf, texts: list[str]) -> list[Prediction]:
    from pipeline.library import TunedClassifier

    with shelf.open() as loaded:
        return TunedClassifier(loaded.run, loaded.classifier, loaded.placement).predict(texts)


def test_a_column_called_label_stays(shelf: Shelf, tmp_path: Path) -> None:
    source = tmp_path / "labelled.tsv"
    source.write_text("label\tpost\nold\tlove it\n", encoding="utf-8")
    found, _ = label(shelf, source, "post")
    assert found.path.read_text(encoding="utf-8-sig").startswith('"label","post","predicted_label"')
    assert found.rows[0][:2] == ["love it", "Positive"]
    assert list(found.header) == ["post", *(f"predicted_{name}" for name in ANSWERED)]
    assert found.note == (
        "The file has a column 'label' of its own, which stays as it was: the answers are in the columns whose names "
        "begin with predicted_."
    )
    source.write_text("label\tpredicted_reason\tpost\nold\tmine\tlove it\n", encoding="utf-8")
    found, _ = label(shelf, source, "post")
    with found.path.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["predicted_reason"]) == ("old", "mine")
    assert row["predicted_predicted_label"] == found.rows[0][1] == "Positive"
    source.write_text("post\tlabels\nlove it\t1\n", encoding="utf-8")
    assert label(shelf, source, "post")[0].note == ""


def test_a_column_that_marks_formulas_stays_too(shelf: Shelf, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", TWEETS[:3])
    found, _ = label(shelf, source)
    with pytest.raises(PipelineError, match="'text_escaped', which is added; rename it") as refused:
        label(shelf, found.path)
    assert "--" not in str(refused.value)


def test_the_column_that_the_run_was_trained_on_is_found(shelf: Shelf, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text("fecha;opinión;nota\nhoy;love it;x\n", encoding="utf-8")
    with pytest.raises(PipelineError) as refused:
        label(shelf, source)
    assert str(refused.value).endswith("; type the name of the column with the text")
    with pytest.raises(PipelineError, match=r"; type the name of the column with the text$"):
        label(shelf, source, "reseña")
    run = shelf.runs["easy"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shelf.runs, "easy", dataclasses.replace(run, manifest={**run.manifest, "text_column": "opinión"}))
        found, _ = label(shelf, source)
    assert found.header[0] == "opinión"
    assert found.path.read_text(encoding="utf-8-sig").startswith('"fecha";"opinión";"nota";"label";')
    assert found.rows[0][:2] == ["love it", "Positive"]


def test_what_cannot_be_labelled_is_one_line_without_folders(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_ROWS", 20)
    good = write_csv(tmp_path / "good.csv", TWEETS[:3])
    cases = {
        "many.csv": (write_csv(tmp_path / "many.csv", TWEETS[:21]).read_bytes(), None, "at most 20 rows"),
        "big.csv": (b"tweet\n" + b"x" * batch.MAX_BYTES, None, "at most 1,048,576 bytes"),
        "packed.csv": (gzip.compress(good.read_bytes()), None, "compressed"),
        "skipped.csv": (b"\x50\x2a\x4d\x18\4\0\0\0skip" + _zstd(good.read_bytes()), None, "compressed"),
        "archive.csv": (b"PK\5\6" + bytes(18), None, "compressed"),
        "table.xlsx": (good.read_bytes(), None, "ends with .csv or .tsv"),
        "empty.csv": (b"", None, "empty file"),
        "named.csv": (good.read_bytes(), "nope", "nope"),
        "odd.csv": (b"a,b\n1,2\n3,4\n", None, "column"),
        "binary.csv": (bytes(range(256)) * 20, None, "binary.csv"),
    }
    for name, (content, column, expected) in cases.items():
        source = tmp_path / name
        source.write_bytes(content)
        with pytest.raises(PipelineError, match=expected) as refused:
            label(shelf, source, column)
        said = str(refused.value)
        assert str(tmp_path) not in said
        assert "--" not in said, said
        assert "\n" not in said


def _zstd(content: bytes) -> bytes:
    import pyarrow

    return bytes(pyarrow.compress(content, codec="zstd", asbytes=True))


def test_the_newest_report_on_a_run_is_found(
    judged: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, report = judged
    runs = {"easy": Run.load(run)}
    monkeypatch.chdir(tmp_path)
    assert evaluations.find_reports(runs, []) == {}
    for name, made in (("a", "2024"), ("b", "2026"), ("c", "2025"), ("other", "2027")):
        shutil.copytree(report, Path("reports", name))
        manifest = json.loads(Path("reports", name, "manifest.json").read_text())
        manifest["provenance"]["created_at"] = made
        if name == "other":
            manifest["parents"]["run"]["sha256"] = "0" * 64
        Path("reports", name, "manifest.json").write_text(json.dumps(manifest))
    Path("reports", "unfinished").mkdir()
    Path("reports", "README.md").write_text("x")
    assert evaluations.find_reports(runs, [])["easy"].folder.name == "b"
    assert evaluations.find_reports(runs, ["reports/a"])["easy"].folder.name == "a"
    with pytest.raises(PipelineError, match="got one on another run"):
        evaluations.find_reports(runs, ["reports/other"])
    with pytest.raises(PipelineError, match="no such folder"):
        evaluations.find_reports(runs, ["reports/none"])


def test_examples_are_the_errors_of_the_report(judged: tuple[Path, Path], tmp_path: Path) -> None:
    run, report = judged
    rows = [json.loads(line) for line in (report / "predictions.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        label = row["label"]
        row["systems"]["tuned"]["generate"] = label
        if i in (2, 3, 4):  # wrong: at the other end of the scale, unparsed, without its text
            row["systems"]["tuned"]["generate"] = {2: "Negative", 3: None, 4: "Neutral"}[i]
            row["label"], row["input"] = "Positive", {2: "<script>x</script>" * 9, 3: "odd", 4: ""}[i]
    copy = tmp_path / "report"
    shutil.copytree(report, copy)
    (copy / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _seal(copy, "predictions.jsonl")
    found = evaluations.find_reports({"easy": Run.load(run)}, [str(copy)])["easy"]
    examples = evaluations.examples_of(Run.load(run), found)
    assert examples.texts == ["<script>x</script>" * 9]
    assert examples.shown[0].startswith("Positive: <script>x")
    assert len(examples.shown[0]) < 110
    (copy / "predictions.jsonl").write_text("damaged")
    assert evaluations.examples_of(Run.load(run), found).heading == "Try one of these"


def test_a_changed_page_is_not_shown(judged: tuple[Path, Path], tmp_path: Path) -> None:
    run, report = judged
    copy = tmp_path / "report"
    shutil.copytree(report, copy)
    found = evaluations.find_reports({"easy": Run.load(run)}, [str(copy)])["easy"]
    assert evaluations.page_of(found) == (report / "report.html").read_bytes()
    (copy / "report.html").write_text("<script>alert(1)</script>")
    with pytest.raises(PipelineError, match="changed since"):
        evaluations.page_of(found)


def _seal(folder: Path, name: str) -> None:
    from pipeline.artifacts import sha256_of

    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = sha256_of(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
