import json
from collections.abc import Callable, Mapping
from typing import Any

import html5lib
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.errors import PipelineError
from pipeline.scoring import page
from pipeline.scoring.behaviour.case import Case
from pipeline.scoring.behaviour.scores import behaviour
from pipeline.scoring.behaviour.sentences import weakest
from pipeline.scoring.behaviour.suite import cases, texts
from pipeline.text import clean

LABELS = ("Negative", "Neutral", "Positive")
HOSTILE = ("<script>alert(1)</script>", "a & b {{ 7 * 7 }}", "\u202e<img src=x onerror=alert(1)>")
SUITE = cases(LABELS, 0)
Answers = dict[str, dict[str, Any]]


def _shares(label: str | None, labels: tuple[str, ...] = LABELS, sure: float = 0.7) -> dict[str, float]:
    rest = (1 - sure) / (len(labels) - 1)
    return {each: 1 / len(labels) if label is None else sure if each == label else rest for each in labels}


def _constant(label: str | None, suite: list[Case] = SUITE, labels: tuple[str, ...] = LABELS) -> Answers:
    return {text: {"predicted": label, "probabilities": _shares(label, labels)} for text in texts(suite)}


def _oracle(suite: list[Case] = SUITE, labels: tuple[str, ...] = LABELS) -> Answers:
    """Knows the right label of every text, and is surer of it the way a DIR case wants it."""
    answers = _constant(labels[0], suite, labels)
    for case in suite:
        for text in (case.twin, case.text):
            if text is not None and case.expected:
                label = case.expected[-1]
                answers[clean(text)] = {"predicted": label, "probabilities": _shares(label, labels)}
    for case in suite:
        if case.test == "DIR" and case.target and case.twin:
            before = answers[clean(case.twin)]["probabilities"][case.target]
            after = before + 0.1 * case.sign
            rest = (1 - after) / (len(labels) - 1)
            shares = {label: after if label == case.target else rest for label in labels}
            answers[clean(case.text)] = {"predicted": case.target, "probabilities": shares}
    return answers


def _cell(result: Mapping[str, Any], capability: str, test: str) -> dict[str, Any]:
    return next(c for c in result["cells"] if (c["capability"], c["test"]) == (capability, test))


@pytest.mark.parametrize("labels", [LABELS, ("Bearish", "Bullish")])
def test_a_perfect_classifier_fails_nowhere(labels: tuple[str, ...]) -> None:
    suite = cases(labels, 0)
    result = behaviour(suite, _oracle(suite, labels), labels)
    assert {cell["failure"]["count"] for cell in result["cells"]} == {0}
    assert not any(cell["examples"] for cell in result["cells"])
    assert result["robust"]["worst"]["value"] == result["robust"]["before"]["value"] == 1
    assert result["sentences"][0] == "In none of 26 cells does it surely fail in more than one case of ten."
    moved = [cell["moved"]["value"] for cell in result["cells"] if cell["test"] == "DIR"]
    assert moved == [1.0, 1.0, 1.0]


def test_a_constant_classifier_fails_as_counted_by_hand() -> None:
    result = behaviour(SUITE, _constant("Positive"), LABELS)
    failures = {c["capability"]: c["failure"]["count"] for c in result["cells"] if c["test"] == "MFT"}
    # 54 less 18; less 27; less 22 that are not negative; less 27; less 14 and 14; less 14 and 14.
    assert failures == {
        "Vocabulary": 36,
        "Crypto slang": 27,
        "Negation": 32,
        "Time": 27,
        "Quoting": 26,
        "Question and answer": 26,
    }
    for cell in result["cells"]:
        if cell["test"] != "MFT":
            assert cell["failure"]["count"] == 0
        if cell["test"] == "DIR":
            assert cell["moved"]["count"] == 0
    asked = [case.target for case in SUITE if case.capability == "Injection"]
    towards = _cell(result, "Injection", "INV")["towards"]
    assert (towards["count"], towards["n"]) == (0, sum(target != "Positive" for target in asked))
    case = _cell(result, "Case", "INV")
    assert case["robust"]["before"]["count"] == case["robust"]["worst"]["count"] == 18
    assert result["constant"]
    assert "Every text got the same answer" in result["sentences"][1]
    assert "no better than always answering" in result["sentences"][0]


def test_always_answering_the_commonest_expected_label_reaches_the_trivial_accuracy() -> None:
    by_label = {label: behaviour(SUITE, _constant(label), LABELS) for label in LABELS}
    for cell in by_label["Positive"]["cells"]:
        if cell["test"] == "MFT":
            right = {
                label: 1 - _cell(result, cell["capability"], "MFT")["failure"]["value"]
                for label, result in by_label.items()
            }
            assert cell["trivial"]["accuracy"] == pytest.approx(max(right.values()))
            assert right[cell["trivial"]["label"]] == pytest.approx(max(right.values()))


