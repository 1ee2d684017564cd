"""The page: one HTML file that opens offline, without JavaScript, whatever the tweets contain."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pipeline.scoring import page
from pipeline.scoring.confidence_figures import reliability_figure, risk_coverage_figure
from pipeline.scoring.figures import class_distribution, comparison_figure, confusion_figure, leaderboard_figure
from pipeline.scoring.findings import findings
from pipeline.scoring.gallery import gallery
from pipeline.scoring.page import facts, trusted
from pipeline.scoring.ranking_figures import precision_recall_figure
from pipeline.scoring.training_figures import training_figures
from pipeline.scoring.training_sentence import facts as training_facts
from pipeline.scoring.verdict import candidate_of, system_name
from pipeline.scoring.weak_figures import weak_figures

LEAKS = ("exact", "template", "near")
# Of the data's manifest; the rest has a section here or stands on the data's own page.
DATA_LISTED = ("source", "options", "dates", "splits", "files", "provenance")

_SHADES = 10
# Scores that have no column in the first table, with their headings.
_MORE = {
    "adjusted_balanced_accuracy": "Balanced accuracy, adjusted",
    "macro_precision": "Macro-precision",
    "weighted_f1": "Weighted F1",
    "g_mean": "G-mean",
    "kappa": "Kappa",
    "quadratic_kappa": "Quadratic kappa",
    "severe_error_rate": "Severe errors",
}


class Context(TypedDict, total=False):
    """What the page tells besides the scores; every key may be missing.

    ``title`` is the heading, ``hidden`` says that the rows come without their texts. ``run`` and ``data`` are the
    manifests of the run and of the prepared data set, ``provenance`` is that of this evaluation. Of ``data``, three
    keys make the section on the data: ``classes`` (split -> label -> rows), ``rows`` (``read``, ``kept``, ``dropped``:
    reason -> rows) and ``leakage`` (split -> ``exact``, ``template``, ``near``: share of its test rows with such a copy
    in train), and ``alarms`` (``kind``, ``text``) stand above all else. How it was made, and the other two mappings,
    are listed key by key in the section on reproduction.
    """

    title: str
    hidden: bool
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
    }
    confusion, data = metrics["confusion"], context.get("data", {})
    labels = confusion["labels"]
    facts_of_data = _data_section(data, labels)
    errors = gallery(predictions, labels, metrics["candidate"], ordered=metrics["ordered"])
    classes = facts_of_data["classes"]
    provenance = [
        ("This evaluation", facts(context.get("provenance", {}))),
        ("The training run", facts(context.get("run", {}))),
        ("The prepared data", facts({key: data[key] for key in DATA_LISTED if key in data})),
    ]
    return environment.get_template("report.html").render(
        title=context.get("title", "A tuned model"),
        made=str(context.get("provenance", {}).get("created_at", ""))[:10],
        metrics=metrics,
        more_metrics={
            name: heading for name, heading in _MORE.items() if name in metrics["systems"][metrics["candidate"]]
        },
        style=page.style("page.css"),
        alarms=[(page.alarm_name(alarm["kind"]), alarm["text"]) for alarm in data.get("alarms", [])],
        figures=_figures(metrics, classes),
        data=facts_of_data,
        candidate=candidate_of(metrics),
        judged=[row["system"] for row in metrics.get("leaderboard", {}).get("standings", []) if row["judged"]],
        findings=findings(metrics, errors) | facts_of_data["finding"],
        gallery=errors,
        training_facts=training_facts(metrics["training"]) if "training" in metrics else [],
        hidden=context.get("hidden", False),
        provenance=[(heading, listed) for heading, listed in provenance if listed],
    )


def _figures(metrics: Mapping[str, Any], classes: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The figures by name, for the parts that the metrics have."""
    confusion = metrics["confusion"]
    labels, systems = confusion["labels"], metrics["systems"]
    names = {name: system_name(name) for name in systems}
    found = {
        "comparison": comparison_figure({names[name]: system["macro_f1"] for name, system in systems.items()}),
        "confusion": confusion_figure(confusion["matrix"], labels),
    }
    if "leaderboard" in metrics:
        standings = metrics["leaderboard"]["standings"]
        found["leaderboard"] = leaderboard_figure(
            {names[row["system"]]: systems[row["system"]]["macro_f1"] for row in standings},
            [row["judged"] for row in standings],
        )
    if classes:
        found["classes"] = class_distribution(classes, labels)
    if "confidence" in metrics:
        found["confidence_reliability"] = reliability_figure(
            metrics["confidence"]["calibration"]["equal_width"]["bins"]
        )
        found["confidence_risk"] = risk_coverage_figure(metrics["confidence"]["selective"])
    if metrics.get("ranking", {}).get("systems"):
        ranked = {name: names[name] for name in metrics["ranking"]["systems"]}
        found["ranking"] = precision_recall_figure(metrics["ranking"], labels, ranked)
    if "weak" in metrics:
        found |= weak_figures(metrics["weak"])
    if "training" in metrics:
        found |= training_figures(metrics["training"], labels)
    return {name: trusted(figure) for name, figure in found.items()}


def _data_section(data: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """What the section on the data shows of the prepared manifest; a part that is missing is empty."""

    def mapping(value: object) -> Mapping[Any, Any]:
        return value if isinstance(value, Mapping) else {}

    rows = mapping(data.get("rows"))
    leaks = mapping(mapping(data.get("leakage")).get("made"))
    finding = []
    if isinstance(rows.get("read"), int) and isinstance(rows.get("kept"), int):
        finding.append(f"Of {rows['read']:,} rows read, {rows['kept']:,} were kept.")
    if leaks.get("near") is not None:
        finding.append(f"{page.share_text(leaks['near'])} of the test tweets have a near-copy in train.")
    return {
        "finding": {"data": " ".join(finding)} if finding else {},
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
