import pytest

from pipeline.dataset.leakage import Leakage, leakage, random_leakage
from pipeline.dataset.records import Example


def test_each_kind_of_copy_is_counted() -> None:
    train = [Example("1", "Buy now @ann 5", "Up"), Example("2", "the price went down", "Down")]
    test = [
        Example("3", "Buy now @ann 5", "Up"),  # the same text
        Example("4", "buy NOW @bob 7!", "Up"),  # the same template
        Example("5", "the price went down a bit", "Down"),  # the same group
        Example("6", "nothing like it", "Down"),
    ]
    groups = {"1": 0, "2": 1, "3": 0, "4": 0, "5": 1, "6": 2}
    assert leakage(train, test, groups) == Leakage(4, exact=0.25, template=0.5, near=0.75)
    assert leakage(train, test, groups).to_json() == {"test_rows": 4, "exact": 0.25, "template": 0.5, "near": 0.75}


def twice(n: int) -> tuple[list[Example], dict[str, int]]:
    words = [chr(ord("a") + i % 26) * (i // 26 + 1) for i in range(n)]
    rows = [Example(str(i), words[i // 2], ("Down", "Up")[i // 2 % 2]) for i in range(2 * n)]
    return rows, {row.id: i // 2 for i, row in enumerate(rows)}


def test_random_split_of_texts_that_occur_twice() -> None:
    # The other copy of a test row is in train with probability (n - t) / (n - 1).
    rows, groups = twice(200)
    found = random_leakage(rows, groups, test=0.25, seed=0, repeats=20)
    assert found is not None
    assert found.test_rows == 100
    assert found.exact == found.template == found.near
    assert found.exact == pytest.approx(300 / 399, abs=0.03)


def test_random_split_of_different_texts_does_not_leak() -> None:
    rows, _ = twice(100)
    unique = rows[::2]
    assert random_leakage(unique, {row.id: i for i, row in enumerate(unique)}, 0.25, seed=0) == Leakage(25, 0, 0, 0)


def test_random_split_is_decided_by_the_seed() -> None:
    rows, groups = twice(40)
    assert random_leakage(rows, groups, 0.25, seed=1) == random_leakage(rows, groups, 0.25, seed=1)
    assert random_leakage(rows, groups, 0.25, seed=1) != random_leakage(rows, groups, 0.25, seed=100)


@pytest.mark.parametrize("test", [0.01, 0.99])
def test_random_split_leaves_room_for_every_class_on_both_sides(test: float) -> None:
    rows, groups = twice(2)
    found = random_leakage(rows, groups, test, seed=0)
    assert found is not None
    assert found.test_rows == 2


def test_a_class_of_one_row_has_no_random_split() -> None:
    rows, groups = twice(4)
    assert random_leakage([*rows, Example("x", "alone", "Flat")], {**groups, "x": 99}, 0.25, seed=0) is None
