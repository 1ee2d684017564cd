from typing import Any

import pytest
from synthetic_predictions import LABELS, make_predictions
from synthetic_training import make_lines, make_run

from pipeline.scoring.evaluation import score
from pipeline.scoring.sections import Evidence
from pipeline.scoring.verdict import at_start, name_of, number_text, signed_text, system_name, verdict


def _verdict(skill: dict[str, float], n: int = 400) -> tuple[str, list[str], dict[str, Any]]:
    metrics = score(make_predictions(n, skill=skill), labels=LABELS)
    assert (metrics["verdict_level"], metrics["verdict"]) == verdict(metrics)
    return metrics["verdict_level"], metrics["verdict"], metrics


def test_a_clear_win_is_better() -> None:
    level, sentences, _ = _verdict({"tuned": 0.9, "untuned": 0.3, "tfidf": 0.6})
    assert level == "better"
    assert sentences[0] == (
        "By macro-F1, the tuned model is better than every baseline: "
        "the untuned model, the TF-IDF classifier and the majority guess."
    )
    assert not any("not distinguishable" in sentence for sentence in sentences)


def test_a_loss_is_said_plainly() -> None:
    level, sentences, metrics = _verdict({"tuned": 0.4, "untuned": 0.3, "tfidf": 0.85})
    assert level == "worse"
    assert sentences[0].startswith("By macro-F1, the tuned model is worse than the TF-IDF classifier")
    loss = next(c for c in metrics["comparisons"] if (c["b"], c["metric"]) == ("tfidf", "macro_f1"))
    assert f"macro-F1 is {-loss['difference']:.3f} lower (95 % interval −" in " ".join(sentences)


def test_a_close_race_is_not_distinguishable() -> None:
    level, sentences, metrics = _verdict({"tuned": 0.66, "untuned": 0.3, "tfidf": 0.65})
    assert level == "mixed"
    assert "not distinguishable from the TF-IDF classifier" in sentences[0]
    assert "luck alone" in " ".join(sentences) or "undecided" in " ".join(sentences)
    for c in metrics["comparisons"]:
        assert c["distinguishable"] == (c["p_holm"] < 0.05 and not c["low"] <= 0 <= c["high"])


def test_the_smallest_class_the_unparsed_and_the_power_are_told() -> None:
    _, sentences, metrics = _verdict({"tuned": 0.7, "untuned": 0.3, "tfidf": 0.65})
    text = " ".join(sentences)
    tuned, label = metrics["systems"]["tuned"], metrics["smallest_class"]
    assert label == min(LABELS, key=metrics["rows"]["support"].__getitem__)
    interval = tuned["per_class"][label]["intervals"]["recall"]
    assert (
        f"smallest class, {label}, with {metrics['rows']['support'][label]} test tweets, the tuned model finds "
        f"{100 * tuned['per_class'][label]['recall']:.1f} % (95 % interval {100 * interval['low']:.1f} % to "
        f"{100 * interval['high']:.1f} %)"
    ) in text
    unparsed = sum(row[-1] for row in metrics["confusion"]["matrix"])
    assert f"{100 * tuned['unparsed_rate']:.1f} % of its answers ({unparsed} of 400;" in text
    strongest = next(c for c in metrics["comparisons"] if (c["b"], c["metric"]) == ("tfidf", "accuracy"))
    assert f"must be about {strongest['smallest_detectable']:.3f} to be found" in text


def test_a_win_in_macro_f1_that_loses_accuracy_is_mixed() -> None:
    metrics = score(make_predictions(400, skill={"tuned": 0.9, "untuned": 0.3, "tfidf": 0.5}), labels=LABELS)
    assert metrics["verdict_level"] == "better"
    for comparison in metrics["comparisons"]:
        if (comparison["b"], comparison["metric"]) == ("majority", "accuracy"):
            comparison.update(difference=-0.1, low=-0.15, high=-0.05, distinguishable=True)
    assert verdict(metrics)[0] == "mixed"


@pytest.mark.parametrize(
    ("n", "change", "sentence"),
    [
        (8, None, "With only 8 independent rows every interval is rough"),
        (40, "one class", "The test has no row of Neutral and Positive"),
        (40, "all right", "read the interval of accuracy"),
    ],
)
def test_cautions(n: int, change: str | None, sentence: str) -> None:
    rows = make_predictions(n)
    for row in rows:
        if change == "one class":
            row["label"] = "Negative"
        if change == "all right":
            row["systems"]["tuned"]["generate"] = row["label"]
    assert any(sentence in s for s in score(rows, labels=LABELS)["verdict"])


