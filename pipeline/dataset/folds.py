"""Cross-validation for small sets: every row is in the test once."""

from collections.abc import Mapping, Sequence

from pipeline.dataset.records import Example
from pipeline.dataset.splitting import split
from pipeline.errors import PipelineError

MOST = 10


def folds(
    examples: Sequence[Example],
    groups: Mapping[str, int],
    *,
    labels: Sequence[str],
    k: int,
    val: float,
    seed: int,
) -> list[dict[str, list[Example]]]:
    """Train, val and test, ``k`` times; the tests are disjoint and together all rows.

    The rows are divided as ``split`` does it, whole groups and every class everywhere: first into ``k`` tests, then,
    for each of them, the rest into train and val.

    Args:
        examples: the rows to divide.
        groups: example id -> number of its group of duplicates.
        labels: the classes, each of which must be in every split.
        k: number of folds, 2 to 10.
        val: share of all rows for validation in each fold.
        seed: another seed gives another division.

    Raises:
        PipelineError: ``k`` is out of range, ``val`` leaves no rows to train on, or a class has too few groups.
    """
    if not 2 <= k <= MOST:
        raise PipelineError(f"--folds: expected 2 to {MOST}, got {k}")
    rest = 1 - 1 / k
    if not 0 < val < rest:
        raise PipelineError(f"--val: expected a share between 0 and {rest:.2f} with {k} folds, got {val}")
    tests = split(examples, groups, labels=labels, shares={f"fold {i}": 1 / k for i in range(1, k + 1)}, seed=seed)
    made = []
    for test in tests.values():
        held_out = {example.id for example in test}
        others = [example for example in examples if example.id not in held_out]
        shares = {"train": 1 - val / rest, "val": val / rest}
        made.append({**split(others, groups, labels=labels, shares=shares, seed=seed), "test": test})
    return made
