import copy
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef
from synthetic_predictions import LABELS, make_predictions

from pipeline.errors import PipelineError
from pipeline.scoring.evaluation import score
from pipeline.scoring.report import render


def numbers(value: object) -> list[float]:
    """Every number in nested JSON."""
    if isinstance(value, dict):
        return [n for inner in value.values() for n in numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in numbers(inner)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return make_predictions(300)


@pytest.fixture(scope="module")
def metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return score(rows, labels=LABELS)


def test_point_values_agree_with_scikit_learn(rows: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    y_true = [row["label"] for row in rows]
    for system, reading in (("tuned", "generate"), ("untuned", "loglikelihood"), ("tfidf", "predicted")):
        y_pred = [row["systems"][system][reading] or "unparsed" for row in rows]
        scores = metrics["systems"][system]
        assert scores["reading"] == reading
        oracle = f1_score(y_true, y_pred, labels=list(LABELS), average="macro", zero_division=0)
        assert scores["macro_f1"]["value"] == pytest.approx(oracle, abs=1e-12)
        assert scores["mcc"]["value"] == pytest.approx(matthews_corrcoef(y_true, y_pred), abs=1e-12)


def test_rates_are_counted_by_hand(rows: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    for system in ("tuned", "untuned"):
        answers = [row["systems"][system] for row in rows]
        scores = metrics["systems"][system]
        assert scores["unparsed_rate"] == sum(a["generate"] is None for a in answers) / 300
        assert scores["disagreement_rate"] == sum(a["generate"] != a["loglikelihood"] for a in answers) / 300
        mass = [sum(np.exp(list(a["log_likelihoods"].values()))) for a in answers]
        assert scores["label_mass"] == pytest.approx({"mean": np.mean(mass), "min": min(mass)})
        assert scores["readings"]["generate"]["accuracy"]["value"] == (
            sum(a["generate"] == row["label"] for a, row in zip(answers, rows, strict=True)) / 300
        )


def test_every_value_lies_in_its_interval_and_nothing_is_nan(metrics: dict[str, Any]) -> None:
    json.dumps(metrics, allow_nan=False)
    for scores in metrics["systems"].values():
        for entry in (scores[m] for m in ("accuracy", "balanced_accuracy", "macro_f1", "mcc")):
            assert entry["low"] <= entry["value"] <= entry["high"]
        for entry in scores["per_class"].values():
            for name, interval in entry["intervals"].items():
                assert 0 <= interval["low"] <= entry[name] <= interval["high"] <= 1


def test_the_confusion_matrix_holds_every_row(metrics: dict[str, Any]) -> None:
    confusion = metrics["confusion"]
    assert confusion == metrics["systems"]["tuned"]["confusion"]
    assert confusion["columns"] == [*LABELS, "unparsed"]
    assert dict(zip(LABELS, (sum(row) for row in confusion["matrix"]), strict=True)) == metrics["rows"]["support"]


def test_the_order_of_rows_changes_nothing(rows: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert json.dumps(score(shuffled, labels=LABELS)) == json.dumps(metrics)


def test_the_input_stays_as_it_was(rows: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(rows[:20])
    score(rows[:20], labels=LABELS)
    assert rows[:20] == before


def test_a_permutation_of_the_labels_only_reorders() -> None:
    rows = make_predictions(120)
    one, two = score(rows, labels=LABELS), score(rows, labels=LABELS[::-1])
    for system in one["systems"]:
        assert one["systems"][system]["macro_f1"]["value"] == pytest.approx(two["systems"][system]["macro_f1"]["value"])
    assert one["comparisons"][0]["p_value"] == two["comparisons"][0]["p_value"]


def test_groups_widen_the_intervals() -> None:
    alone = make_predictions(80)
    grouped = [{**row, "id": f"{row['id']}-{copy}"} for row in alone for copy in range(4)]
    pretended = [{**row, "group": i} for i, row in enumerate(grouped)]
    wide, narrow = score(grouped, labels=LABELS), score(pretended, labels=LABELS)
    assert wide["rows"] == {**narrow["rows"], "groups": 80}
    assert wide["intervals"]["proportions"] == "bootstrap over groups"
    assert narrow["intervals"]["proportions"] == "Wilson"
    for metric in ("accuracy", "macro_f1"):
        widths = [m["systems"]["tuned"][metric]["high"] - m["systems"]["tuned"][metric]["low"] for m in (wide, narrow)]
        assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)
    by_name = {(c["b"], c["metric"]): c for c in wide["comparisons"]}
    assert by_name["tfidf", "accuracy"]["test"] == "permutation over groups"
    assert by_name["tfidf", "accuracy"]["p_value"] > next(
        c["p_value"] for c in narrow["comparisons"] if (c["b"], c["metric"]) == ("tfidf", "accuracy")
    )


def test_absent_systems_are_not_scored() -> None:
    rows = make_predictions(60, skill={"tuned": 0.8, "tfidf": 0.5})
    for row in rows:
        del row["systems"]["majority"]
    metrics = score(rows, labels=LABELS)
    assert list(metrics["systems"]) == ["tuned", "tfidf"]
    assert [c["b"] for c in metrics["comparisons"]] == ["tfidf", "tfidf"]


def _all(generate: Callable[[str], str | None]) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        row["systems"]["tuned"]["generate"] = generate(row["label"])

    return change


def _only_negative(row: dict[str, Any]) -> None:
    row["label"] = "Negative"


DEGENERATE: dict[str, tuple[int, Callable[[dict[str, Any]], None], int]] = {
    "one row": (1, lambda row: None, 1),
    "one row, right": (1, _all(lambda label: label), 1),
    "one group": (12, lambda row: None, 12),
    "one class": (30, _only_negative, 1),
    "all unparsed": (30, _all(lambda label: None), 1),
    "all right": (30, _all(lambda label: label), 1),
    "all right in groups": (30, _all(lambda label: label), 3),
    "all wrong": (30, _all(lambda label: LABELS[LABELS.index(label) - 1]), 1),
    "constant": (30, _all(lambda label: "Neutral"), 1),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_predictions_are_scored_and_rendered(case: str) -> None:
    n, change, group_size = DEGENERATE[case]
    rows = make_predictions(n, group_size=group_size)
    for row in rows:
        change(row)
    metrics = score(rows, labels=LABELS)
    assert np.isfinite(numbers(metrics)).all()
    json.dumps(metrics, allow_nan=False)
    interval = metrics["systems"]["tuned"]["accuracy"]
    assert interval["low"] < interval["high"]
    assert "nan" not in render(metrics, rows, {}).lower().replace("nance", "")


def test_one_group_says_nothing() -> None:
    tuned = score(make_predictions(12, group_size=12), labels=LABELS)["systems"]["tuned"]
    assert (tuned["macro_f1"]["low"], tuned["macro_f1"]["high"]) == (0, 1)
    assert (tuned["mcc"]["low"], tuned["mcc"]["high"]) == (-1, 1)


@pytest.mark.parametrize("labels", [tuple(f"class {i}" for i in range(20)), ("<b>", "$a_$", "نعم")])
def test_many_and_odd_labels(labels: tuple[str, ...]) -> None:
    rows = make_predictions(90, labels=labels)
    metrics = score(rows, labels=labels)
    assert np.isfinite(numbers(metrics)).all()
    assert "<b>" not in render(metrics, rows, {})


BAD: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("'label' is missing", lambda row: row.pop("label")),
    ("'group' is missing", lambda row: row.pop("group")),
    ("tuned: the key 'completion' is missing", lambda row: row["systems"]["tuned"].pop("completion")),
    ("tfidf: the key 'predicted' is missing", lambda row: row["systems"]["tfidf"].pop("predicted")),
    ("expected the systems of line 1", lambda row: row["systems"].pop("tfidf")),
    ("label must be one of", lambda row: row.update(label="Bullish")),
    ("generate must be null or one of", lambda row: row["systems"]["tuned"].update(generate="Bullish")),
    ("id must be of type str", lambda row: row.update(id=3)),
    ("'0' stands there twice", lambda row: row.update(id="0")),
    ("a number for each of", lambda row: row["systems"]["untuned"]["log_likelihoods"].pop("Neutral")),
    ("logarithm of a probability", lambda row: row["systems"]["tuned"]["log_likelihoods"].update(Neutral=0.5)),
    ("logarithm of a probability", lambda row: row["systems"]["tuned"]["log_likelihoods"].update(Neutral=float("nan"))),
]


@pytest.mark.parametrize(("message", "spoil"), BAD)
def test_a_bad_row_is_named_by_its_line(message: str, spoil: Callable[[dict[str, Any]], object]) -> None:
    rows = make_predictions(4)
    spoil(rows[2])
    with pytest.raises(PipelineError, match=r"^predictions, line 3") as error:
        score(rows, labels=LABELS)
    assert message in str(error.value)


def test_no_rows_and_no_tuned_model_are_refused() -> None:
    with pytest.raises(PipelineError, match="at least one test row"):
        score([], labels=LABELS)
    rows = make_predictions(3)
    for row in rows:
        del row["systems"]["tuned"]
    with pytest.raises(PipelineError, match="'tuned'"):
        score(rows, labels=LABELS)


def test_2400_rows_of_four_systems_take_less_than_15_seconds() -> None:
    rows = make_predictions(2400)
    start = time.process_time()
    score(rows, labels=LABELS)
    assert time.process_time() - start < 15
