"""Validation while a training runs: decoded labels are scored, and the best adapter is kept."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline.artifacts import Row
from pipeline.model.attention import attention
from pipeline.model.decoding import Classifier, Decoded
from pipeline.model.loading import quiet
from pipeline.model.stopping import Cut, Stop

# (true labels, predicted labels with None for unparsed) -> metrics of the validation split, by name.
Score = Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]

CHOSEN_BY = "macro_f1"


class Validation(TrainerCallback):
    """Decodes the validation split every ``every`` steps and at the end, and keeps the best adapter so far.

    ``loss`` of the validation is the mean negative log-likelihood of a completion's token, as it is in training.
    ``attention`` is what transformers calls the way the model attends while it decodes; ``seconds`` is the time spent;
    ``adapter`` the folder with the best adapter; ``last_step`` the step of the last validation. One that a signal cuts
    short is ``pending``: it is done when the training goes on.
    """

    def __init__(
        self, classifier: Classifier, val: Sequence[Row], score: Score, every: int, adapter: Path, stop: Stop
    ) -> None:
        self._classifier = classifier
        self._texts = [row.input for row in val]
        self._labels = [row.output for row in val]
        self._score = score
        self._every = every
        self._stop = stop
        self.adapter = adapter
        self.last_step = 0
        self.pending = False
        self.attention = classifier.model.config._attn_implementation
        self.seconds = 0.0
        self.log: Callable[[dict[str, float]], None] = lambda _: None  # the Trainer's, once there is one
        self.best_score = -1.0
        self.best_loss = math.inf
        self.best_step = 0
        self.best_answers: list[Decoded] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Does a validation that was cut short.

        Raises:
            Cut: it is again; nothing has changed since the checkpoint.
        """
        if self.pending:
            self._validate(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validates when it is time."""
        if state.global_step % self._every == 0 or state.global_step >= state.max_steps:
            try:
                self._validate(state.global_step)
            except Cut:
                control.should_log = False  # as after a validation, whose scores stand for the step

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
            "best": best if self.best_answers else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from where ``state`` was taken; the adapter in its folder is the caller's to restore."""
        self.pending, self.seconds, self.last_step = state["pending"], state["seconds"], state["last_step"]
        if best := state["best"]:
            self.best_score, self.best_loss, self.best_step = best["score"], best["loss"], best["step"]
            self.best_answers = [_decoded(**answer) for answer in best["answers"]]

    def _validate(self, step: int) -> None:
        self.pending = True
        started = time.monotonic()
        with self._stop.cutting(), attention(self._classifier.model, self.attention):
            answers = self._classifier.decode(self._texts, progress="validation")
        scores, loss = self._score(self._labels, [answer.generate for answer in answers]), self._loss(answers)
        self.log({"eval_loss": loss} | {f"eval_{name}": value for name, value in scores.items()})
        # Of equal scores, such as 0 before a model has learnt to answer with labels, the lower loss is the better.
        if (scores[CHOSEN_BY], -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss = scores[CHOSEN_BY], loss
            self.best_step, self.best_answers = step, answers
            with quiet():
                self._classifier.model.save_pretrained(self.adapter)
        self.last_step, self.pending = step, False
        self.seconds += time.monotonic() - started

    def _loss(self, answers: Sequence[Decoded]) -> float:
        completions = self._classifier.encoder.completions
        right = [answer.log_likelihood(label) for answer, label in zip(answers, self._labels, strict=True)]
        return -sum(right) / sum(len(completions[label]) for label in self._labels)


def _decoded(log_likelihoods: list[float], labels: list[str], **others: Any) -> Decoded:
    """A decoding as it was before it became JSON, which knows no tuples."""
    return Decoded(log_likelihoods=tuple(log_likelihoods), labels=tuple(labels), **others)
