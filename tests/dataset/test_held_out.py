import numpy as np
import pytest
from wordy import LABELS, alone, examples_of, texts_of, word_model

from pipeline.dataset.held_out import held_out
from pipeline.dataset.records import Example
from pipeline.dataset.splitting import split


def test_answers_come_from_models_that_have_not_seen_the_group() -> None:
    classes = [i % 3 for i in range(150)]
    texts = texts_of(classes, seed=1)
    # Every text stands twice with two labels. A model that had seen the copy would give the copy's label.
    examples = examples_of(texts + texts, classes + [(c + 1) % 3 for c in classes])
    groups = {example.id: i % 150 for i, example in enumerate(examples)}
    found = held_out(examples, groups, LABELS, word_model(), seed=1)
    assert found is not None
    assert np.array_equal(found.probabilities[:150], found.probabilities[150:])
    leaky = held_out(examples, alone(examples), LABELS, word_model(), seed=1)
    assert leaky is not None
    assert not np.array_equal(leaky.probabilities[:150], leaky.probabilities[150:])


def test_probabilities_are_those_of_the_model_fitted_on_the_other_folds() -> None:
    classes = [i % 3 for i in range(90)]
    texts = texts_of(classes, seed=2)
    examples = examples_of(texts, classes)
    found = held_out(examples, alone(examples), LABELS, word_model(), seed=3)
    assert found is not None
    assert (found.folds, found.probabilities.shape) == (5, (90, 3))
    assert found.probabilities.sum(axis=1) == pytest.approx(1)
    features, classifier = word_model()
    X = features.fit_transform(texts)
    shares = {f"fold {i}": 0.2 for i in range(5)}
    for part in split(examples, alone(examples), labels=LABELS, shares=shares, seed=3).values():
        test = np.isin([example.id for example in examples], [example.id for example in part])
        expected = classifier.fit(X[~test], np.array(classes)[~test]).predict_proba(X[test])
        assert found.probabilities[test] == pytest.approx(expected)


def test_large_sets_are_sampled_with_their_classes_in_proportion() -> None:
    classes = [0] * 300 + [1] * 100 + [2] * 200
    examples = examples_of(texts_of(classes, seed=1), classes)
    found = held_out(examples, alone(examples), LABELS, word_model(), seed=1, most=120)
    assert found is not None
    assert np.bincount(found.given).tolist() == [60, 20, 40]
    assert [example.label for example in found.examples] == [LABELS[i] for i in found.given]


def test_fewer_groups_make_fewer_folds_or_none() -> None:
    classes = [0] * 30 + [1] * 30 + [2] * 3
    examples = examples_of(texts_of(classes, seed=1), classes)
    found = held_out(examples, alone(examples), LABELS, word_model(), seed=1)
    assert found is not None
    assert found.folds == 3
    in_one_group = {example.id: 99 if example.label == "Up" else i for i, example in enumerate(examples)}
    assert held_out(examples, in_one_group, LABELS, word_model(), seed=1) is None
    assert held_out(examples[:60], alone(examples), LABELS, word_model(), seed=1) is None


def test_texts_without_words_cannot_be_learnt() -> None:
    examples = [Example(str(i), "\U0001f680" * (i + 1), LABELS[i % 3]) for i in range(30)]
    assert held_out(examples, alone(examples), LABELS, word_model(), seed=1) is None
