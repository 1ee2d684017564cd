"""Checkpoints: what a training that was stopped, at whatever moment, needs to go on as if it had not been.

``OUT/checkpoints/checkpoint-N`` holds what the Trainer saves after step N (adapter, optimizer, schedule, random
numbers), the best adapter so far, what validation knows, and the lines of ``training.jsonl``. It is written under
another name, sealed (see ``seals``) and then renamed, so that a folder of this name is whole unless something damaged
it later.
"""

import contextlib
import json
import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline.artifacts import CHECKPOINTS, TRAINING_LOG, read_json, share, sync, write_text
from pipeline.errors import PipelineError, StoppedError
from pipeline.model.processes import Processes
from pipeline.model.seals import BrokenSealError, seal, unseal
from pipeline.model.shortage import check_room, told_of_the_disk
from pipeline.model.stopping import Cut, Ended, Stop
from pipeline.model.validation import Validation

logger = logging.getLogger(__name__)

_KEPT = 2  # if the last one is damaged, there is the one before
_PROGRESS = "progress.json"
# Two levels deep, because the Trainer takes a folder with an adapter in it for one of several to be loaded.
_BEST = Path("best", "adapter")
# PyTorch pickles the training arguments; nothing here reads them.
_SUPERFLUOUS = "training_args.bin"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is as it was when it was written.

    ``step`` counts optimizer steps, ``fingerprint`` says what decides the result of the training it belongs to.
    """

    folder: Path
    step: int
    fingerprint: Mapping[str, Any]


def newest(run: Path) -> Checkpoint | None:
    """The last good checkpoint of a run, or None where it never had any.

    One that is damaged is renamed to ``rejected-N-TIME``, where N is its step, and the one before is looked at.

    Raises:
        PipelineError: all of them are damaged.
    """
    numbered = sorted(_numbered(run / CHECKPOINTS), reverse=True)
    for step, folder in numbered:
        try:
            content = unseal(folder)
            if content["step"] != step:
                raise BrokenSealError(f"{folder}: is the checkpoint of step {content['step']}")
        except BrokenSealError as error:
            rejected = folder.with_name(f"rejected-{step}-{time.time_ns()}")
            folder.rename(rejected)
            sync(run / CHECKPOINTS)
            logger.warning("%s; set aside as %s, going back to the checkpoint before it", error, rejected.name)
        else:
            return Checkpoint(folder, step, content["fingerprint"])
    if numbered or any((run / CHECKPOINTS).glob("rejected-*")):
        raise PipelineError(
            f"{run / CHECKPOINTS}: expected a checkpoint to go on from, but all of them are damaged; remove "
            f"{run / CHECKPOINTS} to begin again, or choose another --out"
        )
    return None


class Checkpoints(TrainerCallback):
    """Writes a checkpoint every ``every`` steps, after each validation, and when the training is to stop.

    ``run`` is the folder of the run; what a former process left there is put back to what the checkpoint ``resumed``
    knows, or removed where that is None. ``best`` is where a validation keeps the best adapter, ``scratch`` where the
    Trainer writes a checkpoint before it is whole, ``workspace`` a place for what a training needs while it runs. Of
    several processes the first cares for the folder.
    """

    def __init__(
        self,
        run: Path,
        every: int,
        fingerprint: Mapping[str, Any],
        resumed: Checkpoint | None,
        processes: Processes,
    ) -> None:
        self.stop = Stop()
        self.best = run / CHECKPOINTS / ".best"
        self.scratch = run / CHECKPOINTS / ".unfinished"
        self.workspace = run / CHECKPOINTS / f".work-{processes.rank}"
        self.run = run
        self._processes = processes
        self._folder = run / CHECKPOINTS
        self._every = every
        self._fingerprint = fingerprint
        self._resumed = resumed
        self._progress: dict[str, Any] | None = None
        self._stopping = False  # what all processes agree on
        self._trainer: Any = None
        self._validation: Any = None
        if processes.first:
            self._clear()
        if resumed is not None:
            self._progress = read_json(resumed.folder / _PROGRESS)
            if processes.first:
                self._restore(resumed)
        processes.wait()
        self.workspace.mkdir()
        self._began = time.monotonic()

    @property
    def step(self) -> int:
        """The step that the training goes on from."""
        return self._resumed.step if self._resumed else 0

    @property
    def seconds(self) -> float:
        """Time in the training loop, with that of the processes before this one as far as it was not lost."""
        return self._seconds_before + time.monotonic() - self._began

    def train(self, trainer: Any, validation: Validation) -> None:
        """Trains to the end.

        Raises:
            StoppedError: a signal came; the checkpoint for it is written.
            ShortageError: the disk is full; the checkpoints before are whole.
        """
        self._trainer, self._validation = trainer, validation
        if self._progress is not None:
            validation.restore(self._progress["validation"])
            logger.info("going on after step %d", self.step)
        parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        check_room(self.run, parameters)
        if self._processes.first:
            (self.run / TRAINING_LOG).touch()  # a checkpoint may come before the first line
        # Optimizer and random numbers are pickles; by now they are known to be what was written, and the Trainer reads
        # them as plain data.
        source = str(self._resumed.folder) if self._resumed else None
        with self.stop, told_of_the_disk(self.run, parameters, scratch=self.scratch), contextlib.suppress(Cut):
            try:
                trainer.train(resume_from_checkpoint=source)
            except Ended:
                self._tell_end()
        if self._stopping or self.stop.requested:
            raise StoppedError(
                f"{self.run}: stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; "
                "go on with the same command and --resume"
            )

    def keep_best(self) -> None:
        """Gives the best adapter its place in the run, whole or not at all."""
        if self._processes.first:
            share(self.best)
            for path in self.best.iterdir():
                sync(path)
            self.best.rename(self.run / "adapter")
            sync(self.run)
        self._processes.wait()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gives the Trainer back what it does not save: the losses that its next lines are means of."""
        if self._progress is not None:
            loss = self._progress["loss"]
            self._trainer._tr_loss += loss["unlogged"]
            self._trainer._total_loss_scalar = loss["logged"]
            self._trainer._globalstep_last_logged = loss["last_step"]
            self._trainer._initial_global_step = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks the Trainer for a checkpoint when it is time; within a step it would not be exact."""
        self._stopping = self._processes.any(self.stop.requested)
        due = state.global_step % self._every == 0 or self._validation.last_step == state.global_step
        control.should_save = control.should_save or due or self._stopping
        control.should_training_stop = control.should_training_stop or self._stopping

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Completes what the Trainer has saved, and lets go of what is older than the last two."""
        # Waits until each has saved its random numbers, too.
        losses = self._processes.gather(self._trainer._tr_loss.item())
        if self._processes.first:
            folder = self.scratch / f"checkpoint-{state.global_step}"
            self._complete(folder, state.global_step, sum(losses) / len(losses))
            self._prune()
        self._stopping = self._processes.any(self.stop.requested)  # while it was saving
        if self._stopping:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Counts in the last line the time before an interruption too."""
        if self._seconds_before and logs and (last := logs.get("train_runtime")):
            logs["train_runtime"] = round(last + self._seconds_before, 4)
            for rate in ("train_samples_per_second", "train_steps_per_second"):
                logs[rate] = round(logs[rate] * last / logs["train_runtime"], 3)

    @property
    def _seconds_before(self) -> float:
        return float(self._progress["seconds"]) if self._progress else 0.0

    def _clear(self) -> None:
        """Removes what a process that was killed left half-done, and what the checkpoint does not know of."""
        for folder in (
            *(self.run / "adapter", self.scratch, self.best),
            *self._folder.glob(".work-*"),
            *self.run.glob(".scratch.*"),
        ):
            shutil.rmtree(folder, ignore_errors=True)
        for path in self.run.glob(".*.[0-9]*"):  # see write_text
            if path.is_file():
                path.unlink()
        if self._resumed is None:
            for folder in (self._folder, self.run / "tensorboard"):
                shutil.rmtree(folder, ignore_errors=True)
            (self.run / TRAINING_LOG).unlink(missing_ok=True)
        self.scratch.mkdir(parents=True)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Puts the run's files back to where the checkpoint was written."""
        if (checkpoint.folder / _BEST).is_dir():
            shutil.copytree(checkpoint.folder / _BEST, self.best)
        write_text(self.run / TRAINING_LOG, (checkpoint.folder / TRAINING_LOG).read_text(encoding="utf-8"))

    def _tell_end(self) -> None:
        """The last line of the log, as the Trainer writes it at the end of a training."""
        state, loss = self._trainer.state, (self._progress or {})["loss"]
        runtime = self.seconds
        self._trainer.log(
            {
                "train_runtime": round(runtime, 4),
                "train_samples_per_second": round(len(self._trainer.train_dataset) / runtime, 3),
                "train_steps_per_second": round(state.max_steps / runtime, 3),
                "total_flos": state.total_flos,
                "train_loss": (loss["logged"] + loss["unlogged"]) / max(state.global_step, 0.001),
            }
        )

    def _complete(self, folder: Path, step: int, unlogged: float) -> None:
        """Adds to what the Trainer has saved what it does not know, seals all and gives it its name.

        ``unlogged`` is the sum of the losses since the last line of the log, the mean over the processes.
        """
        progress = {
            "seconds": round(self.seconds, 3),
            "loss": {
                "unlogged": unlogged,
                "logged": self._trainer._total_loss_scalar,
                "last_step": self._trainer._globalstep_last_logged,
            },
            "validation": self._validation.state(),
        }
        # Not dump_json: a label that the model thinks impossible has a log-likelihood of minus infinity.
        write_text(folder / _PROGRESS, json.dumps(progress))
        (folder / _SUPERFLUOUS).unlink(missing_ok=True)
        shutil.copyfile(self.run / TRAINING_LOG, folder / TRAINING_LOG)
        if self.best.is_dir():
            shutil.copytree(self.best, folder / _BEST)
        share(folder)
        seal(folder, {"step": step, "fingerprint": self._fingerprint})
        folder.rename(self._folder / folder.name)
        sync(self._folder)
        sync(self.run)

    def _prune(self) -> None:
        for _, folder in sorted(_numbered(self._folder))[:-_KEPT]:
            folder.rename(self.scratch / folder.name)  # so that no half of a checkpoint ever has the name of one
            shutil.rmtree(self.scratch / folder.name)


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """Step and folder of all that is called a checkpoint."""
    for path in folder.glob("checkpoint-*"):
        if (found := re.fullmatch(r"checkpoint-(\d+)", path.name)) and path.is_dir():
            yield int(found[1]), path
