"""How far a teacher's labels are those that people gave."""

from collections.abc import Sequence
from typing import Any

from pipeline.scoring.confusion import confusion
from pipeline.scoring.intervals import wilson
from pipeline.scoring.metrics import kappa


def agreement(human: Sequence[str], teacher: Sequence[str | None], labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, Cohen's kappa, and the confusion, people in the rows.

    A tweet for which the teacher gave no label counts as wrong; its column is the last, ``None`` in ``columns``.

    Args:
        human: labels that people gave.
        teacher: the teacher's for the same tweets.
        labels: the classes in order.
    """
    matrix = confusion(human, teacher, labels=labels)
    hits, n = int(matrix.diagonal().sum()), len(human)
    low, high = wilson(hits, n)
    return {
        "n": n,
        "unanswered": int(matrix[:, -1].sum()),
        "accuracy": hits / n if n else None,
        "low": low,
        "high": high,
        "kappa": float(kappa(matrix)) if n else None,
        "rows": list(labels),
        "columns": [*labels, None],
        "confusion": matrix.tolist(),
    }


def agreement_lines(found: dict[str, Any]) -> list[str]:
    """The same for a person."""
    if not found["n"]:
        return ["teacher against people: no tweet with a label of both"]
    columns = ["no label" if name is None else name for name in found["columns"]]
    width = max(map(len, [*columns, "people / teacher"])) + 2
    lines = [
        f"teacher against people on {found['n']:,} tweets: accuracy {found['accuracy']:.3f} "
        f"[{found['low']:.3f}, {found['high']:.3f}], kappa {found['kappa']:.3f}",
        f"{'people / teacher':<{width}}" + "".join(f"{name:>{width}}" for name in columns),
    ]
    for name, row in zip(found["rows"], found["confusion"], strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{n:>{width},}" for n in row))
    return lines
