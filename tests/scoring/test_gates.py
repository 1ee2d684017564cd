import pytest
from synthetic_predictions import make_predictions
from synthetic_training import make_lines, make_run

from pipeline.errors import PipelineError
from pipeline.scoring.evaluation import score
from pipeline.scoring.gates import check, parse, value_at
from pipeline.scoring.sections import Evidence

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


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("macro_f2", "(did you mean macro_f1?)"),
        ("recal.Negative", "(did you mean recall?)"),
        ("recall.negative.low", "got 'negative' (did you mean Negative?)"),
        ("recall.v1.1.low", "got 'v1.1' (did you mean v1.0?)"),
        ("recall", "got 'no class'"),
        ("recall.Negative.mid", "one of the classes Negative, v1.0, Positive, got"),
    ],
)
def test_a_path_that_can_lead_nowhere_is_refused_before_anything_is_scored(path: str, hint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        check(parse(["macro_f1 > 0", f"{path} >= 0.4"]), LABELS)
    assert f"--require '{path} >= 0.4': expected" in str(caught.value)
    assert hint in str(caught.value)


def test_every_path_to_a_number_passes() -> None:
    def paths(value: object, at: str) -> list[str]:
        if isinstance(value, dict):
            return [path for key, inner in value.items() for path in paths(inner, f"{at}.{key}".removeprefix("."))]
        return [at] if isinstance(value, int | float) and not isinstance(value, bool) else []

    counts = {split: dict.fromkeys(LABELS, 9) for split in ("train", "val", "test")}
    rows = make_predictions(60, labels=LABELS)
    validation = [{**{key: row[key] for key in ("id", "group", "label")}, **row["systems"]["tuned"]} for row in rows]
    board = {"costs": {"tuned": None}, "published": None}
    evidence = Evidence(
        validation=validation,
        data={"classes": counts},
        board=board,
        seeds=[{"tuned": 1, "tfidf": 2}],
        levers={"tuned": {"a": "1"}},
        training=make_lines(labels=LABELS),
        run=make_run(),
    )
    metrics = score(rows, labels=LABELS, ordered=True, evidence=evidence)
    top = paths(metrics, "")
    assert {path.partition(".")[0] for path in top} >= {"training", "priors", "ranking", "levers"}
    check(parse([f"{path} >= 0" for path in (*top, *paths(metrics["systems"]["tuned"], ""))]), LABELS)
    check(
        parse([f"{name}.{label}{end} > 0" for name in ("recall", "f2") for label in LABELS for end in ("", ".low")]),
        LABELS,
    )
