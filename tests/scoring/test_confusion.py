import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from pipeline.scoring.confusion import confusion, precision_view, recall_view

LABELS = ("Negative", "Neutral", "Positive")
ROWS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*LABELS, None))), min_size=1, max_size=60)


def test_confusion_keeps_rows_that_could_not_be_parsed() -> None:
    matrix = confusion(["Negative", "Negative", "Positive"], ["Negative", None, "Neutral"], labels=LABELS)
    assert matrix.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]


@given(ROWS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_confusion_agrees_with_scikit_learn_given_unparsed_as_a_class(rows: list[tuple[str, str | None]]) -> None:
    y_true, y_pred = [t for t, _ in rows], [p for _, p in rows]
    oracle = confusion_matrix(y_true, [p or "unparsed" for p in y_pred], labels=[*LABELS, "unparsed"])
    matrix = confusion(y_true, y_pred, labels=LABELS)
    assert matrix.tolist() == oracle[:-1].tolist()
    assert matrix.sum(axis=1).tolist() == [y_true.count(label) for label in LABELS]


def test_views_are_shares_of_rows_and_columns() -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0]])
    assert recall_view(matrix).tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]
    assert precision_view(matrix).tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_confusion_refuses_an_unknown_class_and_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="Bad"):
        confusion(["Negative"], ["Bad"], labels=LABELS)
    with pytest.raises(ValueError, match="1 and 2"):
        confusion(["Negative"], ["Negative", None], labels=LABELS)
