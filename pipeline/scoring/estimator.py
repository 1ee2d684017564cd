"""A tuned model as an estimator of scikit-learn, for ``cross_val_predict``, ``classification_report`` and the like."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

UNPARSED = "unparsed"


class Answer(Protocol):
    """What is needed of a prediction."""

    @property
    def label(self) -> str | None:
        """The label, or None."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Each label's; empty where the text could not be used."""


class Answering(Protocol):
    """What is needed of a classifier."""

    labels: tuple[str, ...]

    def predict(self, texts: Sequence[str | None], *, decoding: Any, adjusted: bool) -> Sequence[Answer]:
        """One answer a text."""


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Labels texts with a model that is tuned already.

    ``X`` is a list or an array of texts. ``classes_`` are the labels sorted, as scikit-learn has them, which need not
    be the order of the task; an answer that is none of them is ``'unparsed'``.
    """

    def __init__(self, classifier: Answering, decoding: str = "generate", adjusted: bool = False) -> None:
        self.classifier = classifier
        self.decoding = decoding
        self.adjusted = adjusted

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The labels, sorted."""
        return np.array(sorted(self.classifier.labels))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Tunes nothing and returns the estimator as it is: the model was tuned by pipeline.train.

        In a cross-validation each part is therefore answered by the same model, which may have seen it in its training.
        """
        return self

    def predict(self, X: Any) -> NDArray[np.str_]:
        """Labels, ``(n,)``; ``'unparsed'`` where the model gives none or a text cannot be used."""
        return np.array([UNPARSED if one.label is None else one.label for one in self._answers(X)], dtype=np.str_)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities, ``(n, k)``, in the order of ``classes_``; NaN where a text cannot be used."""
        rows = [[one.probabilities.get(label, np.nan) for label in self.classes_] for one in self._answers(X)]
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.classes_))

    def _answers(self, X: Any) -> Sequence[Answer]:
        texts = np.asarray(X, dtype=object).reshape(-1).tolist()
        return self.classifier.predict(texts, decoding=self.decoding, adjusted=self.adjusted)

    def __sklearn_clone__(self) -> "TextClassifier":
        # Not a copy of the model.
        return TextClassifier(self.classifier, self.decoding, self.adjusted)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.requires_fit = False
        return tags
