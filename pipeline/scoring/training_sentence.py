"""What the curves of a training say: one line for who looks for the section, sentences for who has opened it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.scoring.verdict import percent_text

MANY_UNPARSED = 0.1
_NAMED = 5
_SHOWN = 4  # losses in a sentence
_MUCH_LOWER = 0.8
_DEFAULT_STEPS = 400  # of the preset cpu; cpu-hour has more


def brief(found: Mapping[str, Any]) -> str:
    """The one line: which step was kept, how good it was, and where the curve was going."""
    kept, last, steps = found["kept"], found["validations"][-1], found["steps"]
    score = f"macro-F1 {kept['macro_f1']:.3f} on validation"
    fell = f"Best at step {kept['step']:,} of {steps:,}, {score}; fell to {last['macro_f1']:.3f} by the end"
    begun = f"Kept step {kept['step']:,} of {steps:,}: {score}"
    said = {
        "unlearnt": f"{begun}, no more than one class answered always",
        "once": f"{begun}, where it was measured once",
        "overfits": fell,
        "fell": fell,
        "unsteady": f"{begun}, up and down on the way",
        "rising": f"{begun}, {'highest' if last_rise(found) <= found['noise'] else 'still rising'} at the end",
        "settled": f"{begun}, {_level(found)}",
    }[found["trend"]]
    missed = f" Never found: {_listed(found['never_found'])}." if found["never_found"] else ""
    unparsed = kept["unparsed_rate"] or 0
    lost = f" {percent_text(unparsed)} of its answers were no label." if unparsed > MANY_UNPARSED else ""
    return f"{said}.{missed}{lost}"


def sentences(found: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """What the curves say, and what could be done about it."""
    said = [_trend(found), limit(found), *_classes(found, counts), _unparsed(found["validations"][-1])]
    return [sentence for sentence in said if sentence]


def warnings(found: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """What whoever has trained should know at once, a short line each; none of a training that went well.

    Args:
        found: what stands under ``training`` in ``metrics.json``.
        counts: label -> number of validation tweets.
    """
    said = [_stopped_early(found), _went_wrong(found), *_missed(found["kept"], counts)]
    return [line for line in said if line]


def _stopped_early(found: Mapping[str, Any]) -> str:
    if not found["cut_short"]:
        return ""
    limit, scores = found["settings"]["max_steps"], [one["macro_f1"] for one in found["validations"]]
    got = f"macro-F1 {max(scores[:-1]):.3f}, then {scores[-1]:.3f}" if last_rise(found) > 0 else "its loss was falling"
    longer = ", or take --config cpu-hour" if limit <= _DEFAULT_STEPS else ""
    return (
        f"validation was still getting better ({got}) when --max_steps {limit} ended the training after "
        f"{found['epochs']:.1f} of {found['settings']['epochs']:g} epochs: raise --max_steps{longer}"
    )


def _went_wrong(found: Mapping[str, Any]) -> str:
    kept, last = found["kept"], found["validations"][-1]
    if (last["unparsed_rate"] or 0) > MANY_UNPARSED:
        return ""  # that is said elsewhere, and is why the scores are low
    if found["trend"] == "unlearnt" and not found["cut_short"]:
        return (
            f"the training did not learn: its best macro-F1 on validation, {kept['macro_f1']:.3f}, is not clearly "
            f"above the {found['guessing']:.3f} of answering the commonest class always; lower --learning_rate, and "
            "look at the labels"
        )
    if found["trend"] in ("fell", "overfits") and last["macro_f1"] < _MUCH_LOWER * kept["macro_f1"]:
        remedy = "train for fewer --epochs" if found["trend"] == "overfits" else "lower --learning_rate"
        return (
            f"macro-F1 on validation fell from {kept['macro_f1']:.3f} at the kept step {kept['step']:,} to "
            f"{last['macro_f1']:.3f} at the end: {remedy}"
        )
    return ""


def _missed(kept: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """The classes of which the kept adapter finds nothing, in one line."""
    missed = [label for label, recall in (kept["recall"] or {}).items() if recall == 0]
    if not missed:
        return []
    n = sum(counts.get(label, 0) for label in missed)
    among = f"of {n:,} validation tweet{'' if n == 1 else 's'} of" if n else "on validation of"
    return [
        f"the kept adapter finds none {among} {_listed(missed)}; more such tweets, or --sampling balanced, may help"
    ]


def facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the training was asked for and what it took, as (name, text) pairs; what is not known is left out."""
    asked, took = found["settings"], found["cost"]
    lora = asked["lora"] or {}
    layers = ", ".join(map(str, lora.get("target_modules") or ())) or None
    warmup = None if asked["warmup"] is None else 100 * asked["warmup"]
    pairs = [
        ("base model", _said("{}", asked["base_model"])),
        ("frozen weights", _said("{} on {}", asked["precision"], asked["device"])),
        ("LoRA", _said("rank {}, alpha {}, dropout {}, on {}", *map(lora.get, ("r", "alpha", "dropout")), layers)),
        ("trained parameters", _said("{:,}", took["trainable_parameters"])),
        ("learning rate", _said("{} at its highest, after a warm-up of {:.0f}\u00a0% of the steps",
                                asked["learning_rate"], warmup)),
        ("tweets a step", _said("{:,}", asked["batch_size"])),
        ("epochs", _said("{:.2f} of {:g} asked for", found["epochs"], asked["epochs"])),
        ("steps", _said("{:,} of at most {:,}", found["steps"], asked["max_steps"]) or f"{found['steps']:,}"),
        ("longest prompt", _said("{:,} tokens", asked["max_length"])),
        ("tweets cut to fit", _said("{:,}", took["shortened"] or None)),
        ("seed", _said("{}", asked["seed"])),
        ("time, with validation", _said("{:,.0f} s", took["seconds"])),
        ("training alone", _said("{:,.0f} s, {:.1f} tweets a second",
                                 took["training_seconds"], took["tweets_per_second"])),
    ]  # fmt: skip
    return [(name, text) for name, text in pairs if text is not None]


