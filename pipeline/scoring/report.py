"""The page: one HTML file that opens offline, without JavaScript, whatever the tweets contain."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pipeline.scoring import page
from pipeline.scoring.figures import class_distribution, comparison_figure, confusion_figure
from pipeline.scoring.page import facts, trusted
from pipeline.scoring.sample import HEADLINE
from pipeline.scoring.verdict import name_of

ERRORS_SHOWN = 40
ERRORS_UNFOLDED = 10
UNPARSED_SHOWN = 10
LEAKS = ("exact", "template", "near")
# Of the data's manifest; the rest has a section here or stands on the data's own page.
DATA_LISTED = ("source", "options", "dates", "splits", "files", "provenance")

_SHADES = 10


class Context(TypedDict, total=False):
    """What the page tells besides the scores; every key may be missing.

    ``title`` is the heading. ``run`` and ``data`` are the manifests of the run and of the prepared data set,
    ``provenance`` is that of this evaluation. Of ``data``, three keys make the section on the data: ``classes``
    (split -> label -> rows), ``rows`` (``read``, ``kept``, ``dropped``: reason -> rows) and ``leakage`` (split ->
    ``exact``, ``template``, ``near``: share of its test rows with such a copy in train), and ``alarms`` (``kind``,
    ``text``) stand above all else. How it was made, and the other two mappings, are listed key by key in the section
    on reproduction.
    """

    title: str
    run: Mapping[str, Any]
    data: Mapping[str, Any]
    provenance: Mapping[str, Any]


def render(metrics: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], context: Context) -> str:
    """The report as one HTML page; the same input gives the same text.

    Args:
        metrics: what ``score`` made of the predictions.
        predictions: the rows of ``predictions.jsonl``, for the error gallery.
        context: what else the page tells.
    """
    environment = page.environment()
    environment.filters |= {
        "shade": lambda row, n: min(_SHADES - 1, int(_SHADES * n / max(1, sum(row)))),
        "in_sentence": name_of,
        "system_name": _system_name,
    }
    confusion, data = metrics["confusion"], context.get("data", {})
    labels = confusion["labels"]
    facts_of_data = _data_section(data, labels)
    classes = facts_of_data["classes"]
    provenance = [
        ("This evaluation", facts(context.get("provenance", {}))),
        ("The training run", facts(context.get("run", {}))),
        ("The prepared data", facts({key: data[key] for key in DATA_LISTED if key in data})),
    ]
    scores = {_system_name(name): system["macro_f1"] for name, system in metrics["systems"].items()}
    return environment.get_template("report.html").render(
        title=context.get("title", "A tuned model"),
        made=str(context.get("provenance", {}).get("created_at", ""))[:10],
        metrics=metrics,
        style=page.style("page.css"),
        alarms=[(page.alarm_name(alarm["kind"]), alarm["text"]) for alarm in data.get("alarms", [])],
        figures={
            "comparison": trusted(comparison_figure(scores)),
            "confusion": trusted(confusion_figure(confusion["matrix"], labels)),
            "classes": trusted(class_distribution(classes, labels)) if classes else None,
        },
        data=facts_of_data,
        gallery=_gallery(predictions),
        provenance=[(heading, listed) for heading, listed in provenance if listed],
    )


def _system_name(name: str) -> str:
    """What a system is called in a table or figure."""
    text = name_of(name).removeprefix("the ")
    return text[:1].upper() + text[1:]


def _gallery(predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tuned model's errors: wrong labels, the surest first, and apart from them what could not be parsed."""
    errors = []
    for row in predictions:
        answer = row["systems"]["tuned"]
        predicted = answer[HEADLINE["tuned"]]
        if predicted != row["label"]:
            scores = answer["log_likelihoods"]
            largest = max(scores.values())
            total = sum(math.exp(score - largest) for score in scores.values())
            sure = None if predicted is None else math.exp(scores[predicted] - largest) / total
            errors.append(
                {**row, "predicted": predicted or "unparsed", "completion": answer["completion"], "confidence": sure}
            )
    wrong = sorted((e for e in errors if e["confidence"] is not None), key=lambda e: (-e["confidence"], e["id"]))
    unparsed = sorted((e for e in errors if e["confidence"] is None), key=lambda e: e["id"])
    return {
        "wrong": wrong[:ERRORS_UNFOLDED],
        "wrong_folded": wrong[ERRORS_UNFOLDED:ERRORS_SHOWN],
        "wrong_total": len(wrong),
        "unparsed": unparsed[:UNPARSED_SHOWN],
        "unparsed_total": len(unparsed),
    }


def _data_section(data: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """What the section on the data shows of the prepared manifest; a part that is missing is empty."""

    def mapping(value: object) -> Mapping[Any, Any]:
        return value if isinstance(value, Mapping) else {}

    rows = mapping(data.get("rows"))
    return {
        "classes": {
            str(split): {label: mapping(counts).get(label, 0) for label in labels}
            for split, counts in mapping(data.get("classes")).items()
        },
        "read": rows.get("read"),
        "kept": rows.get("kept"),
        "dropped": [(str(reason), f"{n:,}") for reason, n in mapping(rows.get("dropped")).items()],
        "leakage": {
            str(split).replace("_", " "): [mapping(shares).get(kind) for kind in LEAKS]
            for split, shares in mapping(data.get("leakage")).items()
        },
    }
