"""The section on rare classes: its numbers against plain counting, its page whatever the labels, and its edges."""

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import html5lib
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_recall_fscore_support
from synthetic_confidence import LABELS, make_answers
from synthetic_predictions import make_predictions

from pipeline.scoring import page
from pipeline.scoring.adjustment import fit_tau
from pipeline.scoring.adjustment_effect import adjustment
from pipeline.scoring.confidence import Answers
from pipeline.scoring.evaluation import score
from pipeline.scoring.findings import findings
from pipeline.scoring.gallery import gallery
from pipeline.scoring.sections import Evidence

HOSTILE = ("<script>alert(1)</script>", '"><svg onload=alert(1)>', "{{ 7 * 7 }}\u202e</details></section>")
SHARES = np.array([0.1, 0.3, 0.6])
TEMPLATE = page.environment().get_template("report_adjustment.html")


def shy(n: int, *, seed: int = 0, k: int = 3, copies: int = 1) -> Answers:
    """Answers whose first class gets far less than its due, as much as an adjustment can give back."""
    answers = make_answers(n, k=k, seed=seed, copies=copies)
    shares = np.arange(1, k + 1) / sum(range(1, k + 1)) if k != 3 else SHARES
    return replace(answers, log_likelihoods=answers.log_likelihoods + np.log(shares))


def found_in(test: Answers, validation: Answers, labels: tuple[str, ...] = LABELS, **options: Any) -> dict[str, Any]:
    found = adjustment(test, validation, labels, **{"shares": SHARES, **options})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def render(found: dict[str, Any] | None) -> str:
    return TEMPLATE.render(metrics={} if found is None else {"adjustment": found, "candidate": "tuned"})


def words(html: str) -> str:
    return " ".join("".join(html5lib.parse(html, namespaceHTMLElements=False).itertext()).split())


def tags(html: str) -> Counter[str]:
    return Counter(str(e.tag) for e in html5lib.parse(html, namespaceHTMLElements=False).iter())


