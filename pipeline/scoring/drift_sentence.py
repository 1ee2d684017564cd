"""What the comparison of test and train tweets says, in one sentence, and never more than it bears."""

from collections.abc import Mapping
from typing import Any

from pipeline.scoring.comparison import ALPHA

# Below these a difference is small, however sure: a V and a gap in cumulated shares of a tenth (the "small" effect of
# Cohen 1988, section 7.2), and an area by which 11 of 20 pairs are told apart.
SMALL_DISTANCE = 0.1
SMALL_AREA = 0.55
# A classifier that may tell more than 13 of 20 pairs apart leaves room for a difference that matters.
LARGE_AREA = 0.65
_NAMED = 3


def finding(result: Mapping[str, Any]) -> dict[str, str]:
    """``level``, ``brief`` and ``sentence`` of what ``drift`` measured.

    ``differ``: a difference has p below 0.05 after Holm and is not small. ``slight``: all that have such a p are
    small. ``alike``: none has, and the classifier's whole interval lies where differences are moderate at most.
    ``unknown``: none has, but a large one could have gone unseen.
    """
    parts = [(name, part) for name, part in _parts(result) if part is not None]
    sure = [name for name, part in parts if _sure(part)]
    n = result["n"]
    sizes = f"{n['test']['compared']:,} test and {n['train']['compared']:,} train tweets"
    if not sure:
        brief = "No difference between test and train tweets was found"
        text = (
            f"{brief}: with {sizes}, none of {len(parts)} comparisons tells them apart{_at_best(result['classifier'])}"
        )
        if not _would_show(result):
            few = f"{brief}, but there are too few of them to rule one out."
            return {"level": "unknown", "brief": few, "sentence": f"{text}. They are too few to rule a difference out."}
        return {"level": "alike", "brief": f"{brief}.", "sentence": f"{text}."}
    large = _large(result)
    brief = f"Test and train tweets differ{'' if large else ', but little'}, in {', '.join(_areas(result))}."
    if not large:
        text = f"Test and train tweets ({sizes}) differ a little, surely but by small amounts: {_clauses(result)}."
        return {"level": "slight", "brief": brief, "sentence": text}
    text = (
        f"Test and train tweets ({sizes}) differ: {_clauses(result)}. So the scores tell how the system does on tweets "
        "unlike the train tweets; on tweets like these it may do otherwise."
    )
    return {"level": "differ", "brief": brief, "sentence": text}


def _areas(result: Mapping[str, Any]) -> list[str]:
    """In what they surely differ. What the classifier goes by is words, whether or not their distance shows it."""
    found = {
        "their classes": _sure(result["labels"]),
        "form": any(_sure(part) for part in result["properties"]),
        "words": _sure(result["words"]) or _sure(result["classifier"]),
    }
    return [area for area, sure in found.items() if sure]


def _parts(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any] | None]]:
    properties = [(part["name"], part) for part in result["properties"]]
    return [("labels", result["labels"]), *properties, ("words", result["words"]), ("classifier", result["classifier"])]


def _sure(part: Mapping[str, Any] | None) -> bool:
    return part is not None and bool(part["p_holm"] < ALPHA)


def _large(result: Mapping[str, Any]) -> bool:
    """Whether a sure difference is not small. The distance of the words has no scale; the classifier measures them."""
    far = any(_sure(part) and part["distance"] >= SMALL_DISTANCE for part in (result["labels"], *result["properties"]))
    classifier = result["classifier"]
    return far or (_sure(classifier) and classifier["auc"]["value"] >= SMALL_AREA)


def _clauses(result: Mapping[str, Any]) -> str:
    labels, words, classifier = result["labels"], result["words"], result["classifier"]
    clauses = []
    if _sure(labels):
        moved = max(labels["classes"], key=lambda label: abs(_gap(labels["classes"][label])))
        shares = labels["classes"][moved]
        clauses.append(
            f"in the classes (Cramér's V {labels['distance']:.3f}, 95 % interval {labels['low']:.3f} to "
            f"{labels['high']:.3f}; {moved} has {100 * shares['test']:.1f} % of the test and "
            f"{100 * shares['train']:.1f} % of train)"
        )
    sure = sorted((part for part in result["properties"] if _sure(part)), key=lambda part: -part["distance"])
    if sure:
        listed = "; ".join(f"{part['name']} {part['test']:.3g} against {part['train']:.3g}" for part in sure[:_NAMED])
        more = f"; and {len(sure) - _NAMED} more" if len(sure) > _NAMED else ""
        clauses.append(f"in form (mean in test against train: {listed}{more})")
    if _sure(words):
        clauses.append(
            f"in words (Jensen-Shannon distance {words['distance']:.3f}, where luck gives up to {words['luck']:.3f})"
        )
    if _sure(classifier):
        clauses.append(f"a classifier of words tells them apart ({_area(classifier)})")
    return ", ".join(clauses)


def _gap(shares: Mapping[str, Any]) -> float:
    return float(shares["test"] - shares["train"])


def _would_show(result: Mapping[str, Any]) -> bool:
    """Whether a large difference would have shown: none of the intervals reaches so far."""
    labels, classifier = result["labels"], result["classifier"]
    if classifier is None or classifier["auc"]["high"] is None or classifier["auc"]["high"] > LARGE_AREA:
        return False
    return labels is None or labels["high"] is None or bool(labels["high"] < 2 * SMALL_DISTANCE)


def _at_best(classifier: Mapping[str, Any] | None) -> str:
    if classifier is None:
        return ""
    auc = classifier["auc"]
    guesses = auc["low"] is None or auc["low"] <= 0.5 <= auc["high"]
    said = (
        "guesses" if guesses else "does no better than luck could" if auc["low"] > 0.5 else "does worse than guessing"
    )
    return f"; a classifier of words trained to do so {said} ({_area(classifier)})"


def _area(classifier: Mapping[str, Any]) -> str:
    auc = classifier["auc"]
    return (
        f"area under the ROC curve {auc['value']:.3f}, 95 % interval {auc['low']:.3f} to {auc['high']:.3f}; "
        "0.5 is guessing"
    )