def _trend(found: Mapping[str, Any]) -> str:
    kept, validations = found["kept"], found["validations"]
    last, noise = validations[-1], found["noise"]
    at, score, end = f"step {kept['step']:,}", f"{kept['macro_f1']:.3f}", f"{last['macro_f1']:.3f}"
    if found["trend"] == "unlearnt":
        remedy = "Train longer" if found["cut_short"] else "Lower the learning rate"
        return (
            f"Its best macro-F1 on validation, {score}, is no more than what one class answered always would reach: "
            f"it has not learnt the task. {remedy}, and look at the labels."
        )
    if found["trend"] == "once":
        return "Validation was decoded once, so nothing can be told of a trend; more evaluations would show one."
    if found["trend"] in ("overfits", "fell"):
        fall = f"Macro-F1 was best at {at}, {score}, and {end} at the end, lower by more than the noise of {noise:.3f}"
        if found["trend"] == "fell":
            return f"{fall}. The kept adapter is that of {at}; the steps after it gained nothing."
        least = min(one["loss"] for one in validations)
        return (
            f"{fall}. The loss on validation rose too, from {least:.3f} at its least to {last['loss']:.3f}: it "
            f"overfits. The kept adapter is that of {at}; fewer epochs or more tweets would serve better than more "
            "steps."
        )
    if found["trend"] == "unsteady":
        low = found["largest_drop"]
        return (
            f"Macro-F1 went up and down: at step {low['step']:,} it was {low['macro_f1']:.3f}, below an earlier "
            f"validation by {low['by']:.3f}, more than twice the noise of {noise:.3f}. Which step is kept is partly "
            "luck; a lower learning rate or larger batches make the way steadier."
        )
    if found["trend"] == "rising" and (rise := last_rise(found)) <= noise:
        return (
            f"Macro-F1 was highest at the end, {score}, by {rise:.3f} above the best before; that is within the noise "
            f"of {noise:.3f} and may be luck. Longer training may give more, or not (epochs, max_steps)."
        )
    if found["trend"] == "rising":
        return (
            f"Macro-F1 was still rising at the end, where it was best, {score}: longer training may give more "
            "(epochs, max_steps)."
        )
    level = (
        f"the best, {score} at the last step, is no clear step up from those before"
        if kept == last
        else f"the last, {end}, is within the noise of {noise:.3f} of the best, {score} at {at}"
    )
    if found["few_validation_rows"] and not _cut_while_falling(found):
        return (
            f"Macro-F1 was level at the end, as far as {found['validation_rows']:,} validation tweets can "
            f"tell: {level}. They are too few to say whether more steps would help."
        )
    if _cut_while_falling(found):
        losses = [f"{one['loss']:.3f}" for one in found["validations"][-_SHOWN:]]
        unsure = "; so few validation tweets cannot tell" if found["few_validation_rows"] else ""
        return (
            f"Macro-F1 was level at the end: {level}{unsure}. But the training was cut short while the loss on "
            f"validation was still falling ({', '.join(losses)}): longer training may give more (max_steps)."
        )
    return f"Macro-F1 was level at the end: {level}. Nothing here says that more steps would help."


def _level(found: Mapping[str, Any]) -> str:
    """What the one line says of a curve that was level at its end."""
    if _cut_while_falling(found):
        return "level at the end, but cut short while the loss was still falling"
    few = found["few_validation_rows"]
    return "level at the end" + (f", as far as {found['validation_rows']:,} tweets can tell" if few else "")


def last_rise(found: Mapping[str, Any]) -> float:
    """How far the last macro-F1 is above the best before it."""
    scores = [one["macro_f1"] for one in found["validations"]]
    return float(scores[-1] - max(scores[:-1], default=0.0))


def _cut_while_falling(found: Mapping[str, Any]) -> bool:
    """Whether a limit on the steps ended a training that was still getting better by its loss."""
    return bool(limit(found)) and found["loss_falling"]


def limit(found: Mapping[str, Any]) -> str:
    """Whether a limit on the steps ended the training before its epochs; empty where not."""
    epochs, asked, limit = found["epochs"], found["settings"]["epochs"], found["settings"]["max_steps"]
    if epochs is None or asked is None or limit is None or found["steps"] < limit or epochs > 0.99 * asked:
        return ""
    return f"It stopped at the limit of {limit:,} steps (max_steps), after {epochs:.1f} of {asked:g} epochs."


def _classes(found: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    if all(one["recall"] is None for one in found["validations"]):
        return ["This run did not write down the recall of each class."]
    missed = found["never_found"]
    if not missed:
        return []
    n = sum(counts.get(label, 0) for label in missed)
    known = f", with {n:,} validation tweets," if n else ""
    return [
        f"The recall of {_listed(missed)}{known} never left 0: look at how many tweets of the kind there are in train, "
        "and at their labels."
    ]


def _unparsed(last: Mapping[str, Any]) -> str:
    rate = last["unparsed_rate"]
    if rate is None:
        return ""
    if rate == 0:
        return "At the end every answer on validation was a label."
    hint = ": it has not learnt to answer with labels; train longer" if rate > MANY_UNPARSED else ""
    return f"At the end {percent_text(rate)} of the answers on validation were no label{hint}."


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(labels[:_NAMED]) + more


def _said(text: str, *values: object) -> str | None:
    """The text with its values, or None where one of them is not known."""
    return None if any(value is None for value in values) else text.format(*values)
