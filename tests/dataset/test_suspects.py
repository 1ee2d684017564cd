import csv
import io

import numpy as np
import pytest
from wordy import LABELS, alone, examples_of, texts_of, word_model

from pipeline.dataset.held_out import HeldOut, held_out
from pipeline.dataset.records import Example
from pipeline.dataset.suspects import find_suspects


def answers(given: list[int], probabilities: list[list[float]]) -> HeldOut:
    examples = [Example(str(i), "=1+1 rally", LABELS[c]) for i, c in enumerate(given, start=1)]
    return HeldOut(examples, LABELS, np.array(given), np.arange(len(given)), np.array(probabilities), 5)


@pytest.mark.parametrize("weights", [[0.4, 0.3, 0.3], [0.8, 0.1, 0.1]])
def test_planted_wrong_labels_come_first(weights: list[float]) -> None:
    rng = np.random.default_rng(1)
    true = rng.choice(3, 1_000, p=weights)
    flipped = rng.random(1_000) < 0.08
    given = np.where(flipped, (true + rng.integers(1, 3, 1_000)) % 3, true).tolist()
    examples = examples_of(texts_of(true.tolist(), seed=1, telling=2), given)
    found = held_out(examples, alone(examples), LABELS, word_model(), seed=1)
    assert found is not None
    suspects = find_suspects(found)
    wrong = {example.id for example, is_wrong in zip(examples, flipped, strict=True) if is_wrong}
    top = [suspect.example.id for suspect in suspects.listed[:40]]
    assert sum(name in wrong for name in top) >= 38  # of 40, where 3 are to be expected by chance
    listed = {suspect.example.id for suspect in suspects.listed}
    assert len(listed & wrong) >= 0.65 * len(wrong)
    corrected = {suspect.example.id: suspect.suggested for suspect in suspects.listed}
    right = [corrected[e.id] == LABELS[c] for e, c in zip(examples, true, strict=True) if e.id in listed & wrong]
    assert np.mean(right) > 0.95


def test_clean_labels_give_a_short_list() -> None:
    classes = np.random.default_rng(2).integers(0, 3, 600).tolist()
    examples = examples_of(texts_of(classes, seed=2), classes)
    found = held_out(examples, alone(examples), LABELS, word_model(), seed=1)
    assert found is not None
    assert find_suspects(found).found < 12


def test_confident_joint_by_hand() -> None:
    # Mean probabilities of the own label, the thresholds: Down (0.8 + 0.6 + 0.1) / 3 = 0.5, Flat 0.5, Up 0.6.
    rows = [
        (0, [0.8, 0.1, 0.1]),
        (0, [0.6, 0.3, 0.1]),
        (0, [0.1, 0.3, 0.6]),  # reaches Up alone: suspect
        (1, [0.5, 0.5, 0.0]),  # reaches both; the first, Down, is taken: suspect
        (2, [0.45, 0.05, 0.5]),  # reaches none, so nothing can be said
        (2, [0.2, 0.1, 0.7]),
    ]
    suspects = find_suspects(answers([c for c, _ in rows], [p for _, p in rows]))
    told = [(s.example.id, s.example.label, s.suggested, s.probability) for s in suspects.listed]
    assert told == [("3", "Down", "Up", 0.1), ("4", "Flat", "Down", 0.5)]
    assert suspects.to_json() == {"n_listed": 2, "n_found": 2, "searched": 6, "file": "suspects.csv"}


def test_a_class_that_is_always_doubted_is_not_suspected_for_it() -> None:
    # All Flat rows look like Down to the model, but no more than the true Down rows do.
    rows = [[0.9, 0.05, 0.05]] * 5 + [[0.6, 0.35, 0.05]] * 5 + [[0.0, 0.0, 1.0]] * 5
    assert find_suspects(answers([0] * 5 + [1] * 5 + [2] * 5, rows)).found == 0


def test_the_list_is_cut_after_the_most_doubtful() -> None:
    given = [0] * 50 + [1] * 50 + [2] * 50
    sure = np.eye(3)[given] * 0.9 + 0.1 / 3
    sure[:10] = [[0.04 - i / 1000, 0.96 + i / 1000, 0.0] for i in range(10)]
    suspects = find_suspects(answers(given, sure.tolist()), most=3)
    assert [suspect.example.id for suspect in suspects.listed] == ["10", "9", "8"]
    assert suspects.to_json() == {"n_listed": 3, "n_found": 10, "searched": 150, "file": "suspects.csv"}


def test_csv_holds_no_formula() -> None:
    content = find_suspects(answers([0, 0, 1, 2], [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])).to_csv()
    header, row = csv.reader(io.StringIO(content.removeprefix("\ufeff")))
    assert header == ["id", "label", "suggested", "probability_of_label", "text"]
    assert row == ["2", "Down", "Flat", "0.0", "'=1+1 rally"]
