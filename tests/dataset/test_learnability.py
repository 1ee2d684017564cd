import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import f1_score
from wordy import LABELS, alone, examples_of, texts_of, word_model

from pipeline.dataset.held_out import HeldOut, held_out
from pipeline.dataset.learnability import Learnability, learnability
from pipeline.dataset.records import Example


def measure(texts: list[str], classes: list[int], seed: int = 1) -> Learnability:
    examples = examples_of(texts, classes)
    found = held_out(examples, alone(examples), LABELS, word_model(), seed=seed)
    assert found is not None
    return learnability(found, seed)


def answers(given: list[int], predicted: list[int], groups: list[int] | None = None) -> HeldOut:
    """Held-out answers as if a model had given them."""
    examples = [Example(str(i), "text", LABELS[c]) for i, c in enumerate(given)]
    numbers = np.arange(len(given)) if groups is None else np.array(groups)
    return HeldOut(examples, LABELS, np.array(given), numbers, np.eye(3)[predicted], 5)


def test_labels_that_follow_from_the_words_are_learnable() -> None:
    classes = np.random.default_rng(1).integers(0, 3, 300).tolist()
    found = measure(texts_of(classes, seed=1), classes)
    assert found.value > 0.9
    assert found.p_value < 0.001
    assert found.n == 300


def test_labels_joined_to_the_wrong_rows_are_not() -> None:
    classes = np.random.default_rng(1).integers(0, 3, 600).tolist()
    found = measure(texts_of(classes, seed=1), classes[1:] + classes[:1])
    assert found.p_value > 0.05
    assert abs(found.value - found.chance) < found.detectable < 0.1


def test_p_is_not_too_small_when_labels_are_random() -> None:
    rng = np.random.default_rng(5)
    ps = []
    for seed in range(50):
        texts = texts_of(rng.integers(0, 3, 90).tolist(), seed, length=5)
        ps.append(measure(texts, rng.choice(3, 90, p=[0.5, 0.3, 0.2]).tolist(), seed).p_value)
    # Not much oftener than it says (two standard errors), and elsewhere near uniform.
    assert np.mean(np.array(ps) < 0.05) <= 0.1
    assert kstest(ps, "uniform").pvalue > 0.01


def test_chance_is_what_permutations_of_the_answers_give() -> None:
    rng = np.random.default_rng(3)
    given, predicted = rng.choice(3, 200, p=[0.6, 0.3, 0.1]), rng.choice(3, 200, p=[0.2, 0.3, 0.5])
    found = learnability(answers(given.tolist(), predicted.tolist()), seed=1)
    permuted = [
        f1_score(given, rng.permutation(predicted), labels=range(3), average="macro", zero_division=0)
        for _ in range(300)
    ]
    assert found.value == pytest.approx(f1_score(given, predicted, average="macro"))
    assert found.chance == pytest.approx(np.mean(permuted), abs=0.008)
    assert found.detectable == pytest.approx((1.645 + 0.842) * np.sqrt(2) * np.std(permuted), rel=0.15)


def test_a_lift_of_the_detectable_size_is_found_four_times_out_of_five() -> None:
    rng = np.random.default_rng(4)

    def draw(share_known: float) -> Learnability:
        given = rng.integers(0, 3, 400)
        predicted = np.where(rng.random(400) < share_known, given, rng.integers(0, 3, 400))
        return learnability(answers(given.tolist(), predicted.tolist()), seed=1)

    # Of a share s that is known, the lift of macro-F1 is s * 2 / 3 with three even classes.
    share = 1.5 * draw(0).detectable
    found = np.mean([draw(share).p_value < 0.05 for _ in range(150)])
    # These answers owe nothing to the other rows, so the variance is half of what is allowed for, and more is found.
    assert found >= 0.8


def test_copies_count_once() -> None:
    given, predicted = [0, 1, 2] * 20, [0, 1, 2] * 10 + [1, 2, 0] * 10
    once = learnability(answers(given, predicted), seed=1)
    thrice = learnability(answers(given * 3, predicted * 3, list(range(60)) * 3), seed=1)
    assert once == thrice


def test_one_answer_for_all_is_no_evidence() -> None:
    found = learnability(answers([0, 1, 2] * 20, [1] * 60), seed=1)
    assert found.p_value == 1
    assert found.value == pytest.approx(found.chance)


def test_p_claims_no_more_than_the_draws_can_show() -> None:
    assert learnability(answers([0, 1, 2] * 99, [0, 1, 2] * 99), seed=1).p_value == pytest.approx(1 / 1001)


def test_manifest() -> None:
    found = learnability(answers([0, 1, 2] * 5, [0, 1, 2] * 5), seed=1).to_json()
    assert found["metric"] == "macro_f1"
    assert found.keys() >= {"value", "chance", "p_value", "folds", "permutations", "n", "detectable"}
