import pytest
from sklearn.dummy import DummyClassifier

from pipeline.scoring.baselines import predict_baselines

LABELS = ("Negative", "Neutral", "Positive")
TRAIN = [
    ("what a terrible crash, I lost it all", "Negative"),
    ("terrible fees and a terrible exchange", "Negative"),
    ("bitcoin trades at 7000 dollars", "Neutral"),
    ("bitcoin trades at 9000 dollars today", "Neutral"),
    ("block 500 was mined", "Neutral"),
    ("love this rally 🚀", "Positive"),
    ("love it, wonderful gains 🚀", "Positive"),
]
TEXTS, CLASSES = [t for t, _ in TRAIN], [c for _, c in TRAIN]
TEST = ["terrible", "trades at 8000", "wonderful love", "🚀", "", "unseen zzz"]


def test_the_bag_of_words_learns_words_and_emoji() -> None:
    tfidf = predict_baselines(TEXTS, CLASSES, TEST, labels=LABELS, seed=0)["tfidf"]
    assert [row["predicted"] for row in tfidf[:4]] == ["Negative", "Neutral", "Positive", "Positive"]
    for row in tfidf:
        assert list(row["probabilities"]) == list(LABELS)
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["predicted"] == max(LABELS, key=row["probabilities"].__getitem__)


def test_majority_agrees_with_scikit_learn_and_breaks_ties_by_label_order() -> None:
    majority = predict_baselines(TEXTS, CLASSES, TEST, labels=LABELS, seed=0)["majority"]
    oracle = DummyClassifier(strategy="most_frequent").fit(TEXTS, CLASSES).predict(TEST)
    assert [row["predicted"] for row in majority] == oracle.tolist()
    tied = predict_baselines(["a b", "c d"], ["Positive", "Negative"], ["x"], labels=LABELS, seed=0)
    assert tied["majority"][0]["predicted"] == "Negative"


def test_the_same_seed_gives_the_same_answers_and_test_rows_do_not_touch_each_other() -> None:
    whole = predict_baselines(TEXTS, CLASSES, TEST, labels=LABELS, seed=3)
    assert whole == predict_baselines(TEXTS, CLASSES, TEST, labels=LABELS, seed=3)
    alone = predict_baselines(TEXTS, CLASSES, TEST[:1], labels=LABELS, seed=3)
    assert alone["tfidf"][0]["predicted"] == whole["tfidf"][0]["predicted"]
    assert alone["tfidf"][0]["probabilities"] == pytest.approx(whole["tfidf"][0]["probabilities"], abs=1e-12)


def test_classes_missing_from_the_train_rows_have_probability_zero() -> None:
    two = predict_baselines(TEXTS[:5], CLASSES[:5], TEST, labels=LABELS, seed=0)["tfidf"]
    assert {row["probabilities"]["Positive"] for row in two} == {0.0}
    one = predict_baselines(TEXTS[:2], CLASSES[:2], TEST, labels=LABELS, seed=0)["tfidf"]
    assert one[0] == {"predicted": "Negative", "probabilities": {"Negative": 1.0, "Neutral": 0.0, "Positive": 0.0}}


def test_no_test_rows_give_no_answers() -> None:
    assert predict_baselines(TEXTS, CLASSES, [], labels=LABELS, seed=0) == {"tfidf": [], "majority": []}
