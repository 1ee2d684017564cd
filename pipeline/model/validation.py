"""Validation while a training runs: decoded labels are scored, and the best adapter is kept."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline.artifacts import Row
from pipeline.model.attention import attention
from pipeline.model.decoding import Classifier, Decoded
from pipeline.model.loading import quiet

# (true labels, predicted labels with None for unparsed) -> metrics of the validation split, by name.
Score = Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]

CHOSEN_BY = "macro_f1"


class Validation(TrainerCallback):
    """Decodes the validation split every ``every`` steps and at the end, and keeps the best adapter so far.

    ``loss`` of the validation is the mean negative log-likelihood of a completion's token, as it is in training.
    ``attention`` is what transformers calls the way the model attends while it decodes; ``seconds`` is the time spent.
    """

    def __init__(self, classifier: Classifier, val: Sequence[Row], score: Score, every: int, adapter: Path) -> None:
        self._classifier = classifier
        self._texts = [row.input for row in val]
        self._labels = [row.output for row in val]
        self._score = score
        self._every = every
        self._adapter = adapter
        self.attention = classifier.model.config._attn_implementation
        self.seconds = 0.0
        self.log: Callable[[dict[str, float]], None] = lambda _: None  # the Trainer's, once there is one
        self.best_score = -1.0
        self.best_loss = math.inf
        self.best_step = 0
        self.best_answers: list[Decoded] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validates when it is time."""
        if state.global_step % self._every and state.global_step < state.max_steps:
            return
        started = time.monotonic()
        with attention(self._classifier.model, self.attention):
            answers = self._classifier.decode(self._texts, progress="validation")
        scores, loss = self._score(self._labels, [answer.generate for answer in answers]), self._loss(answers)
        self.log({"eval_loss": loss} | {f"eval_{name}": value for name, value in scores.items()})
        # Of equal scores, such as 0 before a model has learnt to answer with labels, the lower loss is the better.
        if (scores[CHOSEN_BY], -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss = scores[CHOSEN_BY], loss
            self.best_step, self.best_answers = state.global_step, answers
            with quiet():
                self._classifier.model.save_pretrained(self._adapter)
        self.seconds += time.monotonic() - started

    def _loss(self, answers: Sequence[Decoded]) -> float:
        completions = self._classifier.encoder.completions
        right = [answer.log_likelihood(label) for answer, label in zip(answers, self._labels, strict=True)]
        return -sum(right) / sum(len(completions[label]) for label in self._labels)
