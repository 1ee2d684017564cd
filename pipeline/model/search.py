"""Searching for better settings: short trainings that Optuna proposes, each judged on the validation split.

The first is that of the settings as given; the others vary what usually matters. Optuna is asked anew before every
training, with all that is known so far and a seed of its own, so that a search which was stopped goes on as if it had
not been.
"""

import contextlib
import dataclasses
import gc
import logging
import math
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import TrainerCallback

from pipeline.artifacts import SEARCH_LOG, Row, dump_jsonl, read_jsonl, refuse_changes, write_text
from pipeline.errors import PipelineError
from pipeline.model.adapter import LoraSettings, linear_layers
from pipeline.model.base import BaseModel
from pipeline.model.encoding import Encoder
from pipeline.model.loading import Placement, without_weights
from pipeline.model.processes import Processes
from pipeline.model.progress import DivergedError
from pipeline.model.training import TrainingSettings, attempt, steps_of
from pipeline.model.validation import Score

logger = logging.getLogger(__name__)

_SCRATCH = ".scratch."
# Learning rates from a tenth of that given to ten times as much.
_RATES = 10.0
_RANKS = (4, 8, 16, 32)
_B_RATES = (1.0, 4.0, 16.0)
_WEIGHINGS = ("none", "sqrt", "balanced")
_SAMPLINGS = ("natural", "sqrt", "balanced")
# A trial is validated half way, where it may be pruned, and at its end: a third time would cost more than it saves.
_VALIDATIONS = 2
# Trials before the proposals follow from what was seen, and finished ones before there is a median to be pruned by.
_AT_RANDOM, _UNPRUNED = 5, 3


@dataclass(frozen=True)
class Trial:
    """One short training of a search; ``number`` counts from 1, which is that of the settings as given.

    ``settings`` maps the options that are searched, by their names on the command line, to values. ``state`` is
    complete, pruned, or failed, with a ``reason``; ``steps`` is how many it was to take. ``scores`` holds (step, score)
    of each validation and ``score`` the best of them. ``answers`` are those of the best validation, in the order of its
    rows, as numbers in the order of the labels, None for one that is no label; of a complete trial alone. The first
    trial also has what the search was ``begun_with``: all that decides its outcome.
    """

    number: int
    state: str
    settings: Mapping[str, Any]
    steps: int
    scores: Sequence[tuple[int, float]]
    score: float | None
    seconds: float
    reason: str | None = None
    answers: Sequence[int | None] | None = None
    begun_with: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The trial as a line of ``search.jsonl``, without what there is not."""
        return {"trial" if name == "number" else name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "Trial":
        """The trial that a line holds."""
        values = {"score": None, **line, "scores": [(step, score) for step, score in line["scores"]]}
        return cls(values.pop("trial"), **values)


class Space:
    """What is searched: the given value of each option and others beside it.

    A value that is no number or text is known to Optuna by a text: layers by their names with commas between. alpha
    is no lever of its own, it keeps its ratio to r: the update is scaled by alpha / r.
    """

    def __init__(self, lora: LoraSettings, settings: TrainingSettings, layers: Sequence[str]) -> None:
        """Finds the choices.

        Args:
            lora: the adapter as given.
            settings: the training as given.
            layers: full names of the base model's linear layers.
        """
        self._ratio = lora.alpha / lora.r
        rate = settings.learning_rate
        self.given: dict[str, Any] = {
            "learning_rate": rate,
            "lora.r": lora.r,
            "lora.target_modules": ",".join(lora.target_modules),
            "class_weights": settings.class_weights,
            "sampling": settings.sampling,
            "b_learning_rate": settings.b_learning_rate,
        }
        choices = {
            "lora.r": _RANKS,
            "lora.target_modules": _targets(lora.target_modules, layers),
            "class_weights": _WEIGHINGS,
            "sampling": _SAMPLINGS,
            "b_learning_rate": _B_RATES,
        }
        self.distributions: dict[str, BaseDistribution] = {
            "learning_rate": FloatDistribution(rate / _RATES, rate * _RATES, log=True)
        } | {name: CategoricalDistribution(_with(self.given[name], others)) for name, others in choices.items()}

    def settings(self, proposed: Mapping[str, Any]) -> dict[str, Any]:
        """What Optuna proposes as options; a learning rate of three digits can be read, and is near enough."""
        settings = dict(proposed)
        if settings["learning_rate"] != self.given["learning_rate"]:
            rates: Any = self.distributions["learning_rate"]
            settings["learning_rate"] = min(max(float(f"{settings['learning_rate']:.3g}"), rates.low), rates.high)
        alpha = max(1, round(self._ratio * settings["lora.r"]))
        settings["lora.target_modules"] = settings["lora.target_modules"].split(",")
        return {
            "learning_rate": settings.pop("learning_rate"),
            "lora.r": settings.pop("lora.r"),
            "lora.alpha": alpha,
        } | (settings)

    def proposal(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The way back of ``settings``."""
        proposed = {name: settings[name] for name in self.given}
        return proposed | {"lora.target_modules": ",".join(settings["lora.target_modules"])}


