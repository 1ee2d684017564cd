"""What a training writes down on its way."""

import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.errors import PipelineError
from pipeline.model.progress import TrainingLog, TrainingProgress, _duration, tensorboard

RECALLS = {"Negative": 0.25, "so / so": 1.0, "good: <b>\u202e": 0.0, "eval_recall/x": 0.5}
LOGS = {"eval_loss": 0.3, "eval_macro_f1": 0.6, **{f"eval_recall/{k}": v for k, v in RECALLS.items()}, "epoch": 1.5}
STATE = SimpleNamespace(global_step=100, is_world_process_zero=True)


def test_the_recalls_of_the_classes_are_one_mapping_of_a_line(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "training.jsonl", steps_per_epoch=40)
    log.on_log(None, STATE, None, {"loss": 0.5, "epoch": 1.0})  # the Trainer's epochs are not those of the tweets
    log.on_log(None, STATE, None, dict(LOGS))
    plain, validation = (json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines())
    assert plain == {"step": 100, "loss": 0.5, "epoch": 2.5}
    assert validation == {
        "step": 100,
        "eval_loss": 0.3,
        "eval_macro_f1": 0.6,
        "eval_recall": RECALLS,
        "epoch": 2.5,
    }


def test_a_recall_that_is_no_number_is_a_training_that_has_diverged(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "training.jsonl", steps_per_epoch=40)
    with pytest.raises(PipelineError, match="step 100: eval_recall/Negative is not a finite number"):
        log.on_log(None, STATE, None, LOGS | {"eval_recall/Negative": float("nan")})


def test_tensorboard_draws_the_recall_of_each_class_and_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = tensorboard(tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with caplog.at_level(logging.INFO):
        callback.on_log(None, STATE, None, dict(LOGS))
    callback.tb_writer.close()
    assert caplog.records == []
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert len([tag for tag in found if tag.startswith("eval/recall/")]) == len(RECALLS)
    assert found["eval/recall/Negative"] == RECALLS["Negative"]


def test_where_there_is_no_terminal_each_validation_is_a_line(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("pipeline.model.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    state = SimpleNamespace(global_step=10, max_steps=20)  # gone on with after step 10
    progress = TrainingProgress(8, "macro_f1")
    with caplog.at_level(logging.INFO, logger="pipeline"):
        progress.on_train_begin(None, state, None)
        for _ in range(4):
            progress.on_step_begin(None, state, None)
            clock[0] += 2
            state.global_step += 1
            progress.on_step_end(None, state, None)
        progress.on_log(None, state, None, {"loss": 0.5})
        clock[0] += 4  # the validation
        progress.on_log(None, state, None, {"eval_loss": 0.831, "eval_macro_f1": 0.5126})
        progress.on_train_end(None, state, None)
    # 4 steps of 8 tweets in 8 s; with the validation a step took 3 s, and 6 are left.
    assert [record.message for record in caplog.records] == [
        "step 14 of 20: macro-F1 0.513, loss 0.831 on validation; 4.0 tweets/s, 18 s left"
    ]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_of_steps_and_no_lines(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    state = SimpleNamespace(global_step=0, max_steps=2)
    progress = TrainingProgress(8, "macro_f1")
    with caplog.at_level(logging.INFO, logger="pipeline"):
        progress.on_train_begin(None, state, None)
        for state.global_step in (1, 2):
            progress.on_step_begin(None, state, None)
            progress.on_step_end(None, state, None)
        progress.on_log(None, state, None, {"eval_macro_f1": 0.25})
        progress.on_train_end(None, state, None)
    said = capsys.readouterr().err
    assert " 2/2 " in said
    assert "tweets/s=" in said
    assert "val macro-F1=0.250" in said
    assert caplog.records == []


@pytest.mark.parametrize(("seconds", "told"), [(3.4, "3 s"), (99.2, "99 s"), (600, "10 min"), (7200, "2.0 h")])
def test_times_are_told_in_units_that_suit(seconds: float, told: str) -> None:
    assert _duration(seconds) == told


def test_a_file_gets_a_line_when_long_nothing_was_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline")
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told = TrainingProgress(8, "macro_f1")
    state = SimpleNamespace(global_step=0, max_steps=100)
    told.on_train_begin(None, state, None)
    for _ in range(7):  # of 20 seconds each
        told.on_step_begin(None, state, None)
        clock[0] += 20
        state.global_step += 1
        told.on_step_end(None, state, None)
    told.on_train_end(None, state, None)
    assert caplog.messages == ["step 4 of 100; 0.4 tweets/s, 32 min left"]