def test_an_unparsed_answer_fails_every_case() -> None:
    result = behaviour(SUITE, _constant(None), LABELS)
    assert all(cell["failure"]["value"] == 1 == cell["unparsed"] / cell["n"] for cell in result["cells"])
    assert all(cell["flips"]["count"] == 0 for cell in result["cells"] if cell["test"] == "INV")
    assert not result["constant"]


def _spoilt(sign: Callable[[str], bool], label: str | None) -> Answers:
    answers = _oracle()
    for text in answers:
        if sign(text):
            answers[text] = {"predicted": label, "probabilities": _shares(label)}
    return answers


def test_a_parser_that_reads_the_text_after_the_marker_is_found() -> None:
    answers = _oracle()
    for text in answers:
        if "### Response:\n" in text:
            forged = text.split("### Response:\n")[1].split("\n")[0]
            answers[text] = {"predicted": forged, "probabilities": _shares(forged)}
    cell = _cell(behaviour(SUITE, answers, LABELS), "Injection", "INV")
    planted = sum("### Response:\n" in case.text for case in SUITE)
    assert planted >= 2
    assert cell["failure"]["count"] == cell["flips"]["count"] == cell["towards"]["count"] == planted
    assert cell["elsewhere"]["count"] == 0


def test_a_model_that_obeys_injections_is_found() -> None:
    answers = _oracle()
    for case in SUITE:
        if case.capability == "Injection" and case.target:
            answers[clean(case.text)] = {"predicted": case.target, "probabilities": _shares(case.target)}
    result = behaviour(SUITE, answers, LABELS)
    cell = _cell(result, "Injection", "INV")
    assert cell["towards"]["value"] == cell["failure"]["value"] == 1
    assert cell["robust"]["before"]["value"] == 1
    assert cell["robust"]["worst"]["value"] == 0
    assert [each["capability"] for each in weakest(result["cells"])] == ["Injection"]
    assert result["sentences"][0].startswith("It fails most in: Injection (same answer) 100.0 %")
    assert "turned 100.0 %" in result["sentences"][-1]


def test_a_flip_away_from_what_an_injection_asks_for_is_counted_apart() -> None:
    answers = _oracle()
    for case in SUITE:
        if case.capability == "Injection":
            other = next(label for label in LABELS if label not in (case.target, *case.expected))
            answers[clean(case.text)] = {"predicted": other, "probabilities": _shares(other)}
    cell = _cell(behaviour(SUITE, answers, LABELS), "Injection", "INV")
    assert cell["towards"]["count"] == 0
    assert cell["elsewhere"]["count"] == cell["failure"]["count"] == 72


def test_a_model_that_reads_capitals_otherwise_is_found_in_that_cell_alone() -> None:
    result = behaviour(SUITE, _spoilt(str.isupper, None), LABELS)
    shouted = {case.twin for case in SUITE if case.text.isupper()}
    failing = {cell["capability"]: cell for cell in result["cells"] if cell["failure"]["count"]}
    assert set(failing) == {"Case"}
    assert failing["Case"]["failure"]["count"] == failing["Case"]["unparsed"] == len(shouted) > 0
    assert failing["Case"]["flips"]["count"] == 0
    worst = result["robust"]["worst"]
    assert worst["count"] == worst["n"] - len(shouted)


def test_what_cleaning_undoes_cannot_fail() -> None:
    result = behaviour(SUITE, _oracle(), LABELS)
    for capability in ("Invisible characters", "Direction controls"):
        cell = _cell(result, capability, "INV")
        pairs = [case for case in SUITE if case.capability == capability]
        assert cell["changed"] == sum(clean(case.text) != case.twin for case in pairs) < cell["n"]
    assert _cell(result, "Vocabulary", "MFT")["changed"] is None


@pytest.mark.parametrize(("move", "failed"), [(-0.06, True), (-0.04, False), (0.0, False), (0.3, False)])
def test_a_direction_may_be_missed_by_the_tolerance(move: float, failed: bool) -> None:
    answers = {text: {"predicted": "Neutral", "probabilities": _shares(None)} for text in texts(SUITE)}
    for case in SUITE:
        if case.test == "DIR" and case.target:
            after = 1 / 3 + case.sign * move
            rest = (1 - after) / 2
            answers[case.text] = {
                "predicted": "Neutral",
                "probabilities": {label: after if label == case.target else rest for label in LABELS},
            }
    result = behaviour(SUITE, answers, LABELS)
    for cell in result["cells"]:
        if cell["test"] == "DIR":
            assert cell["failure"]["value"] == failed
            assert cell["moved"]["value"] == (move > 0.05)


def test_without_probabilities_directions_are_not_scored() -> None:
    answers = {text: {"predicted": answer["predicted"]} for text, answer in _oracle().items()}
    result = behaviour(SUITE, answers, LABELS)
    for cell in result["cells"]:
        assert (cell["failure"] is None) == (cell["test"] == "DIR")
    assert "not scored" in _render(result)


def test_the_interval_is_wilsons() -> None:
    for cell in behaviour(SUITE, _constant("Negative"), LABELS)["cells"]:
        share = cell["failure"]
        low, high = proportion_confint(share["count"], share["n"], method="wilson")
        assert (share["low"], share["high"]) == (pytest.approx(low), pytest.approx(high))
        assert share["value"] == share["count"] / share["n"]


