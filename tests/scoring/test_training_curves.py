"""What is read from the curves of a training, on curves made by hand."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from synthetic_predictions import LABELS
from synthetic_training import make_lines, make_run

from pipeline.scoring.training_curves import largest_drop, never_found, training_curves, trend_of
from pipeline.scoring.training_sentence import facts

NOISE = 0.03
COUNTS = {"Negative": 99, "Neutral": 75, "Positive": 222}


def read(lines: list[Any], best_step: int = 300, **options: Any) -> dict[str, Any]:
    found = training_curves(lines, make_run(best_step), labels=LABELS, counts=COUNTS, **options)
    assert found is not None
    return found


def curve(scores: list[float], losses: list[float | None] | None = None) -> list[dict[str, Any]]:
    losses = [0.3] * len(scores) if losses is None else losses
    return [
        {"step": 10 * (i + 1), "macro_f1": score, "loss": loss, "recall": None}
        for i, (score, loss) in enumerate(zip(scores, losses, strict=True))
    ]


def trend(scores: list[float], losses: list[float | None] | None = None, guessing: float | None = None) -> str:
    validations = curve(scores, losses)
    return trend_of(validations, max(validations, key=lambda one: one["macro_f1"]), NOISE, guessing)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.30, 0.60, 0.70, 0.71], "rising"),
        ([0.30, 0.60, 0.70, 0.709], "settled"),  # the last quarter brought less than 0.01
        ([0.69, 0.69, 0.695, 0.71], "settled"),  # no more than the noise above the first half
        ([0.30, 0.60, 0.71, 0.70], "settled"),  # the last is not the best
        ([0.30, 0.60, 0.70, 0.67], "settled"),  # just within the noise
        ([0.30, 0.60, 0.70, 0.66], "fell"),
        ([0.30, 0.70, 0.69, 0.66], "fell"),
        ([0.30, 0.70, 0.60, 0.70], "unsteady"),
        ([0.30, 0.70, 0.645, 0.70], "settled"),  # less than twice the noise
        ([0.30, 0.70, 0.60, 0.80], "unsteady"),  # it rises, but not in a way to rely on
        ([0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.71, 0.70], "settled"),  # the last is the second best
        ([0.71], "once"),
        ([0.60, 0.70], "rising"),
        ([0.70, 0.60], "fell"),
        ([0.1 + 0.03 * i for i in range(20)], "rising"),
        ([min(0.7, 0.1 + 0.05 * i) for i in range(20)], "settled"),
    ],
)
def test_each_trend_by_its_rule(scores: list[float], said: str) -> None:
    assert trend(scores) == said


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([0.5, 0.3, 0.3, 0.33], "overfits"),
        ([0.5, 0.3, 0.3, 0.32], "fell"),  # a tenth is asked for
        ([0.5, 0.3, 0.4, 0.30], "fell"),  # it is the last that counts
        ([0.5, 0.3, 0.3, None], "fell"),
    ],
)
def test_a_fall_is_overfitting_where_the_loss_rises_too(losses: list[float | None], said: str) -> None:
    assert trend([0.3, 0.7, 0.7, 0.6], losses) == said


def test_a_curve_that_is_no_better_than_guessing_has_learnt_nothing() -> None:
    assert trend([0.20, 0.22, 0.21, 0.23], guessing=0.21) == "unlearnt"
    assert trend([0.20, 0.22, 0.21, 0.23]) == "settled"
    assert trend([0.20, 0.22, 0.21, 0.25], guessing=0.21) != "unlearnt"
    assert trend([0.21], guessing=0.21) == "unlearnt"


def test_guessing_is_the_score_of_the_commonest_class() -> None:
    y = [label for label, n in COUNTS.items() for _ in range(n)]
    guess = f1_score(y, ["Positive"] * len(y), average="macro", labels=LABELS, zero_division=0)
    noise = read(make_lines())["noise"]
    for above, said in ((-0.001, "unlearnt"), (0.001, "settled")):
        lines = make_lines([guess + noise + above] * 4)
        assert read(lines)["trend"] == said


def test_the_noise_is_the_spread_of_a_mean_of_recalls_where_it_is_largest() -> None:
    rng = np.random.default_rng(0)
    recalls = [rng.binomial(n, 0.5, size=200_000) / n for n in COUNTS.values()]
    found = read(make_lines())
    assert found["noise"] == pytest.approx(np.std(np.mean(recalls, axis=0)), rel=0.01)
    assert found["noise_known"]


def test_without_counts_a_rule_of_thumb_takes_their_place() -> None:
    for counts in (None, {}, dict.fromkeys(LABELS, 0)):
        found = training_curves(make_lines(), make_run(), labels=LABELS, counts=counts)
        assert found
        assert (found["noise"], found["noise_known"]) == (0.02, False)


def test_the_largest_drop_is_below_the_best_before_it() -> None:
    assert largest_drop(curve([0.5, 0.7, 0.6, 0.65, 0.62])) == {
        "step": 30,
        "macro_f1": 0.6,
        "by": pytest.approx(0.1),
    }
    assert largest_drop(curve([0.5, 0.6, 0.7]))["by"] == 0


def test_a_class_is_missed_where_its_recall_never_left_0() -> None:
    recalls: list[Any] = [{"a": 0.0, "b": 0.0, "c": 0.4}, None, {"a": 0.0, "b": 0.1, "c": 0.0}]
    assert never_found([{"recall": recall} for recall in recalls]) == ["a"]
    assert never_found([{"recall": None}]) == []
    found = read(make_lines(missed=["Negative"]))
    assert found["never_found"] == ["Negative"]
    assert "Never found: Negative." in found["brief"]
    assert any(
        s.startswith("The recall of Negative, with 99 validation tweets, never left 0") for s in found["sentences"]
    )


def test_older_runs_have_no_recalls_and_say_so() -> None:
    old, new = read(make_lines(recall=False)), read(make_lines())
    assert {one["recall"] for one in old["validations"]} == {None}
    assert "This run did not write down the recall of each class." in old["sentences"]
    assert "This run did not write down the recall of each class." not in new["sentences"]
    assert old["never_found"] == []
    for part in ("loss", "trend", "brief", "noise", "settings"):
        assert old[part] == new[part]


@pytest.mark.parametrize(
    ("scores", "best_step", "brief"),
    [
        ((0.3, 0.6, 0.7, 0.73), 400, "Kept step 400 of 400: macro-F1 0.730 on validation, still rising at the end."),
        (
            (0.3, 0.8, 0.7, 0.7),
            200,
            "Best at step 200 of 400, macro-F1 0.800 on validation; fell to 0.700 by the end.",
        ),
        ((0.3, 0.8, 0.6, 0.8), 200, "Kept step 200 of 400: macro-F1 0.800 on validation, up and down on the way."),
        ((0.3, 0.6, 0.7, 0.7), 300, "Kept step 300 of 400: macro-F1 0.700 on validation, level at the end."),
        (
            (0.2, 0.2, 0.2, 0.2),
            100,
            "Kept step 100 of 400: macro-F1 0.200 on validation, no more than one class answered always.",
        ),
        ((0.7,), 400, "Kept step 400 of 400: macro-F1 0.700 on validation, where it was measured once."),
    ],
)
def test_the_one_line_says_what_was_kept_and_where_it_was_going(
    scores: tuple[float, ...], best_step: int, brief: str
) -> None:
    assert read(make_lines(scores), best_step)["brief"] == brief


def test_answers_that_are_no_label_are_told() -> None:
    some, many = read(make_lines(unparsed=0.02)), read(make_lines(unparsed=0.3))
    assert some["sentences"][-1] == "At the end 2.0 % of the answers on validation were no label."
    assert "train longer" in many["sentences"][-1]
    assert "30.0 % of its answers were no label." in many["brief"]
    assert "no label" not in some["brief"]
    assert read(make_lines())["sentences"][-1] == "At the end every answer on validation was a label."


def test_a_limit_that_cut_the_training_short_is_told() -> None:
    lines = make_lines()
    for line in lines:
        line["epoch"] /= 2.5
    said = "It stopped at the limit of 400 steps (max_steps), after 1.2 of 3 epochs."
    assert said in read(lines)["sentences"]
    assert not [s for s in read(make_lines())["sentences"] if "limit" in s]


def test_the_kept_step_is_that_of_the_run() -> None:
    lines = make_lines((0.5, 0.7, 0.7, 0.6), losses=(0.3, 0.3, 0.2, 0.3))
    assert read(lines, 200)["kept"]["step"] == 200
    run = make_run()
    del run["result"]
    found = training_curves(lines, run, labels=LABELS)
    assert found
    # As in training: of equal scores, the lower loss.
    assert (found["kept"]["step"], found["steps"]) == (300, 400)


def test_a_long_curve_becomes_means_of_neighbours() -> None:
    lines = [{"step": i, "loss": float(i)} for i in range(1, 1001)] + make_lines((0.5,))[-2:-1]
    points = read(lines)["loss"]
    assert len(points) == 200
    assert points[0] == [5, 3.0]
    assert points[-1] == [1000, 998.0]


def test_lines_that_say_nothing_are_passed_over() -> None:
    odd: list[Any] = [
        None,
        7,
        [1],
        {"loss": 1.0},
        {"step": "x", "loss": 1.0},
        {"step": True, "eval_macro_f1": 0.9},
        {"step": 390, "loss": float("nan")},
        {"step": 390, "eval_macro_f1": None},
        {"step": 399, "eval_macro_f1": 0.69, "eval_recall": {"Negative": "0.5", "Other": 1.0, "Neutral": 0.25}},
    ]
    found = read([*odd, *make_lines()])
    assert found["validations"][-2]["recall"] == {"Neutral": 0.25}
    assert found["validations"][-2]["loss"] is None
    assert [one["step"] for one in found["validations"]] == [100, 200, 300, 399, 400]
    assert found["loss"] == read(make_lines())["loss"]
    assert training_curves(odd[:-1], make_run(), labels=LABELS) is None
    assert training_curves([], make_run(), labels=LABELS) is None


def test_the_findings_are_plain_json_without_paths() -> None:
    for name in ("/home/someone/models/llama-7b", "~/models/llama-7b"):
        found = training_curves(make_lines(), make_run(base_model=name), labels=LABELS, counts=COUNTS)
        assert found
        text = json.dumps(found, allow_nan=False)
        assert json.loads(text) == found
        assert "someone" not in text
        assert found["settings"]["base_model"] == "llama-7b"
    assert read(make_lines())["settings"]["base_model"] == "smollm2-135m"
    found = training_curves(make_lines(), make_run(base_model="org/name"), labels=LABELS)
    assert found
    assert found["settings"]["base_model"] == "org/name"


def test_the_settings_and_the_cost_are_listed_as_far_as_they_are_known() -> None:
    listed = dict(facts(read(make_lines())))
    assert listed["LoRA"] == "rank 16, alpha 32, dropout 0.0, on q_proj, v_proj"
    assert listed["learning rate"] == "0.0005 at its highest, after a warm-up of 6\u00a0% of the steps"
    assert listed["trained parameters"] == "4,884,480"
    assert listed["time, with validation"] == "1,696 s"
    assert listed["training alone"] == "650 s, 4.6 tweets a second"
    bare = training_curves(make_lines(), {}, labels=LABELS)
    assert bare
    assert dict(facts(bare)) == {"steps": "400"}


def short(scores: tuple[float, ...], losses: tuple[float, ...], counts: dict[str, int]) -> dict[str, Any]:
    """What is found of a training that a limit on its steps ended after half of its epochs."""
    lines = make_lines(scores, losses=losses)
    for line in lines:
        line["epoch"] /= 2
    found = training_curves(lines, make_run(400), labels=LABELS, counts=counts)
    assert found is not None
    return found


def test_a_training_cut_short_while_its_loss_fell_may_gain_by_more_steps() -> None:
    found = short((0.30, 0.60, 0.705, 0.71), (2.88, 0.96, 0.56, 0.51), COUNTS)
    assert found["trend"] == "settled"
    assert "still falling (2.880, 0.960, 0.560, 0.510): longer training may give more" in found["sentences"][0]
    assert found["brief"].endswith("level at the end, but cut short while the loss was still falling.")
    level = short((0.30, 0.60, 0.705, 0.71), (2.88, 0.96, 0.52, 0.515), COUNTS)
    assert level["sentences"][0].endswith("Nothing here says that more steps would help.")
    # Not cut short, so that the loss fell to the end of the schedule that was asked for.
    whole = read(make_lines((0.30, 0.60, 0.705, 0.71), losses=(2.88, 0.96, 0.56, 0.51)), 400)
    assert whole["sentences"][0].endswith("Nothing here says that more steps would help.")


@pytest.mark.parametrize(
    "counts", [dict(zip(LABELS, (5, 5, 4), strict=True)), dict(zip(LABELS, (90, 90, 2), strict=True))]
)
def test_few_validation_tweets_cannot_tell(counts: dict[str, int]) -> None:
    n = sum(counts.values())
    found = short((0.50, 0.60, 0.605, 0.61), (0.5, 0.3, 0.3, 0.3), counts)
    assert found["sentences"][0].startswith(f"Macro-F1 was level at the end, as far as {n} validation tweets can tell")
    assert found["sentences"][0].endswith("They are too few to say whether more steps would help.")
    assert "Nothing here says" not in " ".join(found["sentences"])
    falling = short((0.50, 0.60, 0.605, 0.61), (0.5, 0.4, 0.3, 0.2), counts)
    assert "so few validation tweets cannot tell. But the training was cut short" in falling["sentences"][0]


def test_a_rise_within_the_noise_may_be_luck() -> None:
    small, large = read(make_lines((0.30, 0.60, 0.70, 0.715)), 400), read(make_lines((0.30, 0.50, 0.60, 0.73)), 400)
    assert (small["trend"], large["trend"]) == ("rising", "rising")
    assert "by 0.015 above the best before; that is within the noise of 0.0" in small["sentences"][0]
    assert "may be luck" in small["sentences"][0]
    assert small["brief"].endswith("highest at the end.")
    assert "was still rising at the end" in large["sentences"][0]
    assert large["brief"].endswith("still rising at the end.")
