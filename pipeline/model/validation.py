"""Validation while a training runs: decoded labels are scored, and the best adapter is kept."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline.artifacts import Row
from pipeline.model.adapter import AdapterFiles
from pipeline.model.decoding import Classifier, Decoded
from pipeline.model.processes import Processes
from pipeline.model.stopping import Cut, Ended, Stop

# (true labels, predicted labels with None for unparsed) -> metrics of the validation split, by name.
Score = Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]


class Validation(TrainerCallback):
    """Decodes the validation split some times, evenly spread, the last at the end; keeps the best adapter so far.

    ``chosen_by`` names the metric that says which is best. After ``patience`` validations without a better one the
    training stops; None lets it go on. ``decoding`` gives a block in which the model computes as it does when it is
    used. Several processes divide the split. ``loss`` of the validation is the mean negative log-likelihood of a
    completion's token, as it is in training without class weights; ``seconds`` is the time spent; ``last_step`` the
    step of the last one. A validation that a signal cuts short is ``pending``: it is done when the training goes on.
    """

    def __init__(
        self,
        classifier: Classifier,
        val: Sequence[Row],
        score: Score,
        *,
        times: int,
        chosen_by: str,
        patience: int | None,
        adapter: Path,
        files: AdapterFiles,
        processes: Processes,
        stop: Stop,
        decoding: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._classifier = classifier
        self._texts = [row.input for row in val]
        self._labels = [row.output for row in val]
        self._score = score
        self._times = times
        self._chosen_by = chosen_by
        self._patience = patience
        self._adapter = adapter
        self._files = files
        self._processes = processes
        self._stop = stop
        self._decoding = decoding
        self.last_step = 0
        self.pending = False
        self.seconds = 0.0
        self.log: Callable[[dict[str, float]], None] = lambda _: None  # the Trainer's, once there is one
        self.best_score = -1.0
        self.best_loss = math.inf
        self.best_step = 0
        self.best_answers: list[Decoded] = []
        self.worse_since_best = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Does a validation that was cut short.

        Raises:
            Cut: it is again; nothing has changed since the checkpoint.
            Ended: patience ran out before the training was interrupted.
        """
        if self.pending:
            self._validate(state.global_step)
        if self._exhausted:
            raise Ended

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validates when it is time."""
        step, steps = state.global_step, state.max_steps
        if step * self._times // steps > (step - 1) * self._times // steps:
            try:
                self._validate(step)
            except Cut:
                control.should_log = False  # as after a validation, whose scores stand for the step
        if self._exhausted:
            control.should_training_stop = True

    @property
    def _exhausted(self) -> bool:
        return self._patience is not None and self.worse_since_best >= self._patience

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, as plain JSON; before the first validation there is no best one."""
        best = {
            "score": self.best_score,
            "loss": self.best_loss,
            "step": self.best_step,
            "answers": [dataclasses.asdict(answer) for answer in self.best_answers],
        }
        return {
            "pending": self.pending,
            "seconds": round(self.seconds, 3),
            "last_step": self.last_step,
            "worse_since_best": self.worse_since_best,
            "best": best if self.best_answers else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from where ``state`` was taken; the adapter in its folder is the caller's to restore."""
        self.pending, self.seconds, self.last_step = state["pending"], state["seconds"], state["last_step"]
        self.worse_since_best = state["worse_since_best"]
        if best := state["best"]:
            self.best_score, self.best_loss, self.best_step = best["score"], best["loss"], best["step"]
            self.best_answers = [_decoded(**answer) for answer in best["answers"]]

    def _validate(self, step: int) -> None:
        self.pending = True
        started = time.monotonic()
        # Of several processes none may leave the others alone in the middle of it.
        with self._stop.cutting() if self._processes.count == 1 else nullcontext(), self._decoding():
            answers = decode_together(self._classifier, self._texts, self._processes, progress="validation")
        scores, loss = self._score(self._labels, [answer.generate for answer in answers]), self._loss(answers)
        self.log({"eval_loss": loss} | {f"eval_{name}": value for name, value in scores.items()})
        self.worse_since_best += 1
        # Of equal scores, such as 0 before a model has learnt to answer with labels, the lower loss is the better.
        if (scores[self._chosen_by], -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss = scores[self._chosen_by], loss
            self.best_step, self.best_answers = step, answers
            self.worse_since_best = 0
            if self._processes.first:
                self._files.save(self._adapter)
        self.last_step, self.pending = step, False
        self.seconds += time.monotonic() - started

    def _loss(self, answers: Sequence[Decoded]) -> float:
        completions = self._classifier.encoder.completions
        right = [answer.log_likelihood(label) for answer, label in zip(answers, self._labels, strict=True)]
        return -sum(right) / sum(len(completions[label]) for label in self._labels)


def decode_together(
    classifier: Classifier, texts: Sequence[str], processes: Processes, *, progress: str
) -> list[Decoded]:
    """Every text decoded, each process a part; all get all answers, in the order of the texts."""
    mine = classifier.decode(processes.share_of(list(texts)), progress=progress if processes.first else None)
    return processes.joined(mine, len(texts))


def _decoded(log_likelihoods: list[float], labels: list[str], **others: Any) -> Decoded:
    """A decoding as it was before it became JSON, which knows no tuples."""
    return Decoded(log_likelihoods=tuple(log_likelihoods), labels=tuple(labels), **others)
