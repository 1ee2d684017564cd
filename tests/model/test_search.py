"""Searching settings with a tiny LLaMA for real: Optuna's proposals, short trainings, what is kept of them."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from conftest import make_rows

from pipeline.errors import PipelineError
from pipeline.model import search as searching
from pipeline.model.adapter import LoraSettings
from pipeline.model.base import resolve_base_model
from pipeline.model.encoding import Encoder
from pipeline.model.loading import load_tokenizer, place
from pipeline.model.progress import DivergedError
from pipeline.model.search import Space, Trial, search
from pipeline.model.training import TrainingSettings, tune
from pipeline.task import Task

LORA = LoraSettings(2, 3, 0.0, ("v_proj", "q_proj"))
SETTINGS = TrainingSettings(
    batch_size=8, micro_batch_size=8, epochs=9, max_steps=16, learning_rate=5e-3, warmup=0.1, evaluations=4, seed=1
)
ScoreFunction = Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]


def accuracy(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
    return {"macro_f1": sum(a == b for a, b in zip(y_true, y_pred, strict=True)) / len(y_true)}


def searched(
    tiny_llama: Path,
    folder: Path,
    trials: int,
    score: ScoreFunction = accuracy,
    *,
    settings: TrainingSettings = SETTINGS,
    lora: LoraSettings = LORA,
    **others: object,
) -> list[Trial]:
    base = resolve_base_model(str(tiny_llama))
    folder.mkdir(exist_ok=True)
    return search(
        base,
        place("fp32", "cpu"),
        Encoder(load_tokenizer(base), Task(), 128),
        make_rows(48),
        make_rows(12, start=100),
        lora=lora,
        settings=settings,
        score=score,
        folder=folder,
        trials=trials,
        share=0.25,
        fingerprint=json.loads(json.dumps(dataclasses.asdict(settings) | others)),
    )


def without_seconds(trials: Sequence[Trial]) -> list[Trial]:
    return [dataclasses.replace(trial, seconds=0.0) for trial in trials]


def scores_in_turn(*values: float) -> ScoreFunction:
    """A score that is what is said here, whatever the answers are: two validations a trial."""
    rest: Iterator[float] = iter(values)
    return lambda y_true, y_pred: {"macro_f1": next(rest)}


@pytest.fixture(scope="module")
def three(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Trial]]:
    folder = tmp_path_factory.mktemp("search") / "run"
    return folder, searched(tiny_llama, folder, 3)


def test_the_first_trial_has_the_settings_as_given_and_the_others_have_not(three: tuple[Path, list[Trial]]) -> None:
    first, *others = three[1]
    assert first.settings == {
        "learning_rate": 5e-3,
        "lora.r": 2,
        "lora.alpha": 3,
        "lora.target_modules": ["v_proj", "q_proj"],
        "class_weights": "none",
        "sampling": "natural",
        "b_learning_rate": 1.0,
    }
    assert [trial.number for trial in three[1]] == [1, 2, 3]
    assert others[0].settings != others[1].settings
    for trial in others:
        assert trial.settings != first.settings
        assert 5e-4 <= trial.settings["learning_rate"] <= 5e-2
        assert trial.settings["lora.alpha"] == round(1.5 * trial.settings["lora.r"])


def test_a_trial_takes_its_share_of_the_steps_and_is_validated_half_way(three: tuple[Path, list[Trial]]) -> None:
    for trial in three[1]:
        assert trial.steps == 4
        assert [step for step, _ in trial.scores] == [2, 4]
        assert trial.score == max(score for _, score in trial.scores)


def test_a_trial_is_a_training(tiny_llama: Path, tmp_path: Path, three: tuple[Path, list[Trial]]) -> None:
    base = resolve_base_model(str(tiny_llama))
    result = tune(
        base, place("fp32", "cpu"), Encoder(load_tokenizer(base), Task(), 128), make_rows(48), make_rows(12, start=100),
        lora=LORA, settings=dataclasses.replace(SETTINGS, max_steps=4, evaluations=2), score=accuracy, folder=tmp_path,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    validated = [(line["step"], line["eval_macro_f1"]) for line in lines if "eval_macro_f1" in line]
    assert three[1][0].scores == validated
    assert three[1][0].score == result.best_score


def test_the_folder_has_a_line_a_trial_and_nothing_else(three: tuple[Path, list[Trial]]) -> None:
    folder, trials = three
    assert [path.name for path in folder.iterdir()] == ["search.jsonl"]
    lines = [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]
    assert [Trial.from_json(line) for line in lines] == trials
    assert [line["trial"] for line in lines] == [1, 2, 3]
    assert all(len(line["answers"]) == 12 for line in lines)


def test_the_same_seed_gives_the_same_trials_and_another_one_others(
    tiny_llama: Path, tmp_path: Path, three: tuple[Path, list[Trial]]
) -> None:
    assert without_seconds(searched(tiny_llama, tmp_path / "same", 3)) == without_seconds(three[1])
    other = searched(tiny_llama, tmp_path / "other", 2, settings=dataclasses.replace(SETTINGS, seed=2))
    assert other[0].settings == three[1][0].settings
    assert other[1].settings != three[1][1].settings


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    tiny_llama: Path, tmp_path: Path, three: tuple[Path, list[Trial]]
) -> None:
    calls = 0

    def interrupted(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 4:  # at the end of the second trial
            raise KeyboardInterrupt
        return accuracy(y_true, y_pred)

    with pytest.raises(KeyboardInterrupt):
        searched(tiny_llama, tmp_path / "run", 3, interrupted)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["search.jsonl"]
    assert len((tmp_path / "run" / "search.jsonl").read_text().splitlines()) == 1
    (tmp_path / "run" / ".scratch.killed").mkdir()
    calls = 10
    assert without_seconds(searched(tiny_llama, tmp_path / "run", 3, interrupted)) == without_seconds(three[1])
    assert calls == 14  # the first trial was not trained again
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["search.jsonl"]
    assert searched(tiny_llama, tmp_path / "run", 3, interrupted) == searched(tiny_llama, tmp_path / "run", 3)
    assert calls == 14


def test_trials_of_another_search_are_refused(tiny_llama: Path, three: tuple[Path, list[Trial]]) -> None:
    other = dataclasses.replace(SETTINGS, learning_rate=1e-3)
    with pytest.raises(PipelineError) as refused:
        searched(tiny_llama, three[0], 3, settings=other, dataset="x")
    assert str(refused.value) == (
        f"{three[0] / 'search.jsonl'}: expected what it was begun with, got dataset null -> x, "
        "learning_rate 0.005 -> 0.001; go on with the former, or choose another --out"
    )


@pytest.mark.parametrize("line", ["{}", "3", '{"trial": 1, "scores": [[1]]}', '{"trial": 1, "scores": [], "x": 1}'])
def test_a_file_that_is_damaged_is_told(tiny_llama: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "search.jsonl").write_text(line + "\n")
    with pytest.raises(
        PipelineError, match=r"search\.jsonl: expected the trials of a search, a line each; it is damaged"
    ):
        searched(tiny_llama, tmp_path, 3)


def test_a_trial_that_is_worse_half_way_than_the_median_is_pruned(tiny_llama: Path, tmp_path: Path) -> None:
    score = scores_in_turn(0.4, 0.5, 0.5, 0.5, 0.6, 0.7, 0.3, 0.6, 0.8)
    trials = searched(tiny_llama, tmp_path / "run", 5, score)
    assert [trial.state for trial in trials] == ["complete", "complete", "complete", "pruned", "complete"]
    assert trials[3].scores == [(2, 0.3)]
    assert trials[3].score == 0.3
    assert trials[3].answers is None
    assert trials[4].scores == [(2, 0.6), (4, 0.8)]
    assert "answers" not in json.loads((tmp_path / "run" / "search.jsonl").read_text().splitlines()[3])


@pytest.mark.parametrize("error", [DivergedError("step 3: loss is no number"), MemoryError("do not fit")])
def test_a_trial_that_fails_is_noted_and_the_search_goes_on(tiny_llama: Path, tmp_path: Path, error: Exception) -> None:
    calls = 0

    def failing(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return accuracy(y_true, y_pred)

    trials = searched(tiny_llama, tmp_path / "run", 3, failing)
    assert [trial.state for trial in trials] == ["complete", "failed", "complete"]
    assert str(error) in str(trials[1].reason)
    assert (trials[1].score, trials[1].answers) == (None, None)
    assert searched(tiny_llama, tmp_path / "run", 3) == trials


def test_settings_as_given_that_need_too_much_memory_end_the_search(tiny_llama: Path, tmp_path: Path) -> None:
    def failing(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
        raise MemoryError("too large")

    with pytest.raises(MemoryError):
        searched(tiny_llama, tmp_path / "run", 3, failing)


def test_a_learning_rate_that_diverges_is_a_failed_trial(tiny_llama: Path, tmp_path: Path) -> None:
    wild = dataclasses.replace(SETTINGS, learning_rate=1e30, warmup=0.0)
    everywhere = dataclasses.replace(LORA, target_modules=("all-linear",))
    trials = searched(tiny_llama, tmp_path / "run", 1, settings=wild, lora=everywhere)
    assert trials[0].state == "failed"
    assert "the training has diverged" in str(trials[0].reason)


def test_trials_are_told_and_their_trainings_are_not(
    tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="pipeline"):
        searched(tiny_llama, tmp_path / "run", 2, scores_in_turn(0.1, 0.25, 0.5, 0.3))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pipeline")]
    assert lines[0] == "searching: 2 trials of 4 of 16 steps"
    assert lines[1].startswith("trial 1 of 2: macro_f1 0.250; as given; ")
    assert lines[2].startswith("trial 2 of 2: macro_f1 0.500; learning_rate ")
    assert len(lines) == 3


LAYERS = [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"] + ["model.layers.0.mlp.up_proj"]


@pytest.mark.parametrize(
    ("given", "layers", "choices"),
    [
        (("all-linear",), LAYERS, ["q_proj,v_proj", "q_proj,k_proj,v_proj,o_proj", "all-linear"]),
        (("v_proj", "q_proj"), LAYERS, ["q_proj,k_proj,v_proj,o_proj", "all-linear", "v_proj,q_proj"]),
        (("up_proj",), LAYERS, ["q_proj,v_proj", "q_proj,k_proj,v_proj,o_proj", "all-linear", "up_proj"]),
        (("all-linear",), ["h.0.attn.qkv", "h.0.attn.dense", "h.0.mlp.up"], ["qkv,dense", "all-linear"]),
        (("all-linear",), ["h.0.mixer.in", "h.0.mlp.up"], ["all-linear"]),
    ],
)
def test_layers_to_choose_from_are_those_of_the_model(
    given: tuple[str, ...], layers: list[str], choices: list[str]
) -> None:
    space = Space(dataclasses.replace(LORA, target_modules=given), SETTINGS, layers)
    assert list(space.distributions["lora.target_modules"].choices) == choices  # type: ignore[attr-defined]


def test_settings_and_what_optuna_knows_are_the_same(three: tuple[Path, list[Trial]]) -> None:
    space = Space(LORA, SETTINGS, LAYERS)
    assert space.proposal(space.settings(space.given)) == space.given
    for trial in three[1]:
        assert space.settings(space.proposal(trial.settings)) == trial.settings


@pytest.mark.parametrize("rate", [5e-3, 1.23456e-3])
def test_learning_rates_can_be_read_and_stay_in_reach(rate: float) -> None:
    space = Space(LORA, dataclasses.replace(SETTINGS, learning_rate=rate), LAYERS)
    for proposed in (rate / 10, rate / 9.9999, rate * 1.23456789, rate * 9.9999, rate * 10):
        found = space.settings(space.given | {"learning_rate": proposed})["learning_rate"]
        assert found == pytest.approx(proposed, rel=0.005)
        assert space.distributions["learning_rate"]._contains(found)
    assert space.settings(space.given)["learning_rate"] == rate


def test_proposals_follow_what_was_seen() -> None:
    """Where high learning rates alone are good, most proposals behind the random ones are high."""
    space = Space(LORA, SETTINGS, LAYERS)
    done: list[Trial] = []
    for number in range(1, 31):
        settings = space.settings(searching._ask(done, space, 3).params)
        score = 0.9 if settings["learning_rate"] > 1e-2 else 0.1
        done.append(Trial(number, "complete", settings, 4, [(4, score)], score, 1.0))
    assert sum(trial.score == 0.9 for trial in done[10:]) > 14