def numbers(value: object) -> set[float]:
    if isinstance(value, dict):
        return {n for inner in value.values() for n in numbers(inner)}
    if isinstance(value, list):
        return {n for inner in value for n in numbers(inner)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return found_in(shy(400), shy(300, seed=9))


def test_the_test_is_read_with_the_offsets_of_validation(found: dict[str, Any]) -> None:
    test, validation = shy(400), shy(300, seed=9)
    fitted = fit_tau(validation.log_likelihoods, validation.y_true, validation.groups, SHARES)
    assert fitted is not None
    assert {key: found["fitted"][key] for key in fitted} == fitted
    assert fitted["tau"] > 0
    added = np.array(list(found["fitted"]["offsets"].values()))
    assert added == pytest.approx([-fitted["tau"] * np.log(share) for share in SHARES])
    assert found["train"] == dict(zip(LABELS, SHARES, strict=True))
    readings = {
        "before": test.log_likelihoods.argmax(axis=1),
        "after": (test.log_likelihoods + added).argmax(axis=1),
    }
    assert found["test"]["flips"]["value"] == np.mean(readings["before"] != readings["after"])
    for name, answers in readings.items():
        given = found["test"][name]
        per_class = precision_recall_fscore_support(test.y_true, answers, labels=[0, 1, 2])
        for c, label in enumerate(LABELS):
            scores = given["classes"][label]
            assert [scores[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx(
                [per_class[i][c] for i in range(3)]
            )
            assert (scores["support"], scores["predicted"]) == (per_class[3][c], (answers == c).sum())
        assert given["macro_f1"]["value"] == pytest.approx(f1_score(test.y_true, answers, average="macro"))
        assert given["accuracy"]["value"] == pytest.approx(accuracy_score(test.y_true, answers))
        assert given["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(test.y_true, answers))
    before, after, difference = (found["test"][name] for name in ("before", "after", "difference"))
    assert difference["value"] == pytest.approx(after["macro_f1"]["value"] - before["macro_f1"]["value"])
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    assert difference["distinguishable"]
    assert after["classes"]["Negative"]["recall"]["low"] > before["classes"]["Negative"]["recall"]["high"]


def test_the_intervals_are_those_of_a_bootstrap_of_their_own(found: dict[str, Any]) -> None:
    test, rng = shy(400), np.random.default_rng(0)
    added = np.array(list(found["fitted"]["offsets"].values()))
    draws: dict[str, list[Any]] = {"before": [], "after": []}
    for _ in range(400):
        rows = rng.integers(0, 400, 400)
        for name, offset in (("before", 0.0 * added), ("after", added)):
            answers = (test.log_likelihoods[rows] + offset).argmax(axis=1)
            draws[name].append(f1_score(test.y_true[rows], answers, average=None))
    drawn = {name: np.array(values) for name, values in draws.items()}
    for name in ("before", "after"):
        given = found["test"][name]
        for c, label in enumerate(LABELS):
            ends = np.quantile(drawn[name][:, c], [0.025, 0.975])
            assert [given["classes"][label]["f1"][end] for end in ("low", "high")] == pytest.approx(ends, abs=0.02)
        ends = np.quantile(drawn[name].mean(axis=1), [0.025, 0.975])
        assert [given["macro_f1"][end] for end in ("low", "high")] == pytest.approx(ends, abs=0.02)
    ends = np.quantile((drawn["after"] - drawn["before"]).mean(axis=1), [0.025, 0.975])
    assert [found["test"]["difference"][end] for end in ("low", "high")] == pytest.approx(ends, abs=0.02)


def test_the_strength_never_sees_the_test() -> None:
    validation = shy(200, seed=1)
    tests = [shy(150), make_answers(90, seed=7), shy(30, seed=8, copies=3)]
    assert len({json.dumps(found_in(test, validation)["fitted"]) for test in tests}) == 1


def test_the_order_of_the_rows_does_not_matter() -> None:
    test, validation = shy(120, copies=2), shy(80, seed=1)
    dumps = set()
    for seed in range(2):
        orders = [np.random.default_rng(seed).permutation(len(a.y_true)) for a in (test, validation)]
        shuffled = [
            Answers(a.log_likelihoods[o], a.y_true[o], a.predicted[o], a.groups[o])
            for a, o in zip((test, validation), orders, strict=True)
        ]
        dumps.add(json.dumps(found_in(shuffled[0], shuffled[1])))
    assert len(dumps) == 1
    assert json.dumps(found_in(test, validation, seed=1)) not in dumps


def test_where_no_adjustment_is_better_after_is_before() -> None:
    # Classes that were alike in number get equal offsets, which change no answer.
    found = found_in(make_answers(100), make_answers(300, seed=9), shares=np.full(3, 1 / 3))
    assert found["fitted"]["tau"] == found["fitted"]["best"] == 0
    assert set(found["fitted"]["offsets"].values()) == {0.0}
    assert found["test"]["after"] == found["test"]["before"]
    assert found["test"]["flips"]["value"] == 0
    difference = found["test"]["difference"]
    assert [difference[key] for key in ("value", "low", "high", "p_value")] == [0, 0, 0, 1]
    assert not difference["distinguishable"]
    said = words(render(found))
    assert "Fitted on 300 validation tweets: no adjustment was better." in said
    table = next(iter(html5lib.parse(render(found), namespaceHTMLElements=False).iter("table")))
    assert len(table.find("tbody")) == 4
    assert f"{found['test']['before']['classes']['Negative']['recall']['value']:.3f}" in said


def test_a_gain_within_luck_is_told_and_not_taken() -> None:
    for seed in range(40):
        found = found_in(make_answers(30), make_answers(60, seed=seed))
        if found["fitted"]["best"] != 0 and found["fitted"]["tau"] == 0:
            break
    fitted = found["fitted"]
    assert f"gains {fitted['gain']:.3f} of macro-F1 there; its error is {fitted['error']:.3f}." in found["sentence"]
    one_group = replace(make_answers(60, seed=seed), groups=np.zeros(60, dtype=np.int64))
    assert "of one group it has no error." in found_in(make_answers(30), one_group)["sentence"]


@pytest.mark.parametrize(
    ("validation", "options"),
    [(shy(19), {}), (replace(shy(40), y_true=np.zeros(40, dtype=np.int64)), {}), (shy(60), {"shares": None})],
    ids=["few rows", "one class", "shares not known"],
)
def test_what_settles_nothing_is_said(validation: Answers, options: dict[str, Any]) -> None:
    found = found_in(shy(50), validation, **options)
    assert (found["fitted"], found["test"]) == (None, None)
    said = words(render(found))
    assert f"No adjustment could be fitted on {len(validation.y_true)} validation tweets" in said


@pytest.mark.parametrize(
    "test",
    [
        shy(1),
        shy(1, copies=3),
        replace(shy(40), y_true=np.full(40, 2)),
        replace(shy(40), log_likelihoods=np.full((40, 3), -1.2)),
        replace(shy(40), log_likelihoods=shy(40).log_likelihoods * 400),
    ],
    ids=["one row", "one group", "one class", "constant", "extreme"],
)
def test_degenerate_test_rows_give_plain_json_and_a_page(test: Answers) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = found_in(test, shy(300, seed=9))
    assert found["fitted"]["tau"] > 0
    assert "nan" not in words(render(found)).lower().split()
    for name in ("before", "after"):
        for scores in found["test"][name]["classes"].values():
            assert (scores["recall"] is None) == (scores["f1"] is None) == (scores["support"] == 0)
            assert (scores["precision"] is None) == (scores["predicted"] == 0)
    if len(set(test.groups)) == 1:
        assert [found["test"]["difference"][end] for end in ("low", "high")] == [-1, 1]
        assert found["test"]["after"]["macro_f1"]["high"] == 1


@pytest.mark.parametrize("k", [2, 20])
def test_two_and_twenty_classes(k: int) -> None:
    labels = tuple(f"class {c}" for c in range(k))
    shares = np.arange(1, k + 1) / sum(range(1, k + 1))
    found = found_in(shy(200, k=k), shy(400, k=k, seed=1), labels, shares=shares)
    assert list(found["test"]["after"]["classes"]) == list(found["fitted"]["offsets"]) == list(labels)
    said = words(render(found))
    assert all(label in said for label in labels)


def test_hostile_labels_change_no_element() -> None:
    pages = [render(found_in(shy(60), shy(300, seed=9), labels)) for labels in (LABELS, HOSTILE)]
    assert tags(pages[0]) == tags(pages[1])
    assert "script" not in tags(pages[1])


def test_every_number_of_the_page_is_one_of_the_section(found: dict[str, Any]) -> None:
    known = numbers(found)
    html = render(found)
    shown = list(html5lib.parse(html, namespaceHTMLElements=False).iter("data"))
    assert len(shown) > 80
    for element in shown:
        value, text = float(element.get("value")), "".join(element.itertext())
        assert value in known, text
        displayed = float(re.sub(r"[^\d.-]", "", text.replace("−", "-")))
        assert displayed == pytest.approx(100 * value if "%" in text else value, abs=0.0501 if "%" in text else 0.00051)


def test_the_table_holds_the_right_number_in_the_right_place(found: dict[str, Any]) -> None:
    def estimate(s: dict[str, float]) -> str:
        return f"{s['value']:.3f}{s['low']:.3f} to {s['high']:.3f}"

    table = next(iter(html5lib.parse(render(found), namespaceHTMLElements=False).iter("table")))
    rows = [["".join(cell.itertext()) for cell in row] for row in table.find("tbody")]
    before, after = found["test"]["before"], found["test"]["after"]
    expected = []
    for label in LABELS:
        for offset, side in (("none", before), (f"{found['fitted']['offsets'][label]:+.3f}", after)):
            scores = side["classes"][label]
            shown = [estimate(scores[key]) for key in ("recall", "precision", "f1")]
            expected.append([label, str(scores["support"]), offset, *shown])
    for offset, side in (("none", before), ("all", after)):
        means = [estimate(side[key]) for key in ("balanced_accuracy", "macro_precision", "macro_f1")]
        expected.append(["Mean of the classes", "", offset, *means])
    assert rows == expected


def test_the_sentence_says_what_was_found(found: dict[str, Any]) -> None:
    before, after = (found["test"][name] for name in ("before", "after"))
    recall = [100 * side["classes"]["Negative"]["recall"]["value"] for side in (after, before)]
    for text in (
        f"With tau = {found['fitted']['tau']:g}, fitted on 300 validation tweets",
        f"is {after['macro_f1']['value']:.3f} instead of {before['macro_f1']['value']:.3f}",
        "p < 0.001), which is better.",
        f"Of Negative, the rarest class in training, it finds {recall[0]:.1f} % instead of {recall[1]:.1f} %",
    ):
        assert text in found["sentence"]
    # What helps on validation may harm on the test, and this is said as plainly.
    worse = found_in(make_answers(400), shy(300, seed=9))
    assert worse["test"]["difference"]["value"] < 0
    assert ("which is worse." if worse["test"]["difference"]["distinguishable"] else "not dist") in worse["sentence"]


def test_an_evaluation_has_the_section_where_a_model_answered_validation_rows() -> None:
    rows, others = make_predictions(150), make_predictions(90, seed=4)
    validation = [{**{key: row[key] for key in ("id", "group", "label")}, **row["systems"]["tuned"]} for row in others]
    counts = {"train": dict(zip(LABELS, (10, 30, 60), strict=True))}
    metrics = score(rows, labels=LABELS, evidence=Evidence(validation=validation, data={"classes": counts}))
    found = metrics["adjustment"]
    assert found["train"] == pytest.approx(dict(zip(LABELS, SHARES, strict=True)))
    reading = metrics["systems"]["tuned"]["readings"]["loglikelihood"]
    for name in ("macro_f1", "balanced_accuracy", "macro_precision", "accuracy"):
        assert found["test"]["before"][name]["value"] == pytest.approx(reading[name]["value"])
    assert found["test"]["before"]["macro_f1"] == pytest.approx(
        {key: reading["macro_f1"][key] for key in ("value", "low", "high")}, abs=0.01
    )
    # The headline is what it was.
    assert metrics["systems"] == score(rows, labels=LABELS, evidence=Evidence())["systems"]
    errors = gallery(rows, LABELS, "tuned", ordered=False)
    for best, said in ((0.0, "better."), (0.5, "better by more than luck may be.")):
        nothing = {**metrics, "adjustment": {**found, "fitted": {**found["fitted"], "tau": 0.0, "best": best}}}
        line = findings(nothing, errors)["adjustment"]
        assert line == f"Fitted on 90 validation tweets: no adjustment was {said}"
    shyer = {**metrics, "adjustment": found_in(shy(400), shy(300, seed=9))}
    line = findings(shyer, errors)["adjustment"]
    assert f"to {shyer['adjustment']['test']['after']['macro_f1']['value']:.3f}." in line
    nothing = {**metrics, "adjustment": found_in(shy(40), shy(19))}
    line = findings(nothing, errors)["adjustment"]
    assert line == "The validation tweets settle no adjustment."
    # No share of the train rows is known: nothing is fitted. No validation rows: nothing is said.
    assert score(rows, labels=LABELS, evidence=Evidence(validation=validation))["adjustment"]["fitted"] is None
    assert "adjustment" not in score(rows, labels=LABELS, evidence=Evidence())


def test_the_page_shows_nothing_without_the_section() -> None:
    assert render(None).strip() == ""