def search(
    base: BaseModel,
    placement: Placement,
    encoder: Encoder,
    train: Sequence[Row],
    val: Sequence[Row],
    *,
    lora: LoraSettings,
    settings: TrainingSettings,
    score: Score,
    folder: Path,
    trials: int,
    share: float,
    fingerprint: Mapping[str, Any],
) -> list[Trial]:
    """Trains so many times with a share of the steps, and writes ``search.jsonl`` into ``folder``, a line a trial.

    Trials that the file holds already are not trained again; ``fingerprint``, all that decides the outcome, must be
    that of the search that they are of.

    Raises:
        PipelineError: a LoRA target does not exist, or the file is of another search.
        MemoryError: the settings as given need more memory than there is; of others it is a failed trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    full = steps_of(settings, len(train))
    steps = math.ceil(share * full)
    space = Space(lora, settings, linear_layers(without_weights(base)))
    # A trial that is interrupted begins again, so it needs no checkpoints between its validations.
    short = dataclasses.replace(
        settings, max_steps=steps, evaluations=_VALIDATIONS, checkpoint_steps=steps, patience=None, report_to=()
    )
    done = _known(folder / SEARCH_LOG, fingerprint)
    for left in folder.glob(f"{_SCRATCH}*"):  # by a process that was killed
        shutil.rmtree(left)
    logger.info(
        "searching: %d trials of %d of %d steps%s", trials, steps, full, f", {len(done)} are there" if done else ""
    )
    processes = Processes(placement.device)
    bar = tqdm(total=trials, initial=len(done), desc="searching", unit="trial", disable=None)
    with bar, logging_redirect_tqdm():
        while len(done) < trials:
            asked = _ask(done, space, settings.seed)
            chosen = space.settings(asked.params)
            pruning = Pruning(asked, settings.select_by)
            started = time.monotonic()
            state, reason, best, answers = "complete", None, None, None
            try:
                with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch, _hushed(warn=not done):
                    result, decoded = attempt(
                        base, placement, encoder, train, val,
                        lora=_replaced(lora, chosen, "lora."), settings=_replaced(short, chosen, ""), score=score,
                        folder=Path(scratch), processes=processes, watch=[pruning],
                    )  # fmt: skip
                best = result.best_score
                if pruning.pruned:
                    state = "pruned"
                else:
                    numbers = {label: number for number, label in enumerate(encoder.task.labels)}
                    answers = [None if each.generate is None else numbers[each.generate] for each in decoded]
            except (DivergedError, MemoryError) as error:
                if isinstance(error, MemoryError) and not done:
                    raise
                state, reason = "failed", str(error)
            gc.collect()  # room for the next model
            seconds = round(time.monotonic() - started, 1)
            trial = Trial(
                len(done) + 1, state, chosen, steps, pruning.scores, best, seconds, reason, answers,
                begun_with=None if done else fingerprint,
            )  # fmt: skip
            done.append(trial)
            write_text(folder / SEARCH_LOG, dump_jsonl(each.to_json() for each in done))
            bar.update()
            _tell(trial, trials, settings.select_by)
    return done


class Pruning(TrainerCallback):
    """Tells Optuna each validation's score, and ends a training that is worse half way than the median of others."""

    def __init__(self, asked: optuna.Trial, chosen_by: str) -> None:
        self._asked = asked
        self._key = f"eval_{chosen_by}"
        self.scores: list[tuple[int, float]] = []
        self.pruned = False

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Looks for a validation's score in what is logged."""
        if not logs or self._key not in logs:
            return
        self.scores.append((state.global_step, logs[self._key]))
        self._asked.report(logs[self._key], state.global_step)
        if state.global_step < state.max_steps and self._asked.should_prune():
            self.pruned = control.should_training_stop = True


