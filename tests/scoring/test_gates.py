import pytest
from synthetic_predictions import make_predictions

from pipeline.errors import PipelineError
from pipeline.scoring.evaluation import score
from pipeline.scoring.gates import parse, value_at

LABELS = ("Negative", "v1.0", "Positive")
METRICS = score(make_predictions(200, labels=LABELS), labels=LABELS)
TUNED = METRICS["systems"]["tuned"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("macro_f1", TUNED["macro_f1"]["value"]),
        ("macro_f1.low", TUNED["macro_f1"]["low"]),
        ("unparsed_rate", TUNED["unparsed_rate"]),
        ("recall.Negative", TUNED["per_class"]["Negative"]["recall"]),
        ("recall.v1.0.low", TUNED["per_class"]["v1.0"]["intervals"]["recall"]["low"]),
        ("f1.v1.0", TUNED["per_class"]["v1.0"]["f1"]),
        ("systems.tfidf.mcc.high", METRICS["systems"]["tfidf"]["mcc"]["high"]),
        ("rows.n", 200.0),
    ],
)
def test_paths_lead_to_the_numbers_of_metrics_json(path: str, value: float) -> None:
    assert value_at(METRICS, path) == value


@pytest.mark.parametrize(
    "path", ["macro", "recall", "recall.Bearish", "macro_f1.mid", "verdict", "systems.tuned", "rows.n.n"]
)
def test_a_path_to_no_number_is_refused(path: str) -> None:
    with pytest.raises(PipelineError, match=r"--require: expected a number of metrics\.json, got"):
        value_at(METRICS, path)


def test_what_is_not_defined_meets_nothing() -> None:
    [required] = parse(["x.y >= 0"])
    assert required.unmet({**METRICS, "x": {"y": None}}) == "x.y is not defined, not >= 0"


def test_bounds_hold_as_written() -> None:
    value = TUNED["accuracy"]["value"]
    for sign, met in ((">=", True), ("<=", True), (">", False), ("<", False)):
        [required] = parse([f" accuracy{sign}{value!r} "])
        assert (required.unmet(METRICS) is None) == met
    [required] = parse(["accuracy > 1e0"])
    assert required.unmet(METRICS) == f"accuracy is {value:.4f}, not > 1"


@pytest.mark.parametrize(
    "text", ["", "macro_f1", "macro_f1 = 0.5", ">= 0.5", "macro_f1 >= high", "macro_f1 >= 0.5 and more"]
)
def test_a_requirement_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match=r"--require .*expected a number of metrics\.json, >=, <=, > or <"):
        parse([text])
