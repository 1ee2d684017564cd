"""What a training writes down on its way."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.errors import PipelineError
from pipeline.model.progress import TrainingLog, tensorboard

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
