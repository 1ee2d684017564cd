"""The choice of a search's best trial, held against scikit-learn, formulas, plain loops and worlds of known truth."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from pipeline.scoring.choice import Choice, choose
from pipeline.scoring.metrics import accuracy, macro_f1

LABELS = ("Negative", "Neutral", "Positive")
Numbers = NDArray[np.int64]


def answers_of(
    generator: np.random.Generator, truth: Numbers, difficulty: NDArray[np.float64], skills: list[float]
) -> Numbers:
    """What systems of these skills answer, shape ``(systems, rows)``: hard rows are hard for all."""
    chances = 1 / (1 + np.exp(-(difficulty + np.array(skills)[:, None])))
    wrong = (truth + generator.integers(1, 3, size=chances.shape)) % 3
    return np.where(generator.random(chances.shape) < chances, truth, wrong)


def world(seed: int, n: int, skills: list[float]) -> tuple[Numbers, Numbers]:
    """True classes and answers of ``n`` rows."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, size=n, p=[0.25, 0.3, 0.45])
    return truth, answers_of(generator, truth, generator.normal(1.2, 1.5, size=n), skills)


def names(truth: Numbers) -> list[str]:
    return [LABELS[i] for i in truth]


def chosen(truth: Numbers, answers: Numbers, **options: object) -> Choice:
    settings = {"groups": range(len(truth)), "labels": LABELS, "metric": macro_f1, "seed": 0} | options
    return choose(names(truth), answers=answers.tolist(), **settings)  # type: ignore[arg-type]


def test_the_best_trial_and_its_gain_are_those_of_scikit_learn() -> None:
    truth, answers = world(1, 200, [0.0, 0.4, -0.3, 0.1])
    scores = [f1_score(truth, each, average="macro") for each in answers]
    found = chosen(truth, answers)
    assert found.best == int(np.argmax(scores))
    assert found.gain == pytest.approx(max(scores) - scores[0])


def test_of_equal_trials_the_first_is_the_best() -> None:
    truth, answers = world(1, 50, [0.0])
    found = chosen(truth, np.repeat(answers, 3, axis=0))
    assert (found.best, found.gain, found.standard_error, found.lasting_gain) == (0, 0, 0, 0)


def test_an_answer_that_is_no_label_is_wrong() -> None:
    truth = np.array([0, 1, 2, 0])
    found = choose(
        names(truth), range(4), [[0, 1, None, None], [0, 1, 2, None]], labels=LABELS, metric=accuracy, seed=0
    )
    assert found.gain == 0.25


def test_the_standard_error_of_accuracy_is_that_of_paired_differences() -> None:
    truth, answers = world(2, 300, [0.0, 0.5])
    differences = (answers[1] == truth).astype(float) - (answers[0] == truth)
    found = chosen(truth, answers, metric=accuracy, resamples=4000)
    assert found.standard_error == pytest.approx(differences.std(ddof=1) / 300**0.5, rel=0.05)


def test_rows_of_one_group_count_as_one() -> None:
    truth, answers = world(2, 300, [0.0, 0.5])
    alone = chosen(truth, answers, resamples=4000)
    thrice = chosen(np.tile(truth, 3), np.tile(answers, 3), groups=[*range(7, 307)] * 3, resamples=4000)
    assert thrice.gain == pytest.approx(alone.gain)
    assert thrice.standard_error == pytest.approx(alone.standard_error, rel=0.05)
    assert thrice.lasting_gain == pytest.approx(alone.lasting_gain, abs=0.005)


def test_the_lasting_gain_is_that_of_plain_loops() -> None:
    truth, answers = world(3, 60, [0.0, 0.1, 0.3])
    generator = np.random.default_rng(9)

    def score(trial: int, rows: Numbers) -> float:
        hits = [sum((truth[rows] == i) & (answers[trial][rows] == i)) for i in range(3)]
        sizes = [sum(truth[rows] == i) + sum(answers[trial][rows] == i) for i in range(3)]
        return float(sum(2 * hit / size for hit, size in zip(hits, sizes, strict=True) if size)) / 3

    gains = []
    for _ in range(1500):
        drawn = generator.integers(0, 60, size=60)
        left = np.setdiff1d(np.arange(60), drawn)
        gains.append(score(int(np.argmax([score(trial, drawn) for trial in range(3)])), left) - score(0, left))
    error = 4 * float(np.std(gains)) * (1 / 1500 + 1 / 4000) ** 0.5
    assert chosen(truth, answers, resamples=4000).lasting_gain == pytest.approx(np.mean(gains), abs=error)


def test_where_no_trial_is_better_no_gain_lasts() -> None:
    found = [chosen(*world(seed, 120, [0.0] * 10), resamples=200) for seed in range(150)]
    error = 3 * float(np.std([each.lasting_gain for each in found])) / 150**0.5
    assert np.mean([each.gain for each in found]) > 0.03
    assert np.mean([each.lasting_gain for each in found]) == pytest.approx(0, abs=error)
    assert np.mean([each.chosen == 0 for each in found]) > 0.5


def test_where_one_trial_is_better_the_lasting_gain_is_nearer_to_the_truth_and_not_above_it() -> None:
    """Over many worlds; the true gain is that of the trial which each world picked, on many other rows."""
    generator = np.random.default_rng(5)
    truth = generator.choice(3, size=100_000, p=[0.25, 0.3, 0.45])
    answers = answers_of(generator, truth, generator.normal(1.2, 1.5, size=len(truth)), [0.0, 0.4])
    given, better = (f1_score(truth, each, average="macro") for each in answers)
    found = [chosen(*world(seed, 120, [0.0] * 9 + [0.4]), resamples=200) for seed in range(150)]
    true = float(np.mean([better - given if each.best == 9 else 0.0 for each in found]))
    gain, lasting = (float(np.mean([getattr(each, name) for each in found])) for name in ("gain", "lasting_gain"))
    assert 0.5 * true < lasting < true < gain
    assert true - lasting < gain - true


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(3, gain=0.05, standard_error=0.02, lasting_gain=0.03), 3),
        (Choice(3, gain=0.021, standard_error=0.02, lasting_gain=0.001), 3),
        (Choice(3, gain=0.02, standard_error=0.02, lasting_gain=0.01), 0),
        (Choice(3, gain=0.05, standard_error=0.02, lasting_gain=0.0), 0),
        (Choice(0, gain=0.0, standard_error=0.0, lasting_gain=-0.01), 0),
    ],
)
def test_the_given_settings_stay_unless_another_trial_is_clearly_better(choice: Choice, expected: int) -> None:
    assert choice.chosen == expected


def test_the_same_seed_gives_the_same_choice() -> None:
    truth, answers = world(4, 80, [0.0, 0.2, 0.4])
    assert chosen(truth, answers) == chosen(truth, answers)
    assert chosen(truth, answers) != chosen(truth, answers, seed=1)
