"""What a training tells while it runs: a bar for people, JSON Lines for scripts, TensorBoard for curves."""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from pipeline.artifacts import dump_jsonl
from pipeline.errors import PipelineError

logger = logging.getLogger(__name__)

# Single numbers until they are written, because TensorBoard draws nothing else.
_RECALL = "eval_recall/"
_QUIET = 60  # seconds


class DivergedError(PipelineError):
    """The numbers of a training are none any more: its learning rate was too high."""


class TrainingProgress(TrainerCallback):
    """A bar on stderr in steps, with tweets/s, time left, loss and the latest validation score; below another, it goes.

    Where stderr is no terminal, such as a file, there is a line for each validation instead, and one when long nothing
    was said.
    """

    def __init__(self, batch_size: int, chosen_by: str) -> None:
        self._batch_size = batch_size
        self._score = f"eval_{chosen_by}"
        self._name = chosen_by.replace("_", "-").replace("f1", "F1")
        self._captions = {"loss": "loss", self._score: f"val {self._name}"}
        self._bar: tqdm[Any] | None = None
        self._shown: dict[str, str] = {}
        self._steps = 0  # of this process
        self._began = self._step_began = self._told = time.monotonic()
        self._seconds = 0.0  # of the steps, without validation

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Opens the bar."""
        self._began = time.monotonic()
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="training", unit="step", leave=None, disable=None
        )

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks at the clock."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimizer step more."""
        self._seconds += time.monotonic() - self._step_began
        self._steps += 1
        self._shown["tweets/s"] = f"{self._rate:.1f}"
        if self._bar is not None:
            self._bar.set_postfix(self._shown, refresh=False)
            self._bar.update()
            if self._bar.disable and time.monotonic() - self._told > _QUIET:
                self._told = time.monotonic()
                logger.info("step %d of %d%s", state.global_step, state.max_steps, self._pace(state))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Shows the latest loss and score at the bar's end, or in a line."""
        for key, caption in self._captions.items():
            if logs and key in logs:
                self._shown[caption] = f"{logs[key]:.3f}"
        if self._bar is not None:
            self._bar.set_postfix(self._shown)
            if self._bar.disable and logs and self._score in logs:
                self._told = time.monotonic()
                logger.info("%s", self._line(state, logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()

    @property
    def _rate(self) -> float:
        """Tweets per second, without validation."""
        return self._steps * self._batch_size / max(self._seconds, 1e-9)

    def _line(self, state: Any, logs: Mapping[str, float]) -> str:
        """What a validation found, and how long the training will yet take, validations and all."""
        line = f"step {state.global_step} of {state.max_steps}: {self._name} {logs[self._score]:.3f}"
        line += f", loss {logs['eval_loss']:.3f} on validation" if "eval_loss" in logs else " on validation"
        return line + self._pace(state)

    def _pace(self, state: Any) -> str:
        """How fast it goes and how long it will yet take; nothing before the first step."""
        if not self._steps:
            return ""
        each = (time.monotonic() - self._began) / self._steps
        left = each * (state.max_steps - state.global_step)
        return f"; {self._rate:.1f} tweets/s" + (f", {_duration(left)} left" if left else "")


def _duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class TrainingLog(TrainerCallback):
    """Writes each log record as one line of JSON, at once, behind the lines that are there."""

    def __init__(self, path: Path, steps_per_epoch: float) -> None:
        self._path = path
        self._steps_per_epoch = steps_per_epoch

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """One line: the step, the epoch and what was measured, the recalls of the classes as one mapping.

        Raises:
            DivergedError: a number is not finite; nothing good comes after that.
        """
        broken = [name for name, value in (logs or {}).items() if isinstance(value, float) and not math.isfinite(value)]
        if broken:
            raise DivergedError(
                f"step {state.global_step}: {', '.join(broken)} is not a finite number, the training has diverged; "
                "lower --learning_rate, or raise --warmup"
            )
        record: dict[str, Any] = {"step": state.global_step}
        for name, value in (logs or {}).items():
            if name.startswith(_RECALL):
                record.setdefault("eval_recall", {})[name.removeprefix(_RECALL)] = value
            else:
                record[name] = value
        # The Trainer takes the whole training for one epoch.
        record["epoch"] = round(state.global_step / self._steps_per_epoch, 4)
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(dump_jsonl([record]))


def tensorboard(folder: Path, step: int = 0) -> TensorBoardCallback:
    """TensorBoard's event file in ``folder``; look at it with ``tensorboard --logdir``.

    What files that are there say of the time after ``step``, TensorBoard forgets.
    """
    return TensorBoardCallback(SummaryWriter(log_dir=str(folder), purge_step=step + 1 if step else None))