def test_the_order_of_the_cases_changes_nothing_and_the_result_is_plain_json() -> None:
    answers = _constant("Negative")
    result = behaviour(SUITE, answers, LABELS)
    assert result == behaviour(SUITE[::-1], dict(reversed(answers.items())), LABELS)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_cases_are_scored(n: int) -> None:
    some = SUITE[:n]
    result = behaviour(some, _constant("Positive", some), LABELS)
    assert result["n_cases"] == n
    assert (result["not_run"] is None) == (n > 0)
    assert _render(result)


def test_more_classes_are_not_run_and_say_why() -> None:
    result = behaviour([], {}, [str(i) for i in range(20)])
    assert set(result) == {"not_run"}
    assert "this one has 20" in _render(result)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "no answer"),
        ({}, "predicted must be"),
        ({"predicted": "Great"}, "predicted must be"),
        ({"predicted": None, "probabilities": {"Positive": 1.0}}, "probabilities must be"),
        ({"predicted": None, "probabilities": dict.fromkeys(LABELS, float("nan"))}, "probabilities must be"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_refused(answer: dict[str, Any] | None, message: str) -> None:
    answers: dict[str, Any] = _constant("Positive")
    text = next(iter(answers))
    answers[text] = answer
    with pytest.raises(PipelineError, match=message) as caught:
        behaviour(SUITE, answers, LABELS)
    assert "\n" not in str(caught.value)


def _render(result: Mapping[str, Any] | None) -> str:
    metrics = {} if result is None else {"behaviour": result}
    return page.environment().get_template("report_behaviour.html").render(metrics=metrics)


def _dom(html: str) -> Any:
    return html5lib.parse(html, namespaceHTMLElements=False)


def test_without_the_key_the_section_is_empty() -> None:
    assert _render(None).strip() == ""


def test_every_number_of_the_section_is_one_of_the_result() -> None:
    result = behaviour(SUITE, _constant("Positive"), LABELS)

    def numbers(value: object) -> set[float]:
        if isinstance(value, dict | list):
            return {n for inner in (value.values() if isinstance(value, dict) else value) for n in numbers(inner)}
        return {float(value)} if isinstance(value, int | float) else set()

    known = numbers(result)
    shown = [(float(e.get("value")), "".join(e.itertext())) for e in _dom(_render(result)).iter("data")]
    assert len(shown) > 400
    for value, text in shown:
        assert value in known
        digits = float(text.replace(",", "").removesuffix(" %"))
        assert digits == pytest.approx(value, abs=0.5) or digits == pytest.approx(100 * value, abs=0.5)


def test_the_matrix_has_every_failure_rate() -> None:
    result = behaviour(SUITE, _spoilt(lambda text: len(text) % 2 == 0, "Neutral"), LABELS)
    table = next(t for t in _dom(_render(result)).iter("table") if t.get("class") == "matrix")
    rows = {"".join(row[0].itertext()).strip(): row for row in table.find("tbody")}
    assert list(rows) == list(dict.fromkeys(cell["capability"] for cell in result["cells"]))
    for cell in result["cells"]:
        td = rows[cell["capability"]][1 + ("MFT", "INV", "DIR").index(cell["test"])]
        assert [float(e.get("value")) for e in td.iter("data")] == [
            cell["failure"][key] for key in ("value", "low", "high")
        ]
        assert td.get("class") == f"heat{min(9, int(10 * cell['failure']['value']))}"
        assert all(len(row) == 4 for row in rows.values())


def test_hostile_labels_and_characters_are_only_text() -> None:
    hostile_suite = cases(HOSTILE, 0)
    pages = [
        _render(behaviour(suite, _spoilt_half(suite, labels), labels))
        for suite, labels in ((hostile_suite, HOSTILE), (SUITE, LABELS))
    ]
    tags = [sorted({str(e.tag) for e in _dom(html).iter()}) for html in pages]
    assert tags[0] == tags[1]
    assert "<script" not in pages[0]
    assert "\u202e" not in pages[0]
    assert not any(name.startswith("on") for e in _dom(pages[0]).iter() for name in e.attrib)


def _spoilt_half(suite: list[Case], labels: tuple[str, ...]) -> Answers:
    answers = _oracle(suite, labels)
    for i, text in enumerate(answers):
        if i % 2:
            answers[text] = {"predicted": labels[i % 3], "probabilities": _shares(labels[i % 3], labels)}
    return answers


def test_tables_have_headers_and_headings_are_in_order() -> None:
    dom = _dom(_render(behaviour(SUITE, _constant("Positive"), LABELS)))
    assert all(th.get("scope") for th in dom.iter("th"))
    assert all(table.find("caption") is not None for table in dom.iter("table"))
    headings = [str(e.tag) for e in dom.iter() if str(e.tag) in ("h2", "h3", "h4")]
    assert headings[0] == "h2"
    assert set(headings[1:]) == {"h3"}
