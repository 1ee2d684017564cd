"""Scores of decoded validation tweets, while a model is trained."""

from collections.abc import Callable, Sequence

from pipeline.scoring.confusion import confusion
from pipeline.scoring.metrics import accuracy, balanced_accuracy, macro_f1, recall, unparsed_rate, weighted_f1

_METRICS = {metric.__name__: metric for metric in (macro_f1, balanced_accuracy, weighted_f1, accuracy, unparsed_rate)}


def validation_score(
    labels: Sequence[str],
) -> Callable[[Sequence[str], Sequence[str | None]], dict[str, float]]:
    """Metrics of true and decoded labels; one of them chooses the checkpoint, the others tell how it goes.

    ``recall/LABEL`` is missing for a class without validation tweets: 0 would say that it was looked for.
    """

    def score(y_true: Sequence[str], y_pred: Sequence[str | None]) -> dict[str, float]:
        matrix = confusion(y_true, y_pred, labels=labels)
        by_class = zip(labels, recall(matrix).tolist(), matrix.sum(axis=1).tolist(), strict=True)
        return {name: float(metric(matrix)) for name, metric in _METRICS.items()} | {
            f"recall/{label}": share for label, share, support in by_class if support
        }

    return score
