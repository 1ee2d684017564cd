"""What a training tells while it runs: a bar for people, JSON Lines for scripts, TensorBoard for curves."""

import math
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from pipeline.artifacts import dump_jsonl
from pipeline.errors import PipelineError

# Single numbers until they are written, because TensorBoard draws nothing else.
_RECALL = "eval_recall/"


class DivergedError(PipelineError):
    """The numbers of a training are none any more: its learning rate was too high."""


class TrainingProgress(TrainerCallback):
    """A bar on stderr in tweets, with rate, time left, loss and the latest validation score; below another, it goes."""

    def __init__(self, batch_size: int, chosen_by: str) -> None:
        self._batch_size = batch_size
        self._captions = {"loss": "loss", f"eval_{chosen_by}": f"val {chosen_by.replace('_', '-')}"}
        self._bar: tqdm[Any] | None = None
        self._shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Opens the bar."""
        tweets, before = (steps * self._batch_size for steps in (state.max_steps, state.global_step))
        self._bar = tqdm(total=tweets, initial=before, desc="training", unit="tweet", leave=None, disable=None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimizer step is one batch of tweets."""
        if self._bar:
            self._bar.update(self._batch_size)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Shows the latest loss and score at the bar's end."""
        for key, caption in self._captions.items():
            if logs and key in logs:
                self._shown[caption] = f"{logs[key]:.3f}"
        if self._bar:
            self._bar.set_postfix(self._shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Closes the bar."""
        if self._bar:
            self._bar.close()


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
