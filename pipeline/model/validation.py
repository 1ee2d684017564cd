"""Validation while a training runs: decoded labels are scored, and the best adapter is kept."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline.artifacts import Row
from pipeline.model.adapter import AdapterFiles
from pipeline.model.decoding import Classifier, Decoded
from pipeline.model.processes import Processes

# (true labels, predicted labels with None for unparsed) -> metrics of the validation split, by name.
Score = Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]


class Validation(TrainerCallback):
    """Decodes the validation split every ``every`` steps and at the end, and keeps the best adapter so far.

    ``chosen_by`` names the metric that says which is best. After ``patience`` validations without a better one the
    training stops; None lets it go on. ``decoding`` gives a block in which the model computes as it does when it is
    used. Several processes divide the split. ``loss`` of the validation is the mean negative log-likelihood of a
    completion's token, as it is in training; ``seconds`` is the time spent.
    """

    def __init__(
        self,
        classifier: Classifier,
        val: Sequence[Row],
        score: Score,
        *,
        every: int,
        chosen_by: str,
        patience: int | None,
        adapter: Path,
        files: AdapterFiles,
        processes: Processes,
        decoding: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._classifier = classifier
        self._texts = [row.input for row in val]
        self._labels = [row.output for row in val]
        self._score = score
        self._every = every
        self._chosen_by = chosen_by
        self._patience = patience
        self._adapter = adapter
        self._files = files
        self._processes = processes
        self._decoding = decoding
        self.seconds = 0.0
        self.log: Callable[[dict[str, float]], None] = lambda _: None  # the Trainer's, once there is one
        self.best_score = -1.0
        self.best_loss = math.inf
        self.best_step = 0
        self.best_answers: list[Decoded] = []
        self.worse_since_best = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validates when it is time."""
        if state.global_step % self._every and state.global_step < state.max_steps:
            return
        started = time.monotonic()
        with self._decoding():
            answers = decode_together(self._classifier, self._texts, self._processes, progress="validation")
        scores, loss = self._score(self._labels, [answer.generate for answer in answers]), self._loss(answers)
        self.log({"eval_loss": loss} | {f"eval_{name}": value for name, value in scores.items()})
        self.worse_since_best += 1
        # Of equal scores, such as 0 before a model has learnt to answer with labels, the lower loss is the better.
        if (scores[self._chosen_by], -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss = scores[self._chosen_by], loss
            self.best_step, self.best_answers = state.global_step, answers
            self.worse_since_best = 0
            if self._processes.first:
                self._files.save(self._adapter)
        if self._patience is not None and self.worse_since_best >= self._patience:
            control.should_training_stop = True
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
