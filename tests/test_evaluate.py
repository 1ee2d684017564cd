"""Evaluations without a model: answers from files, requirements, hidden texts, leaderboards."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import PreparedDataset, Report, read_json, read_jsonl
from pipeline.compare import CompareConfig, compare
from pipeline.errors import PipelineError
from pipeline.evaluate import EvaluateConfig, evaluate
from pipeline.prepare import PrepareConfig, prepare
from pipeline.systems import UNSAID, Answers
from pipeline.task import Task

TEXTS = {"1": "the rally lifts", "0": "the price of", "-1": "the crash hurts"}
WORDS = ["miners", "wallets", "holders", "whales", "funds", "traders", "banks", "nodes", "exchanges", "fees", "coins"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("evaluate")
    rows = [
        (f"{TEXTS[label]} {a} and {b} today", label)
        for a in WORDS
        for b in WORDS
        for label in TEXTS
        if (a < b) == (label != "0")
    ]
    with (folder / "tweets.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("tweet", "sentiment"), *rows])
    return PreparedDataset.load(prepare(PrepareConfig(source=[str(folder / "tweets.csv")], out=str(folder / "data"))))


def answers_file(path: Path, dataset: PreparedDataset, wrong: int) -> str:
    """Answers for the test rows, the first ``wrong`` of them shifted by one class."""
    labels = dataset.task.labels
    given = [row.output for row in dataset.rows("test")]
    shifted = [labels[(labels.index(label) + 1) % 3] for label in given[:wrong]] + given[wrong:]
    path.write_text("\n".join(shifted) + "\n", encoding="utf-8")
    return str(path)


def judged(tmp_path: Path, dataset: PreparedDataset, name: str, wrong: int, **options: Any) -> Path:
    path = answers_file(tmp_path / f"{name}.txt", dataset, wrong)
    config = EvaluateConfig(
        out=str(tmp_path / name), dataset=str(dataset.folder), against=[f"{name}={path}"], **options
    )
    return evaluate(config)


def test_answers_in_a_file_are_judged_without_a_model(tmp_path: Path, dataset: PreparedDataset) -> None:
    out = judged(tmp_path, dataset, "guesser", 5)
    metrics, manifest = read_json(out / "metrics.json"), Report.load(out).manifest
    n = len(dataset.rows("test"))
    assert metrics["candidate"] == manifest["candidate"] == "guesser"
    assert metrics["systems"]["guesser"]["accuracy"]["value"] == pytest.approx(1 - 5 / n)
    assert set(metrics["systems"]) == {"guesser", "tfidf", "textblob", "vader", "majority"}
    assert {c["a"] for c in metrics["comparisons"]} == {"guesser"}
    assert "answers of guesser" in manifest["parents"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "guesser" in page
    assert "tuned model" not in page
    again = evaluate(EvaluateConfig(out=str(tmp_path / "again"), rescore=str(out)))
    for name in ("metrics.json", "predictions.jsonl", "report.html"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_another_system_joins_an_evaluation_that_was_done(tmp_path: Path, dataset: PreparedDataset) -> None:
    out = judged(tmp_path, dataset, "first", 3)
    path = answers_file(tmp_path / "second.txt", dataset, 20)
    both = evaluate(EvaluateConfig(out=str(tmp_path / "both"), rescore=str(out), against=[path]))
    metrics = read_json(both / "metrics.json")
    assert metrics["candidate"] == "first"
    [found] = [c for c in metrics["comparisons"] if c["b"] == "second" and c["metric"] == "accuracy"]
    assert (found["only_a"], found["only_b"]) == (17, 0)
    for name in ("first", "tfidf"):
        with pytest.raises(PipelineError, match=f"there is a system {name} already"):
            evaluate(EvaluateConfig(out=str(tmp_path / "x"), rescore=str(out), against=[f"{name}={path}"]))


def test_requirements_decide_the_exit_after_the_report_is_written(
    tmp_path: Path, dataset: PreparedDataset, caplog: pytest.LogCaptureFixture
) -> None:
    kept = judged(tmp_path, dataset, "good", 0, require=["macro_f1 >= 0.99", "recall.Negative.low > 0.5"])
    assert Report.load(kept).manifest["required"] == ["macro_f1 >= 0.99", "recall.Negative.low > 0.5"]
    with pytest.raises(PipelineError, match="1 of 2 requirements are not met; the report is in"):
        judged(tmp_path, dataset, "bad", 40, require=["accuracy >= 0.99", "rows.n > 0"])
    assert "not met: accuracy is " in caplog.text
    assert Report.load(tmp_path / "bad").manifest["required"][0] == "accuracy >= 0.99"
    with pytest.raises(PipelineError, match="--require 'macro_f1': expected"):
        judged(tmp_path, dataset, "never", 0, require=["macro_f1"])
    with pytest.raises(PipelineError, match=r"got 'Negativ' \(did you mean Negative\?\)"):
        judged(tmp_path, dataset, "never", 0, require=["recall.Negativ.low >= 0.4"])
    assert not (tmp_path / "never").exists()
    assert not (tmp_path / "never").exists()


def test_hidden_texts_are_nowhere_in_the_report(tmp_path: Path, dataset: PreparedDataset) -> None:
    shown, hidden = (judged(tmp_path, dataset, f"s{hide}", 30, hide_text=hide) for hide in (False, True))
    texts = [row.input for row in dataset.rows("test")]
    assert any(text in (shown / "report.html").read_text(encoding="utf-8") for text in texts)
    written = "".join(path.read_text(encoding="utf-8") for path in hidden.iterdir())
    assert not [text for text in texts if text in written]
    assert "The texts are not shown" in written
    numbers = [read_json(out / "metrics.json") for out in (shown, hidden)]
    assert numbers[0]["systems"]["tfidf"] == numbers[1]["systems"]["tfidf"]
    # The kinds of tweets were found by the texts before these were hidden, and are kept.
    assert numbers[0]["weak"]["segments"]["judged"] == numbers[1]["weak"]["segments"]["judged"]
    again = evaluate(EvaluateConfig(out=str(tmp_path / "again"), rescore=str(hidden)))
    assert (again / "metrics.json").read_bytes() == (hidden / "metrics.json").read_bytes()


def test_hidden_texts_are_those_of_campaigns_and_of_drift_too() -> None:
    data = {"duplicates": {"campaigns": [{"text": "buy now", "rows": 9}]}}
    lineage = {**UNSAID, "data": data, "drift": {"telling_words": [{"word": "secret"}], "brief": "b"}}
    row = {"id": "1", "input": "t", "systems": {"tuned": {"completion": "wrote", "generate": None}}}
    hidden = Answers(Task(), [row], lineage, validation=[{"id": "2", "completion": "said"}]).without_texts()
    told = json.dumps([hidden.lineage, hidden.predictions, hidden.validation])
    assert not [word for word in ("buy now", "secret", "wrote", "said") if word in told]
    assert '"rows": 9' in told


def test_names_that_a_page_could_not_tell_apart_are_refused(tmp_path: Path, dataset: PreparedDataset) -> None:
    path = answers_file(tmp_path / "answers.txt", dataset, 3)
    for second in ("foo", "TF-IDF classifier"):
        config = EvaluateConfig(
            out=str(tmp_path / "out"), dataset=str(dataset.folder), against=[f"foo={path}", f"{second}={path}"]
        )
        with pytest.raises(PipelineError, match="there is a system"):
            evaluate(config)


def test_embeddings_that_cannot_be_are_refused_before_anything_is_scored(
    tmp_path: Path, dataset: PreparedDataset
) -> None:
    path = answers_file(tmp_path / "answers.txt", dataset, 3)
    config = EvaluateConfig(
        out=str(tmp_path / "out"), dataset=str(dataset.folder), against=[f"x={path}"], embeddings=str(tmp_path)
    )
    with pytest.raises(PipelineError, match="expected base, none, or a sentence encoder"):
        evaluate(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--run: expected the run to evaluate"),
        ({"dataset": "data"}, "--run: expected the run to evaluate"),
        ({"run": "a", "rescore": "b"}, "--run, --rescore: expected one of them"),
        ({"run": "a", "seed": -1}, "--seed: expected 0 or more"),
    ],
)
def test_contradicting_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        evaluate(EvaluateConfig(out=str(tmp_path / "out"), **options))


@pytest.mark.parametrize("given", ["=a.txt", "name=", "x" * 50 + "=a.txt", "a\tb=a.txt"])
def test_names_of_systems_are_checked(tmp_path: Path, dataset: PreparedDataset, given: str) -> None:
    config = EvaluateConfig(out=str(tmp_path / "out"), dataset=str(dataset.folder), against=[given])
    with pytest.raises(PipelineError, match="expected FILE or NAME=FILE"):
        evaluate(config)


def leaderboard(tmp_path: Path, *reports: Path) -> dict[str, Any]:
    out = compare(CompareConfig([str(report) for report in reports], str(tmp_path / "board")))
    metrics: dict[str, Any] = read_json(out / "metrics.json")
    return metrics


def test_a_leaderboard_ranks_the_systems_of_reports(tmp_path: Path, dataset: PreparedDataset) -> None:
    reports = [judged(tmp_path, dataset, name, wrong) for name, wrong in (("weak", 30), ("strong", 2), ("twin", 2))]
    metrics = leaderboard(tmp_path, *reports)
    assert [name for name in metrics["systems"] if name in ("weak", "strong", "twin")] == ["strong", "twin", "weak"]
    assert (metrics["candidate"], metrics["picked_from"]) == ("strong", 3)
    finding = {c["b"]: c["distinguishable"] for c in metrics["comparisons"] if c["metric"] == "macro_f1"}
    assert finding["weak"]
    assert not finding["twin"]
    # The baselines answered alike in all reports, so each stands there once.
    assert sorted(finding) == ["majority", "textblob", "tfidf", "twin", "vader", "weak"]
    assert any("picked as the best of 3" in sentence for sentence in metrics["verdict"])
    again = evaluate(EvaluateConfig(out=str(tmp_path / "again"), rescore=str(tmp_path / "board")))
    assert read_json(again / "metrics.json")["verdict"] == metrics["verdict"]
    alone = read_json(reports[0] / "metrics.json")["systems"]["weak"]
    assert metrics["systems"]["weak"]["macro_f1"]["value"] == alone["macro_f1"]["value"]
    # The draws of the bootstrap depend on which systems are scored together.
    assert metrics["systems"]["weak"]["macro_f1"] == pytest.approx(alone["macro_f1"], abs=0.02)


def test_reports_on_other_rows_are_refused(tmp_path: Path, dataset: PreparedDataset) -> None:
    a, b = judged(tmp_path, dataset, "a", 1), judged(tmp_path, dataset, "b", 2)

    def changed(name: str, rows: Sequence[dict[str, Any]]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "predictions.jsonl").write_text(text, encoding="utf-8")
        (folder / "metrics.json").write_bytes((b / "metrics.json").read_bytes())
        manifest = read_json(b / "manifest.json")
        from pipeline.artifacts import sha256_of

        manifest["files"]["predictions.jsonl"] = sha256_of(folder / "predictions.jsonl")
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    rows = read_jsonl(b / "predictions.jsonl")
    for name, other, message in (
        ("fewer", rows[1:], "got 0 other rows and 1 missing"),
        ("text", [{**rows[0], "input": "x"}, *rows[1:]], "got another one with id"),
        ("label", [{**rows[0], "label": "Neutral" if rows[0]["label"] != "Neutral" else "Positive"}, *rows[1:]], "id"),
    ):
        with pytest.raises(PipelineError, match=message):
            leaderboard(tmp_path, a, changed(name, other))
    with pytest.raises(PipelineError, match="expected two folders or more"):
        leaderboard(tmp_path, a)
    with pytest.raises(PipelineError, match="got 'a' twice"):
        leaderboard(tmp_path, a, a)
    assert not (tmp_path / "board").exists()
