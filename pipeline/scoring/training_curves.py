"""How the training of a run went: its curves, and what they say in plain words, each by a rule that is written here.

What differs between two validations by less than the *noise* is not told from luck. The noise is the largest standard
error that a mean of the classes' recalls can have on as many validation tweets, ``sqrt(sum(1 / (4 n_c))) / k`` for
``k`` classes with ``n_c`` tweets; macro-F1 moves about as much. It stands for the luck of the validation tweets alone.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pipeline.scoring.training_sentence import brief, last_rise, limit, sentences

_UNKNOWN_NOISE = 0.02  # where the prepared data set does not say how many validation tweets there are
_GAIN = 0.01  # of macro-F1 in the last quarter: what is worth training longer for
_LOSS_RISE = 1.1
_LOSS_FALL = 0.98  # of the validation before: what has fallen less is level
# As in the alarms of the data: with fewer validation tweets, single ones decide.
_FEW_ROWS, _FEW_OF_A_CLASS = 30, 3
_POINTS = 200  # of a curve: as many as a figure can show

_CONFIG = ("batch_size", "epochs", "max_steps", "learning_rate", "warmup", "evaluations", "seed")
_RESULT = ("steps", "seconds", "training_seconds", "tweets_per_second", "trainable_parameters", "shortened")

Validation = Mapping[str, Any]


def training_curves(
    lines: Sequence[Any], run: Mapping[str, Any], *, labels: Sequence[str], counts: Mapping[str, int] | None = None
) -> dict[str, Any] | None:
    """What stands under ``training`` in ``metrics.json``.

    Args:
        lines: of ``training.jsonl``; what is no number is passed over.
        run: the run's manifest.
        labels: the classes in the order of the task.
        counts: label -> number of validation tweets, from the prepared data set.

    Returns:
        None where no validation was written down. Else ``loss``, pairs of step and training loss, at most 200;
        ``validations`` by step (``recall`` is None in runs that did not write it); ``kept``, one of them; ``noise``,
        and whether it is ``noise_known``, from the number of tweets; ``guessing``, macro-F1 of answering the
        commonest class always, or None; ``trend`` as ``trend_of`` names it;
        ``largest_drop``; ``never_found``, the classes whose recall never left 0; ``loss_falling``,
        whether that on validation still fell at the end; ``cut_short``, whether a limit on the steps ended it while
        validation was still getting better; ``validation_rows`` and whether they are
        ``few_validation_rows``; ``settings`` and ``cost``; ``brief``,
        one line, and ``sentences``.
    """
    records = [line for line in lines if isinstance(line, Mapping) and _number(line, "step") is not None]
    validations = _validations(records, labels)
    if not validations:
        return None
    result, config = run.get("result") or {}, run.get("config") or {}
    kept = _kept(validations, result.get("best_step"))
    known = [n for n in (counts or {}).values() if n > 0]
    noise = math.sqrt(sum(1 / (4 * n) for n in known)) / len(known) if known else _UNKNOWN_NOISE
    steps = result.get("steps") or validations[-1]["step"]
    guessing = _guessing(known, len(labels))
    found: dict[str, Any] = {
        "steps": steps,
        "epochs": validations[-1]["epoch"],
        "kept": kept,
        "noise": noise,
        "noise_known": bool(known),
        "guessing": guessing,
        "trend": trend_of(validations, kept, noise, guessing=guessing),
        "largest_drop": largest_drop(validations),
        "never_found": never_found(validations),
        "validations": validations,
        "loss": _curve(records, "loss"),
        "settings": _settings(run, config),
        "cost": {key: result.get(key) for key in _RESULT},
    }
    found["loss_falling"] = _loss_falling(validations)
    rising = len(validations) > 1 and last_rise(found) > 0
    better = found["trend"] not in ("fell", "overfits") and (rising or found["loss_falling"])
    found["cut_short"] = bool(limit(found)) and better
    found["few_validation_rows"] = bool(known) and (sum(known) < _FEW_ROWS or min(known) < _FEW_OF_A_CLASS)
    found["validation_rows"] = sum(known) or None
    return found | {"brief": brief(found), "sentences": sentences(found, counts or {})}


def trend_of(validations: Sequence[Validation], kept: Validation, noise: float, guessing: float | None = None) -> str:
    """Where macro-F1 on validation was going, in one word. The first of these that holds:

    ``unlearnt``: the best is above ``guessing`` by no more than the noise.
    ``once``: there was one validation only.
    ``overfits``: the last is below the best by more than the noise, and its loss is above the least by a tenth or more.
    ``fell``: the last is below the best by more than the noise.
    ``unsteady``: one is below an earlier one by more than twice the noise, but the last is not.
    ``rising``: the last is the best, by 0.01 or more above all but the last quarter of the validations, and by more
    than the noise above all of the first half.
    ``settled``: none of these, so the last is within the noise of the best.

    Args:
        validations: by step, each with ``macro_f1`` and ``loss``.
        kept: the one whose adapter was kept.
        noise: what differs by less is not told from luck.
        guessing: macro-F1 of answering the commonest class always, if it is known.
    """
    scores = [one["macro_f1"] for one in validations]
    losses = [one["loss"] for one in validations if one["loss"] is not None]
    m, last, best = len(scores), scores[-1], kept["macro_f1"]
    if guessing is not None and best <= guessing + noise:
        return "unlearnt"
    if m == 1:
        return "once"
    if best - last > noise:
        rises = len(losses) == m and losses[-1] >= _LOSS_RISE * min(losses)
        return "overfits" if rises else "fell"
    if largest_drop(validations)["by"] > 2 * noise:
        return "unsteady"
    before, half = scores[: m - max(1, m // 4)], scores[: m - m // 2]
    if last >= best and last - max(before) >= _GAIN and last - max(half) > noise:
        return "rising"
    return "settled"


def largest_drop(validations: Sequence[Validation]) -> dict[str, Any]:
    """The validation farthest below the best one before it: ``step``, ``macro_f1``, and ``by`` how much, 0 for none."""
    tops = np.maximum.accumulate([one["macro_f1"] for one in validations])
    drops = [float(top) - one["macro_f1"] for top, one in zip(tops, validations, strict=True)]
    at = int(np.argmax(drops))
    return {"step": validations[at]["step"], "macro_f1": validations[at]["macro_f1"], "by": drops[at]}


def _loss_falling(validations: Sequence[Validation]) -> bool:
    """Whether the last loss is the least, and clearly below the one before it."""
    losses = [one["loss"] for one in validations]
    return len(losses) > 1 and None not in losses and losses[-1] <= _LOSS_FALL * min(losses[:-1])


def never_found(validations: Sequence[Validation]) -> list[str]:
    """The classes that had validation tweets, of which none was found at any validation."""
    recalls = [one["recall"] for one in validations if one["recall"]]
    return [label for label in (recalls[0] if recalls else ()) if not any(recall.get(label) for recall in recalls)]


def _validations(records: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    found = {}
    for record in records:
        if _number(record, "eval_macro_f1") is None:
            continue
        recall = record.get("eval_recall")
        given = recall if isinstance(recall, Mapping) else {}
        found[record["step"]] = {
            "step": record["step"],
            "epoch": _number(record, "epoch"),
            "loss": _number(record, "eval_loss"),
            **{name: _number(record, f"eval_{name}") for name in ("macro_f1", "balanced_accuracy", "unparsed_rate")},
            "recall": {label: _number(given, label) for label in labels if _number(given, label) is not None} or None,
        }
    return [found[step] for step in sorted(found)]


def _kept(validations: Sequence[dict[str, Any]], best_step: object) -> dict[str, Any]:
    """The validation at the step that the run names; else the best, of equal ones that with the lower loss."""
    for one in validations:
        if one["step"] == best_step:
            return one
    return max(validations, key=lambda one: (one["macro_f1"], -math.inf if one["loss"] is None else -one["loss"]))


def _number(record: Mapping[str, Any], key: str) -> Any:
    """The finite number under ``key``, or None."""
    value = record.get(key)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return value if number else None


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> list[list[float]]:
    """Pairs of step and value; of a long curve, means of as many neighbours as make it short, at their last step."""
    points = [(record["step"], value) for record in records if (value := _number(record, key)) is not None]
    each = math.ceil(len(points) / _POINTS) or 1
    pieces = [points[i : i + each] for i in range(0, len(points), each)]
    return [[piece[-1][0], float(np.mean([value for _, value in piece]))] for piece in pieces]


def _guessing(counts: Sequence[int], k: int) -> float | None:
    """Macro-F1 of answering the commonest class always: its recall is 1, its precision its share, all else 0."""
    if not counts:
        return None
    share = max(counts) / sum(counts)
    return 2 * share / (1 + share) / k


def _settings(run: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    name = (run.get("base_model") or {}).get("name", config.get("base_model"))
    if isinstance(name, str) and name.startswith(("/", "~", ".")):
        name = PurePosixPath(name).name  # a folder of the one who trained is nobody else's concern
    return {
        "base_model": name,
        **{key: run.get(key) for key in ("precision", "device", "max_length")},
        "lora": config.get("lora"),
        **{key: config.get(key) for key in _CONFIG},
    }
