"""What ``train --search`` does before the training proper: trials, a choice among them, and what is kept of both."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Row, write_text
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.model.adapter import LoraSettings
    from pipeline.model.base import BaseModel
    from pipeline.model.encoding import Encoder
    from pipeline.model.loading import Placement
    from pipeline.model.search import Trial
    from pipeline.model.training import TrainingSettings
    from pipeline.model.validation import Score
    from pipeline.train import TrainConfig

log = logging.getLogger("pipeline.train")

FIGURE = "search.svg"


def search_settings(
    config: "TrainConfig",
    base: "BaseModel",
    placement: "Placement",
    encoder: "Encoder",
    train: Sequence[Row],
    val: Sequence[Row],
    *,
    lora: "LoraSettings",
    settings: "TrainingSettings",
    score: "Score",
    folder: Path,
    fingerprint: Mapping[str, Any],
) -> tuple["TrainConfig", dict[str, Any]]:
    """Searches, and writes ``search.jsonl`` and ``search.svg`` into ``folder``.

    A search that was stopped there goes on, if its ``fingerprint`` is the same.

    Returns:
        The config with the chosen settings, and what the run's manifest says of the search. That config searches no
        more, so that it repeats the run.

    Raises:
        PipelineError: no trial came to its end.
    """
    from pipeline.model.search import in_words, search
    from pipeline.scoring.search_figure import search_figure

    trials = search(
        base, placement, encoder, train, val,
        lora=lora, settings=settings, score=score, folder=folder,
        trials=config.search or 0, share=config.search_share, fingerprint=fingerprint,
    )  # fmt: skip
    found = judge(trials, val, labels=encoder.task.labels, select_by=config.select_by, seed=config.seed)
    chosen = found["chosen"]["settings"]
    lines = [trial.to_json() for trial in trials]
    write_text(folder / FIGURE, search_figure(lines, found["chosen"]["trial"], config.select_by))
    log.info("%s; training with %s", found["sentence"], in_words(chosen))
    return with_settings(config, chosen), found


def judge(
    trials: Sequence["Trial"], val: Sequence[Row], *, labels: Sequence[str], select_by: str, seed: int
) -> dict[str, Any]:
    """Which trial's settings to train with, and why, as it stands in the run's manifest.

    The given settings are kept where nothing is clearly better; see ``scoring.choice``.

    Raises:
        PipelineError: no trial came to its end.
    """
    from pipeline.scoring import metrics
    from pipeline.scoring.choice import choose

    given, complete = trials[0], [trial for trial in trials if trial.state == "complete"]
    if not complete:
        raise PipelineError(
            f"--search: expected a trial that comes to its end, got none of {len(trials)}, the first with: "
            f"{given.reason}"
        )
    choice = choose(
        [row.output for row in val],
        [row.group for row in val],
        [trial.answers or [] for trial in complete],
        labels=labels,
        metric=getattr(metrics, select_by),
        seed=seed,
    )
    best = complete[choice.best]
    found: dict[str, Any] = {
        "metric": select_by,
        "trials": len(trials),
        "states": dict(Counter(trial.state for trial in trials)),
        "steps": given.steps,
    }
    if given.state == "complete":
        chosen = complete[choice.chosen]
        found |= {name: getattr(choice, name) for name in ("gain", "standard_error", "lasting_gain")}
        sentence = (
            f"trial {best.number} has {select_by} {best.score:.3f} on validation, the settings as given "
            f"{given.score:.3f}: a gain of {choice.gain:.3f}, standard error {choice.standard_error:.3f}; the best of "
            f"{len(complete)} was also lucky, {choice.lasting_gain:+.3f} of it would be left on other tweets"
        )
        if all(answer is None for trial in complete for answer in trial.answers or ()):
            sentence = (
                f"no answer of any trial was a label, {given.steps} steps are too few to compare settings: they stay "
                "as given; raise --search_share, or train longer"
            )
        elif best is given:
            sentence = f"no trial was better on validation than the settings as given, {select_by} {given.score:.3f}"
        elif chosen is given:
            sentence += "; not distinguishable from the settings as given, which are kept"
    else:
        chosen = best
        sentence = (
            f"the settings as given failed ({given.reason}); trial {best.number} is the best of those that came to "
            f"their end, {select_by} {best.score:.3f} on validation"
        )
    return found | {
        **{name: _summary(trial) for name, trial in (("given", given), ("best", best), ("chosen", chosen))},
        "sentence": sentence,
    }


def with_settings(config: "TrainConfig", chosen: Mapping[str, Any]) -> "TrainConfig":
    """The config with the options that were chosen, and without a search."""
    lora = {name.removeprefix("lora."): value for name, value in chosen.items() if name.startswith("lora.")}
    others = {name: value for name, value in chosen.items() if not name.startswith("lora.")}
    return dataclasses.replace(config, lora=dataclasses.replace(config.lora, **lora), search=None, **others)


def _summary(trial: "Trial") -> dict[str, Any]:
    return {"trial": trial.number, "score": trial.score, "settings": dict(trial.settings)}
