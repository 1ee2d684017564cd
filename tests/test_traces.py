"""What an evaluation leaves beside the data and the run."""

from pathlib import Path

import pytest
from conftest import make_rows, write_prepared

from pipeline.artifacts import PreparedDataset, new_folder, read_json, read_jsonl, write_manifest
from pipeline.task import Task
from pipeline.traces import LOOKS, looks_at, note_look


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    rows = {"train": make_rows(6), "val": make_rows(3, start=10), "test": make_rows(3, start=20)}
    return PreparedDataset.load(write_prepared(tmp_path / "prepared", rows))


def evaluated(dataset: PreparedDataset, system: str) -> dict[str, object]:
    looks = looks_at(dataset.folder, [system])
    lineage = {"parents": {"test_split": {"path": str(dataset.folder / "test.json")}}, "looks": looks}
    note_look(lineage, Path("reports") / system)
    return looks


def test_looks_at_the_test_rows_are_counted_and_other_systems_apart(dataset: PreparedDataset) -> None:
    before = {path.name: path.read_bytes() for path in dataset.folder.iterdir()}
    counts = [evaluated(dataset, system) for system in ("a", "a", "b", "c", "a")]
    assert [(look["before"], look["other_systems"]) for look in counts] == [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2)]
    assert [look["report"] for look in read_jsonl(dataset.folder / LOOKS)][:2] == ["reports/a", "reports/a"]
    assert before == {name: (dataset.folder / name).read_bytes() for name in before}
    assert PreparedDataset.load(dataset.folder).sha256 == dataset.sha256


def test_a_line_that_a_crash_has_cut_is_passed_over(dataset: PreparedDataset) -> None:
    evaluated(dataset, "a")
    whole = (dataset.folder / LOOKS).read_text(encoding="utf-8")
    (dataset.folder / LOOKS).write_text(whole + whole[:20] + "\n[1]\n", encoding="utf-8")
    assert looks_at(dataset.folder, ["b"]) == {"systems": ["b"], "before": 1, "other_systems": 1}


def test_a_system_that_joins_later_is_counted(dataset: PreparedDataset) -> None:
    first = evaluated(dataset, "a")
    joined = looks_at(dataset.folder, ["b"], first)
    assert joined == {"systems": ["a", "b"], "before": 1, "other_systems": 0}
    assert looks_at(dataset.folder / "moved", ["b"])["before"] == 0


def test_a_count_that_cannot_be_kept_stops_nothing(dataset: PreparedDataset, caplog: pytest.LogCaptureFixture) -> None:
    (dataset.folder / LOOKS).mkdir()
    with caplog.at_level("INFO"):
        assert evaluated(dataset, "a")["before"] == 0
    assert "could not be noted" in caplog.text


def test_temperature_and_threshold_are_kept_with_the_run(tmp_path: Path) -> None:
    from pipeline.artifacts import Run
    from pipeline.traces import CALIBRATION, keep_calibration, threshold_of

    for kind in ("run", "report"):
        with new_folder(tmp_path / kind) as folder:
            write_manifest(folder, kind, Task(), {})
    run = Run.load(tmp_path / "run")
    fitted = {"value": 1.5, "low": 1.2, "high": 1.9}
    confidence = {
        "temperature": {"fitted": fitted, "n_validation": 40},
        "selective": {"recommended": {"threshold": 0.7, "target": 0.9}},
    }
    keep_calibration(run, {"confidence": confidence}, tmp_path / "report")
    kept = read_json(run.folder / CALIBRATION)
    assert (kept["temperature"], kept["threshold"], kept["validation_rows"]) == (fitted, 0.7, 40)
    assert threshold_of(run) == 0.7
    keep_calibration(
        run, {"confidence": {"temperature": None, "selective": {"recommended": None}}}, tmp_path / "report"
    )
    assert read_json(run.folder / CALIBRATION)["threshold"] is None
    assert threshold_of(run) is None


def test_why_there_is_no_threshold_depends_on_the_evaluation(tmp_path: Path) -> None:
    from pipeline.artifacts import Run
    from pipeline.traces import CALIBRATION, keep_calibration, why_no_threshold

    for kind in ("run", "report"):
        with new_folder(tmp_path / kind) as folder:
            write_manifest(folder, kind, Task(), {})
    run = Run.load(tmp_path / "run")
    assert why_no_threshold(run) == "this run has not been evaluated; pipeline.evaluate looks for one"
    for recommended, said in (
        ({"threshold": None, "target": 0.9}, "found no threshold at which it is surely 90 % right"),
        ({"threshold": None, "target": 0.875}, "found no threshold at which it is surely 87.5 % right"),
        (None, "left none"),
    ):
        confidence = {"temperature": None, "selective": {"recommended": recommended}}
        keep_calibration(run, {"confidence": confidence}, tmp_path / "report")
        assert why_no_threshold(run) == f"its last evaluation {said}"
    (run.folder / CALIBRATION).write_text("damaged", encoding="utf-8")
    assert why_no_threshold(run) == "its last evaluation left none"


def test_offsets_are_kept_with_the_run_and_change_its_answers(tmp_path: Path) -> None:
    import json

    import numpy as np

    from pipeline.artifacts import Run
    from pipeline.scoring.adjustment import adjusted
    from pipeline.traces import CALIBRATION, adjusted_label, keep_calibration, offsets_of

    for kind in ("run", "report"):
        with new_folder(tmp_path / kind) as folder:
            write_manifest(folder, kind, Task(), {})
    run = Run.load(tmp_path / "run")
    nothing = dict.fromkeys(run.task.labels, 0.0)
    assert offsets_of(run) == nothing
    confidence = {"temperature": None, "selective": {"recommended": None}}
    offsets = {"Negative": 1.5, "Neutral": 0.25, "Positive": 0.125}
    fitted = {"tau": 0.5, "offsets": offsets, "grid": []}
    keep_calibration(run, {"confidence": confidence, "adjustment": {"fitted": fitted}}, tmp_path / "report")
    assert read_json(run.folder / CALIBRATION)["adjustment"] == {"tau": 0.5, "offsets": offsets}
    assert offsets_of(run) == offsets
    rows = np.log(np.random.default_rng(0).dirichlet([1, 2, 4], size=50))
    answers = [adjusted_label(dict(zip(run.task.labels, row, strict=True)), offsets_of(run)) for row in rows.tolist()]
    expected = [run.task.labels[i] for i in adjusted(rows, np.array(list(offsets.values())))]
    assert answers == expected
    assert answers != [run.task.labels[i] for i in rows.argmax(axis=1)]
    assert adjusted_label(dict.fromkeys(run.task.labels, -1.0), nothing) == run.task.labels[0]
    not_a_number = {"offsets": {**offsets, "Neutral": float("nan")}}
    damages: list[object] = [None, [], {"offsets": {"Negative": 1.0}}, not_a_number]
    for damaged in damages:
        (run.folder / CALIBRATION).write_text(json.dumps({"adjustment": damaged}), encoding="utf-8")
        assert offsets_of(run) == nothing
    for without in ({}, {"adjustment": {"fitted": None}}):
        keep_calibration(run, {"confidence": confidence, **without}, tmp_path / "report")
        assert read_json(run.folder / CALIBRATION)["adjustment"] is None
