import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from pipeline.scoring.baselines import predict_baselines, predict_embeddings

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


def made_up_vectors(seed: int, n: int, noise: float) -> tuple[np.ndarray, list[str]]:
    """Points around a centre for each class, the rare class first; the coordinates have very different scales."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.1, 0.3, 0.6])
    centres = np.random.default_rng(99).normal(0, 1, (3, 12))
    return (centres[y] + rng.normal(0, noise, (n, 12))) * np.logspace(-3, 3, 12), [LABELS[c] for c in y]


def test_embeddings_get_a_regression_whose_strength_validation_chooses() -> None:
    parts = {
        name: made_up_vectors(seed, n, 1.6) for seed, (name, n) in enumerate((("train", 90), ("val", 60), ("test", 80)))
    }
    vectors = {name: part[0] for name, part in parts.items()}
    labels = {name: part[1] for name, part in parts.items()}
    found = predict_embeddings(vectors, labels, labels_in_order=LABELS, seed=0)
    mean, scale = vectors["train"].mean(axis=0), vectors["train"].std(axis=0)
    fitted = [
        LogisticRegression(C=c, class_weight="balanced", max_iter=2_000).fit(
            (vectors["train"] - mean) / scale, labels["train"]
        )
        for c in (0.0003, 0.003, 0.03, 0.3)
    ]
    scores = [
        f1_score(labels["val"], model.predict((vectors["val"] - mean) / scale), average="macro") for model in fitted
    ]
    best = fitted[int(np.argmax(scores))]
    assert len({round(score, 3) for score in scores}) > 1
    assert [row["predicted"] for row in found] == best.predict((vectors["test"] - mean) / scale).tolist()
    probabilities = [[row["probabilities"][label] for label in LABELS] for row in found]
    assert probabilities == pytest.approx(best.predict_proba((vectors["test"] - mean) / scale), abs=1e-6)


def test_embeddings_never_see_the_labels_of_the_test() -> None:
    parts = {name: made_up_vectors(seed, 60, 1.0) for seed, name in enumerate(("train", "val", "test"))}
    vectors = {name: part[0] for name, part in parts.items()}
    labels = {name: part[1] for name, part in parts.items()}
    known = predict_embeddings(vectors, labels, labels_in_order=LABELS, seed=0)
    assert predict_embeddings(vectors, {**labels, "test": []}, labels_in_order=LABELS, seed=0) == known


def test_embeddings_of_one_class_or_without_validation() -> None:
    vectors = {name: made_up_vectors(0, 20, 1.0)[0] for name in ("train", "val", "test")}
    one = predict_embeddings(vectors, dict.fromkeys(vectors, ["Neutral"] * 20), labels_in_order=LABELS, seed=0)
    assert {row["predicted"] for row in one} == {"Neutral"}
    labels = {"train": made_up_vectors(0, 20, 1.0)[1], "val": [], "test": []}
    assert len(predict_embeddings({**vectors, "val": vectors["val"][:0]}, labels, labels_in_order=LABELS, seed=0)) == 20
