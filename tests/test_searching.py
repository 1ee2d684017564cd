"""A search before a training, as a user runs it, on a tiny model; and which trial's settings are taken."""

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import make_rows

from pipeline import train
from pipeline.artifacts import Run
from pipeline.errors import PipelineError, StoppedError
from pipeline.model.search import Trial
from pipeline.scoring import choice, validation
from pipeline.searching import judge, with_settings
from pipeline.task import Task
from pipeline.train import LoraConfig, TrainConfig

ROWS = make_rows(120)
TRUTH = [Task().labels.index(row.output) for row in ROWS]
GIVEN = {"learning_rate": 5e-4, "lora.r": 16, "lora.alpha": 32, "lora.target_modules": ["all-linear"]}
OTHER = {"learning_rate": 1e-3, "lora.r": 8, "lora.alpha": 16, "lora.target_modules": ["q_proj"], "sampling": "sqrt"}


def trial(number: int, wrong: int, state: str = "complete", **more: Any) -> Trial:
    """A trial that answers so many rows wrong, spread evenly, from another one on for another number."""
    answers: list[int | None] = list(TRUTH)
    for i in range(wrong):
        answers[(i * 120 // wrong + 7 * number) % 120] = None
    score = 1 - wrong / 120
    settings = GIVEN if number == 1 else OTHER
    values: dict[str, Any] = {"scores": [(9, score)], "score": score, "seconds": 1.0, "answers": answers} | more
    return Trial(number, state, settings, 9, **values)


def judged(*trials: Trial) -> dict[str, Any]:
    return judge(trials, ROWS, labels=Task().labels, select_by="accuracy", seed=0)


def test_settings_that_are_clearly_better_are_taken() -> None:
    found = judged(trial(1, 60), trial(2, 20), trial(3, 50))
    assert found["chosen"] == found["best"] == {"trial": 2, "score": 1 - 20 / 120, "settings": OTHER}
    assert found["given"] == {"trial": 1, "score": 0.5, "settings": GIVEN}
    assert found["gain"] == pytest.approx(1 / 3)
    assert 0 < found["standard_error"] < 0.1
    assert found["lasting_gain"] == pytest.approx(1 / 3, abs=0.05)
    assert found["sentence"].startswith(
        "trial 2 has accuracy 0.833 on validation, the settings as given 0.500: a gain of 0.333, standard error 0.0"
    )
    assert "the best of 3 was also lucky, +0.3" in found["sentence"]
    assert "not distinguishable" not in found["sentence"]


def test_settings_as_given_stay_where_others_are_hardly_better() -> None:
    found = judged(trial(1, 30), trial(2, 29), trial(3, 28))
    assert found["best"]["trial"] == 3
    assert found["chosen"] == found["given"]
    assert found["sentence"].endswith("; not distinguishable from the settings as given, which are kept")


def test_settings_as_given_may_be_the_best() -> None:
    found = judged(trial(1, 20), trial(2, 30), trial(3, 20))
    assert found["chosen"] == found["best"] == found["given"]
    assert found["sentence"] == "no trial was better on validation than the settings as given, accuracy 0.833"


def test_trials_without_one_label_compare_nothing() -> None:
    nothing: dict[str, Any] = {"answers": [None] * 120, "score": 0.0}
    found = judged(trial(1, 120, **nothing), trial(2, 120, **nothing))
    assert found["chosen"] == found["given"]
    assert found["sentence"] == (
        "no answer of any trial was a label, 9 steps are too few to compare settings: they stay as given; raise "
        "--search_share, or train longer"
    )


def test_a_pruned_trial_is_never_the_best() -> None:
    pruned = trial(2, 5, "pruned", answers=None)
    found = judged(trial(1, 60), pruned, trial(3, 20))
    assert found["best"]["trial"] == 3
    assert found["states"] == {"complete": 2, "pruned": 1}
    assert "the best of 2 was" in found["sentence"]


def test_without_a_score_of_the_settings_as_given_the_best_is_taken() -> None:
    failed = trial(1, 60, "failed", score=None, answers=None, scores=[], reason="step 3: diverged")
    found = judged(failed, trial(2, 40), trial(3, 30))
    assert found["chosen"]["trial"] == 3
    assert "gain" not in found
    assert found["sentence"].startswith("the settings as given failed (step 3: diverged); trial 3 is the best")


def test_a_search_in_which_nothing_came_to_its_end_is_told() -> None:
    failed = trial(1, 60, "failed", score=None, answers=None, scores=[], reason="step 3: diverged; lower it")
    with pytest.raises(PipelineError, match="that comes to its end, got none of 2, the first with: step 3: diverged"):
        judged(failed, trial(2, 60, "failed", score=None, answers=None, scores=[], reason="x"))


def test_chosen_settings_become_a_config_that_searches_no_more() -> None:
    given = TrainConfig("d", "o", lora=LoraConfig(dropout=0.3), search=5, seed=7)
    found = with_settings(given, OTHER)
    assert found.lora == LoraConfig(r=8, alpha=16, dropout=0.3, target_modules=["q_proj"])
    assert (found.learning_rate, found.sampling, found.class_weights) == (1e-3, "sqrt", "none")
    assert (found.search, found.seed, found.dataset) == (None, 7, "d")


QUICK = {"batch_size": 8, "micro_batch_size": 8, "max_steps": 16, "evaluations": 2, "max_length": 128}


def config_of(prepared: Path, tiny_llama: Path, out: Path, **more: Any) -> TrainConfig:
    return TrainConfig(
        str(prepared), str(out), str(tiny_llama), precision="fp32", device="cpu", **QUICK | {"search": 3} | more
    )


@pytest.fixture(scope="module")
def run(tiny_llama: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose search took the second trial, on data whose test split is not there."""
    folder = tmp_path_factory.mktemp("searching")
    shutil.copytree(prepared, folder / "prepared")
    (folder / "prepared" / "test.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "choose", lambda *_, **__: choice.Choice(1, 0.2, 0.1, 0.1))
        train.train(config_of(folder / "prepared", tiny_llama, folder / "run"))
    return folder / "run"


def test_a_run_keeps_what_was_searched_and_what_was_chosen(run: Path) -> None:
    manifest = Run.load(run).manifest
    lines = [json.loads(line) for line in (run / "search.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in lines] == [4, 4, 4]
    assert manifest["search"]["given"]["settings"] == lines[0]["settings"]
    assert manifest["search"]["chosen"]["settings"] == lines[1]["settings"] != lines[0]["settings"]
    assert manifest["search"]["trials"] == 3
    assert manifest["result"]["steps"] == 16
    assert {"search.jsonl", "search.svg", "config.yaml"} <= set(manifest["files"])
    assert (run / "search.svg").read_text().startswith("<svg ")
    assert not list(run.glob(".*"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config == manifest["config"]
    assert config["search"] is None
    assert {name: config[name] for name in ("learning_rate", "class_weights", "sampling", "b_learning_rate")} == {
        name: value for name, value in lines[1]["settings"].items() if "." not in name
    }
    assert config["lora"]["target_modules"] == lines[1]["settings"]["lora.target_modules"]


def test_its_config_repeats_the_run_without_a_search(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--config", str(run / "config.yaml"), "--out", str(tmp_path / "again")])
    assert stopped.value.code == 0
    weights = Path("adapter/adapter_model.safetensors")
    assert (tmp_path / "again" / weights).read_bytes() == (run / weights).read_bytes()
    assert not (tmp_path / "again" / "search.jsonl").exists()
    assert "search" not in Run.load(tmp_path / "again").manifest


def test_a_search_that_is_interrupted_leaves_what_it_did(
    prepared: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([{"macro_f1": 0.1}, {"macro_f1": 0.2}, {"macro_f1": 0.3}])

    def score(*_: object) -> dict[str, float]:
        try:
            return next(scores)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(validation, "validation_score", lambda labels: score)
    with pytest.raises(StoppedError, match=r"run: stopped; go on with the same command and --resume"):
        train.train(config_of(prepared, tiny_llama, tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "run").glob("[!.]*")) == ["config.yaml", "search.jsonl"]
    assert json.loads((tmp_path / "run" / "search.jsonl").read_text())["score"] == 0.2
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["search"] == 3


@pytest.mark.thorough
def test_a_signal_in_a_search_stops_it_and_it_goes_on(
    prepared: Path, tiny_llama: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(prepared, tiny_llama, tmp_path / "run")
    original, calls = validation.validation_score, 0

    def watched(labels: Sequence[str]) -> Any:
        score = original(labels)

        def sent(*answers: Any) -> dict[str, float]:
            nonlocal calls
            calls += 1
            if calls == 4:  # at the end of the second trial
                os.kill(os.getpid(), signal.SIGTERM)
            return score(*answers)

        return sent

    monkeypatch.setattr(validation, "validation_score", watched)
    monkeypatch.setattr(choice, "choose", lambda *_, **__: choice.Choice(1, 0.2, 0.1, 0.1))
    with pytest.raises(StoppedError, match=r"run: stopped while it searched; go on with the same command and --resume"):
        train.train(config)
    again = dataclasses.replace(config, resume=True)
    changes: tuple[tuple[str, Any], ...] = (("seed", 3), ("max_length", 100), ("search_share", 0.5))
    for name, value in changes:
        with pytest.raises(PipelineError, match=rf"search.jsonl: expected what it was begun with, got {name} "):
            train.train(dataclasses.replace(again, **{name: value}))
    train.train(again)
    weights = Path("adapter/adapter_model.safetensors")
    assert (tmp_path / "run" / weights).read_bytes() == (run / weights).read_bytes()


def test_a_finished_search_is_left_alone_by_the_same_command(
    run: Path, tiny_llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(run.parent / "prepared", tiny_llama, run, resume=True)
    with caplog.at_level("INFO", logger="pipeline"):
        assert train.train(config) == run
    assert "is finished already" in caplog.text
    with pytest.raises(PipelineError, match=r"made with other options: learning_rate 0.0003 -> 0.1; choose another"):
        train.train(dataclasses.replace(config, learning_rate=0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": 1}, "--search: expected 2 trials or more, the first with the settings as given, got 1"),
        ({"search": -3}, "--search: expected 2 trials or more"),
        ({"search_share": 0.0}, "--search_share: expected a share above 0 and up to 1, got 0.0"),
        ({"search_share": float("nan")}, "--search_share: expected a share above 0 and up to 1, got nan"),
    ],
)
def test_impossible_searches_are_told_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        train.train(TrainConfig("none", str(tmp_path / "run"), **change))
    assert not (tmp_path / "run").exists()


def test_several_processes_cannot_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PipelineError, match="--search: expected one process, got 2; search in one, then train"):
        train.train(TrainConfig("none", str(tmp_path / "run"), search=3))


def test_synthetic_trials_have_the_scores_they_are_said_to_have() -> None:
    each = trial(2, 29)
    assert np.mean([a == b for a, b in zip(TRUTH, each.answers or [], strict=True)]) == pytest.approx(each.score)
