"""What each folded section of the page has to say, in one line, so that a reader knows which to open."""

from collections.abc import Mapping
from typing import Any

from pipeline.scoring.verdict import at_start, candidate_of, name_of, percent_text


def findings(metrics: Mapping[str, Any], gallery: Mapping[str, Any]) -> dict[str, str]:
    """Section -> its one line, for those that ``metrics`` has something to say of.

    Args:
        metrics: the content of ``metrics.json``.
        gallery: the errors, as ``gallery`` gives them.
    """
    found = {
        "leaderboard": _leaderboard(metrics),
        "comparison": _comparison(metrics),
        "confusion": _confusion(metrics["confusion"]),
        "classes": _classes(candidate_of(metrics)["per_class"]),
        "readings": _readings(metrics),
        "confidence": _confidence(metrics.get("confidence")),
        "ranking": _ranking(metrics),
        "adjustment": _adjustment(metrics.get("adjustment"), metrics.get("levers")),
        "behaviour": _behaviour(metrics.get("behaviour")),
        "weak": _weak(metrics.get("weak")),
        "seeds": _seeds(metrics.get("seeds")),
        "drift": (metrics.get("drift") or {}).get("brief", ""),
        "training": (metrics.get("training") or {}).get("brief", ""),
        "errors": _errors(gallery, metrics["rows"]["n"]),
        "priors": _priors(metrics.get("priors")),
    }
    return {section: line for section, line in found.items() if line}


def _leaderboard(metrics: Mapping[str, Any]) -> str:
    if "leaderboard" not in metrics:
        return ""
    pairs = metrics["leaderboard"]["pairs"]
    apart = sum(pair["distinguishable"] for pair in pairs)
    first = metrics["leaderboard"]["standings"][0]["system"]
    score = metrics["systems"][first]["macro_f1"]["value"]
    told = ""
    if pairs:
        told = (
            f" Of {len(pairs)} pair{'' if len(pairs) == 1 else 's'} of judged systems, {apart} can be told apart; the "
            "baselines are tested further below."
        )
    return f"{at_start(first)} comes first with macro-F1 {score:.3f}.{told}"


def _comparison(metrics: Mapping[str, Any]) -> str:
    others = [name for name in metrics["systems"] if name != metrics["candidate"]]
    ours = candidate_of(metrics)["macro_f1"]["value"]
    if not others:
        return f"Macro-F1 {ours:.3f}, and nothing to compare it with."
    strongest = max(others, key=lambda name: metrics["systems"][name]["macro_f1"]["value"])
    theirs = metrics["systems"][strongest]["macro_f1"]["value"]
    return f"Macro-F1 {ours:.3f}; the strongest of the others, {name_of(strongest)}, reaches {theirs:.3f}."


def _confusion(confusion: Mapping[str, Any]) -> str:
    errors = [
        (n, true, predicted)
        for true, row in zip(confusion["labels"], confusion["matrix"], strict=True)
        for predicted, n in zip(confusion["columns"], row, strict=True)
        if n and predicted != true
    ]
    if not errors:
        return "No error."
    n, true, predicted = max(errors, key=lambda error: error[0])
    support = sum(confusion["matrix"][confusion["labels"].index(true)])
    what = "left unparsed" if predicted == "unparsed" else f"taken for {predicted}"
    return f"The commonest error: {true} {what}, {n:,} of {support:,}."


def _classes(classes: Mapping[str, Any]) -> str:
    by_recall = sorted((label for label in classes if classes[label]["support"]), key=lambda c: classes[c]["recall"])
    worst, best = by_recall[0], by_recall[-1]
    return (
        f"Recall goes from {percent_text(classes[worst]['recall'])} ({worst}) to "
        f"{percent_text(classes[best]['recall'])} ({best})."
    )


def _readings(metrics: Mapping[str, Any]) -> str:
    found = candidate_of(metrics)
    if "readings" not in found:
        return ""
    return (
        f"What it writes and what it finds likeliest differ on {percent_text(found['disagreement_rate'])} of the "
        f"tweets; {percent_text(found['unparsed_rate'])} of what it writes is no label."
    )