def test_without_a_baseline_nothing_is_claimed() -> None:
    rows = make_predictions(40, skill={"tuned": 0.9})
    for row in rows:
        del row["systems"]["majority"]
    metrics = score(rows, labels=LABELS)
    assert metrics["verdict_level"] == "mixed"
    assert "compared with no baseline" in metrics["verdict"][0]


def test_a_model_that_does_not_answer_is_told_what_to_do() -> None:
    rows = make_predictions(60)
    for row in rows:
        row["systems"]["tuned"] |= {"generate": None, "completion": "I think"}
    text = " ".join(score(rows, labels=LABELS)["verdict"])
    assert "100.0 % of its answers (60 of 60;" in text
    assert "they count as wrong. It has not learnt to answer with labels: train longer" in text


@pytest.mark.parametrize(("kind", "said"), [("machine_made", "imitation"), ("unlearnable", "unrelated to the texts")])
def test_labels_that_are_no_measure_of_sentiment_allow_no_praise(kind: str, said: str) -> None:
    rows = make_predictions(400, skill={"tuned": 0.9, "untuned": 0.3, "tfidf": 0.6})
    evidence = Evidence(data={"alarms": [{"kind": kind, "text": "x"}, {"kind": "campaign", "text": "y"}]})
    metrics = score(rows, labels=LABELS, evidence=evidence)
    assert metrics["verdict_level"] == "mixed"
    assert said in metrics["verdict"][0]
    assert "better than every baseline" in metrics["verdict"][1]


def test_the_best_of_several_is_told_to_be_picked() -> None:
    metrics = score(make_predictions(200), labels=LABELS, picked_from=4)
    assert any("picked as the best of 4 on these very rows" in sentence for sentence in metrics["verdict"])
    assert not any("picked" in sentence for sentence in score(make_predictions(200), labels=LABELS)["verdict"])


@pytest.mark.parametrize(
    ("system", "in_sentence", "in_table"),
    [
        ("tfidf", "the TF-IDF classifier", "TF-IDF classifier"),
        ("mine", "mine", "mine"),
        ("tfidf of mine", "the TF-IDF classifier of mine", "TF-IDF classifier of mine"),
        ("best of all", "best of all", "best of all"),
    ],
)
def test_a_baseline_has_words_and_what_a_user_named_keeps_its_name(
    system: str, in_sentence: str, in_table: str
) -> None:
    assert (name_of(system), system_name(system)) == (in_sentence, in_table)


def test_a_class_that_is_never_answered_is_named() -> None:
    rows = make_predictions(60)
    for row in rows:
        if row["systems"]["tuned"]["generate"] == "Neutral":
            row["systems"]["tuned"]["generate"] = "Positive"
    assert "The tuned model never answers Neutral." in score(rows, labels=LABELS)["verdict"]
    assert not any("never answers" in sentence for sentence in score(make_predictions(60), labels=LABELS)["verdict"])
    for row in rows:
        row["systems"] = {"mine": {"predicted": "Positive"}}
    assert "mine never answers Negative and Neutral." in score(rows, labels=LABELS, candidate="mine")["verdict"]


@pytest.mark.parametrize("scores", [(0.3, 0.6, 0.7, 0.8), (0.3, 0.6, 0.8, 0.8)])
def test_a_training_that_was_ended_while_it_got_better_is_told(scores: tuple[float, ...]) -> None:
    run = make_run(steps=400)
    run["config"]["epochs"] = 6.0
    evidence = Evidence(training=make_lines(scores, losses=(0.3,)), run=run)
    found = score(make_predictions(60), labels=LABELS, evidence=evidence)["verdict"]
    said = "Its training was ended by max_steps 400 while validation was still getting better: longer training"
    assert any(sentence.startswith(said) for sentence in found) == (scores[2] < scores[3])


@pytest.mark.parametrize(
    ("x", "signed", "plain"),
    [
        (-0.0004, "0.000", "0.000"),
        (-0.0006, "−0.001", "−0.001"),
        (0.0004, "+0.000", "0.000"),
        (0.25, "+0.250", "0.250"),
    ],
)
def test_no_zero_is_below_zero(x: float, signed: str, plain: str) -> None:
    assert (signed_text(x), number_text(x)) == (signed, plain)


def test_the_name_that_a_user_gave_keeps_its_letters_at_the_start_of_a_sentence() -> None:
    assert [at_start(name) for name in ("tfidf", "mine", "tfidf of mine")] == [
        "The TF-IDF classifier",
        "mine",
        "The TF-IDF classifier of mine",
    ]