def _ask(done: Sequence[Trial], space: Space, seed: int) -> optuna.Trial:
    """The next trial: that of the given settings, then what a tree-structured Parzen estimator proposes.

    TPE: Bergstra et al. 2011. What it proposes, and whom the median prunes, follows from the trials done and from the
    seed alone.
    """
    draw = random.Random(f"{seed} {len(done)}").getrandbits(32)  # noqa: S311 - no secret
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=_AT_RANDOM, seed=draw),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED),
    )
    for trial in done:
        pruned = trial.state == "pruned"
        study.add_trial(
            optuna.trial.create_trial(
                params=space.proposal(trial.settings),
                distributions=space.distributions,
                # Without a score it is the worst there can be: nothing near it is wanted again.
                value=None if pruned else trial.score or 0.0,
                intermediate_values=dict(trial.scores),
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
            )
        )
    if not done:
        study.enqueue_trial(space.given)
    return study.ask(space.distributions)


def _known(path: Path, fingerprint: Mapping[str, Any]) -> list[Trial]:
    """The trials of a search that was stopped; none where it had not begun.

    Raises:
        PipelineError: they are of another search, or no trials.
    """
    if not path.is_file():
        return []
    try:
        done = [Trial.from_json(line) for line in read_jsonl(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"{path}: expected the trials of a search, a line each; it is damaged ({error!r}), remove it"
        ) from error
    if done:
        refuse_changes(path, done[0].begun_with or {}, fingerprint)
    return done


def _targets(given: Sequence[str], layers: Sequence[str]) -> list[str]:
    """Choices of layers that get an adapter: queries and values as in the LoRA paper, all of attention, all.

    The given ones stand for a choice that differs in their order alone.
    """
    of_attention = [name.rsplit(".", 1)[-1] for name in layers if "attn" in name or "attention" in name]
    of_attention = list(dict.fromkeys(of_attention))
    choices = [[name for name in of_attention if name in ("q_proj", "v_proj")], of_attention]
    several = [",".join(names) for names in choices if len(names) > 1 and set(names) != set(given)]
    return [*dict.fromkeys(several), "all-linear"]


def _with(given: Any, others: Sequence[Any]) -> list[Any]:
    """The choices with the given one among them, from low to high if they are numbers."""
    choices = list(others) if given in others else [*others, given]
    return choices if isinstance(given, str) else sorted(choices)


def _replaced(settings: Any, chosen: Mapping[str, Any], group: str) -> Any:
    """The dataclass with the options that were chosen of this group, a beginning of names; "" is that of the others."""
    names = {name.removeprefix(group): value for name, value in chosen.items() if name.startswith(group)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in names.items()}
    return dataclasses.replace(settings, **{name: value for name, value in values.items() if "." not in name})


@contextlib.contextmanager
def _hushed(*, warn: bool) -> Iterator[None]:
    """Keeps off the screen what every training tells, and all but the first warns of."""
    loggers = logging.getLogger(__package__)
    before = loggers.level
    loggers.setLevel(logging.WARNING if warn else logging.ERROR)
    try:
        yield
    finally:
        loggers.setLevel(before)


def _tell(trial: Trial, trials: int, select_by: str) -> None:
    outcome = trial.reason or f"{select_by} {trial.score:.3f}" + (
        " half way, pruned" if trial.state == "pruned" else ""
    )
    logger.info(
        "trial %d of %d: %s; %s; %.0f s",
        trial.number, trials, outcome, "as given" if trial.number == 1 else in_words(trial.settings), trial.seconds,
    )  # fmt: skip


def in_words(settings: Mapping[str, Any]) -> str:
    """Options and their values for a line on a screen."""
    shown = {name: "+".join(value) if isinstance(value, list) else value for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
