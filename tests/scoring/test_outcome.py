"""What the training command says at its end, and of the language of the texts."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from synthetic_training import make_lines, make_run

from pipeline.artifacts import Row, Run
from pipeline.outcome import tell_outcome, warn_of_language
from pipeline.task import Task

LABELS = ("malo", "neutral", "bueno")
SPANISH = [
    f"El camarero fue muy {word} con nosotros y la comida llegó a tiempo, volveremos pronto"
    for word in ("amable", "cortés", "atento", "simpático", "rápido", "grosero", "lento", "torpe", "serio", "seco")
]
ENGLISH = [
    f"The waiter was really {word} to us and the food came in time, we will be back soon"
    for word in ("kind", "polite", "friendly", "quick", "rude", "slow", "clumsy", "sour", "cold", "loud")
]


def told(tmp_path: Path, caplog: pytest.LogCaptureFixture, lines: list[Any], **changed: Any) -> list[str]:
    manifest = make_run(best_step=int(changed.pop("best_step", 400)))
    manifest["config"] |= changed
    (tmp_path / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    rows = [Row(str(i), "", "x", label, i) for i, label in enumerate(LABELS * 20)]
    with caplog.at_level(logging.INFO, logger="pipeline.train"):
        tell_outcome(Run(tmp_path, manifest | {"task": Task(labels=LABELS).to_json()}), rows, selected_by="macro_f1")
    return caplog.messages


def test_a_training_that_went_well_ends_with_what_it_came_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = make_lines((0.5, 0.7, 0.80, 0.80), labels=LABELS)
    assert [line.split(" in ")[0] for line in told(tmp_path, caplog, lines)] == [
        "trained 400 steps",
        "3 training tweets were cut to fit max_length 256",
    ]


@pytest.mark.parametrize(
    ("steps", "scores", "losses", "said"),
    [
        (400, (0.4, 0.5, 0.6, 0.7), (0.5, 0.4, 0.3, 0.2), "macro-F1 0.600, then 0.700"),
        (400, (0.4, 0.5, 0.7, 0.7), (0.5, 0.4, 0.3, 0.2), "its loss was falling"),
        (400, (0.4, 0.5, 0.7, 0.7), (0.5, 0.4, 0.3, 0.3), None),
        (400, (0.4, 0.7, 0.7, 0.2), (0.5, 0.4, 0.3, 0.2), None),  # the loss fell, and so did macro-F1
        (None, (0.4, 0.5, 0.6, 0.7), (0.5, 0.4, 0.3, 0.2), None),
    ],
)
def test_a_limit_that_ended_what_was_getting_better_is_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    steps: int | None,
    scores: tuple[float, ...],
    losses: tuple[float, ...],
    said: str | None,
) -> None:
    lines = make_lines(scores, losses=losses, labels=LABELS)
    best = 100 * (1 + scores.index(max(scores)))
    every = told(tmp_path, caplog, lines, best_step=best, max_steps=steps, epochs=4.0)
    found = [line for line in every if "--max_steps" in line]
    assert found == (
        [
            f"validation was still getting better ({said}) when --max_steps 400 ended the training after 3.0 of 4 "
            "epochs: raise --max_steps, or take --config cpu-hour"
        ]
        if said
        else []
    )


def test_classes_that_are_not_found_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = make_lines((0.5, 0.7, 0.80, 0.80), labels=LABELS, missed=["malo", "bueno"])
    assert told(tmp_path, caplog, lines)[-1].startswith(
        "the kept adapter finds none of 40 validation tweets of malo, bueno; more such"
    )


def test_what_was_found_at_another_step_than_the_kept_one_is_not_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = make_lines((0.5, 0.7, 0.80, 0.80), labels=LABELS)
    next(line for line in lines if line["step"] == 300 and "eval_recall" in line)["eval_recall"]["malo"] = 0.0
    assert "validation tweets of malo" in told(tmp_path, caplog, lines, best_step=300)[-1]
    caplog.clear()
    assert "malo" not in told(tmp_path, caplog, lines, best_step=400)[-1]


@pytest.mark.parametrize(
    ("scores", "best", "losses", "said"),
    [
        ((0.17, 0.2, 0.18, 0.19), 200, (0.5, 0.5), "did not learn: its best macro-F1 on validation, 0.200, is not"),
        ((0.2, 0.3, 0.6, 0.2), 300, (0.5, 0.5), "fell from 0.600 at the kept step 300 to 0.200 at the end: lower"),
        ((0.2, 0.3, 0.6, 0.2), 300, (0.5, 0.3, 0.2, 0.9), "0.200 at the end: train for fewer --epochs"),
    ],
)
def test_a_training_that_went_wrong_is_told_what_to_change(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    scores: tuple[float, ...],
    best: int,
    losses: tuple[float, ...],
    said: str,
) -> None:
    assert said in told(tmp_path, caplog, make_lines(scores, losses=losses, labels=LABELS), best_step=best)[-1]


@pytest.mark.parametrize(
    ("base", "texts", "said"),
    [
        ("smollm2-135m", SPANISH * 2 + ENGLISH, True),
        ("smollm2-135m", SPANISH + ENGLISH, False),  # just half of them
        ("smollm2-135m", ENGLISH * 2, False),
        ("smollm2-135m", SPANISH, False),  # too few to tell
        ("smollm2-135m", ["$BTC @you"] * 30, False),
        ("some/multilingual-model", SPANISH * 2, False),
    ],
)
def test_texts_in_a_language_that_the_embedded_model_hardly_knows_are_told(
    caplog: pytest.LogCaptureFixture, base: str, texts: list[str], said: bool
) -> None:
    warn_of_language(base, texts)
    begun = "the texts seem to be Spanish; the embedded model knows English for the most part: --base_model takes"
    assert [message.startswith(begun) for message in caplog.messages] == [True] * said
