from collections import Counter

import pytest
from corpora import LABELS, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.folds import folds
from pipeline.errors import PipelineError


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(LABELS)), min_size=30, max_size=100), st.integers(2, 5))
def test_every_row_is_in_one_test_and_groups_stay_whole(rows: list[tuple[int, str]], k: int) -> None:
    examples, groups = corpus(rows)
    try:
        made = folds(examples, groups, labels=LABELS, k=k, val=0.1, seed=1)
    except PipelineError:
        return
    assert len(made) == k
    assert Counter(e.id for fold in made for e in fold["test"]) == Counter(e.id for e in examples)
    for fold in made:
        assert list(fold) == ["train", "val", "test"]
        assert Counter(e.id for part in fold.values() for e in part) == Counter(e.id for e in examples)
        numbers = [{groups[e.id] for e in part} for part in fold.values()]
        assert sum(map(len, numbers)) == len(set.union(*numbers))
        assert all({e.label for e in part} == set(LABELS) for part in fold.values())


def test_folds_are_alike() -> None:
    examples, groups = corpus([(i // 2, LABELS[(i // 2) % 3]) for i in range(600)])
    for fold in folds(examples, groups, labels=LABELS, k=5, val=0.1, seed=1):
        sizes = {name: len(part) for name, part in fold.items()}
        assert sizes == pytest.approx({"train": 420, "val": 60, "test": 120}, abs=2)
        assert all(n == pytest.approx(40, abs=2) for n in Counter(e.label for e in fold["test"]).values())


@pytest.mark.parametrize(
    ("k", "val", "message"),
    [
        (1, 0.1, r"--folds: expected 2 to 10, got 1"),
        (11, 0.1, r"--folds: expected 2 to 10, got 11"),
        (4, 0.75, r"--val: expected a share between 0 and 0\.75 with 4 folds, got 0\.75"),
        (5, 0.1, r"class 'Down': expected at least 5 groups .* one for each of fold 1, fold 2, .*; got 4"),
    ],
)
def test_what_cannot_be_folded_is_told(k: int, val: float, message: str) -> None:
    examples, groups = corpus([(i, "Up") for i in range(50)] + [(50 + i, "Down") for i in range(4)])
    with pytest.raises(PipelineError, match=message):
        folds(examples, groups, labels=("Down", "Up"), k=k, val=val, seed=1)