def _confidence(confidence: Mapping[str, Any] | None) -> str:
    if not confidence:
        return ""
    over = confidence["calibration"]["overconfidence"]
    if over["low"] is not None and over["low"] > 0:
        said = f"It is too sure: confidence is {over['value']:.3f} above accuracy"
    elif over["high"] is not None and over["high"] < 0:
        said = f"It is less sure than it could be: confidence is {-over['value']:.3f} below accuracy"
    elif confidence["calibration"]["distinguishable"]:
        said = "Its probabilities are not calibrated"
    else:
        said = "Its probabilities are not distinguishable from calibrated ones"
    recommended = confidence["selective"]["recommended"]
    if not recommended or recommended["threshold"] is None or recommended["test"]["accuracy"] is None:
        return f"{said}."
    test = recommended["test"]
    return (
        f"{said}. Answering only where it is surer than {recommended['threshold']:.2f} keeps "
        f"{percent_text(test['coverage']['value'])} of the tweets, {percent_text(test['accuracy']['value'])} right."
    )


def _ranking(metrics: Mapping[str, Any]) -> str:
    ranking = metrics.get("ranking")
    if not ranking or ranking["bias"]["n"] == 0:
        return ""
    bias = ranking["bias"]
    if not bias["distinguishable"]:
        return "No class is distinguishably answered too often or too rarely."
    shares = bias["classes"][bias["largest"]]
    often = "often" if shares["difference"]["value"] > 0 else "rarely"
    return (
        f"The answer {bias['largest']} comes too {often}: {percent_text(shares['predicted'])} of the answers, "
        f"{percent_text(shares['true'])} of the tweets."
    )


def _adjustment(adjustment: Mapping[str, Any] | None, levers: Mapping[str, Any] | None) -> str:
    if levers:
        names = levers["settings"]
        more = f", and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{len(levers['runs'])} runs beside each other that differ in {', '.join(names[:3])}{more}."
    if not adjustment:
        return ""
    fitted, test = adjustment["fitted"], adjustment["test"]
    if fitted is None:
        return "The validation tweets settle no adjustment."
    if fitted["tau"] == 0:
        luck = "" if fitted["best"] == 0 else " by more than luck may be"
        return f"Fitted on {adjustment['n_validation']:,} validation tweets: no adjustment was better{luck}."
    before, after = (test[name]["macro_f1"]["value"] for name in ("before", "after"))
    finding = "" if test["difference"]["distinguishable"] else ", not distinguishable"
    return (
        f"Offsets fitted on validation take the likelihood reading from macro-F1 {before:.3f} to {after:.3f}{finding}."
    )


def _weak(weak: Mapping[str, Any] | None) -> str:
    if not weak:
        return ""
    judged = weak["segments"]["judged"]
    worse = [segment["name"] for segment in judged if segment["finding"] == "weak"]
    if not judged:
        return "No kind of tweets has enough of them to be judged."
    if not worse:
        return f"At none of {len(judged)} kinds of tweets is it distinguishably worse than elsewhere."
    more = f", and {len(worse) - 3} more" if len(worse) > 3 else ""
    return f"Distinguishably worse at {len(worse)} of {len(judged)} kinds: {', '.join(worse[:3])}{more}."


def _seeds(seeds: list[Mapping[str, Any]] | None) -> str:
    if not seeds:
        return ""
    first = seeds[0]
    macro = first["macro_f1"]
    return f"{len(first['seeds'])} seeds of one recipe: macro-F1 {macro['mean']:.3f} on average, SD {macro['sd']:.3f}."


def _errors(gallery: Mapping[str, Any], n: int) -> str:
    wrong, opposite = gallery["wrong_total"], gallery["opposite_total"]
    return f"{wrong:,} of {n:,} got the wrong label{f', {opposite:,} of them the opposite one' if opposite else ''}."


def _priors(priors: Mapping[str, Any] | None) -> str:
    uniform = ((priors or {}).get("scenarios") or {}).get("uniform") or {}
    if not uniform.get("macro_f1"):
        return ""
    return f"Were all classes alike in number, macro-F1 would be {uniform['macro_f1']['value']:.3f}."


def _behaviour(behaviour: Mapping[str, Any] | None) -> str:
    asked = [cell for cell in (behaviour or {}).get("cells", ()) if cell["failure"] is not None]
    if not asked:
        return ""
    worst = max(asked, key=lambda cell: cell["failure"]["value"])
    if not worst["failure"]["value"]:
        return f"No case fails, in {len(asked)} abilities."
    failed = worst["failure"]
    return f"Fails most: {worst['capability']}, {percent_text(failed['value'])} of {failed['n']:,} cases."
