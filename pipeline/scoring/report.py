"""The page: one HTML file that opens offline, without JavaScript, whatever the tweets contain."""

import base64
import hashlib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.scoring.figures import class_distribution, comparison_figure, confusion_figure
from pipeline.scoring.sample import HEADLINE
from pipeline.scoring.verdict import name_of, percent_text

ERRORS_SHOWN = 40
ERRORS_UNFOLDED = 10
UNPARSED_SHOWN = 10
LEAKS = ("exact", "template", "near")

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_SURROGATE = re.compile("[\ud800-\udfff]")
# C0 but tab and line feed, DEL and C1, then what is invisible or turns the direction of the text around it. U+200C,
# U+200D and U+FE0F stay: Persian words and emoji sequences are made with them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_SHADES = 10


class Context(TypedDict, total=False):
    """What the page tells besides the scores; every key may be missing.

    ``title`` is the heading. ``run`` and ``data`` are the manifests of the run and of the prepared data set,
    ``provenance`` is that of this evaluation. Of ``data``, three keys make the section on the data: ``classes``
    (split -> label -> rows), ``rows`` (``read``, ``kept``, ``dropped``: reason -> rows) and ``leakage`` (split ->
    ``exact``, ``template``, ``near``: share of its test rows with such a copy in train). All that remains, and the
    other two mappings, are listed key by key in the section on reproduction.
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
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    confusion, data = metrics["confusion"], context.get("data", {})
    labels = confusion["labels"]
    facts_of_data = _data_section(data, labels)
    classes = facts_of_data["classes"]
    provenance = [
        ("This evaluation", _facts(context.get("provenance", {}))),
        ("The training run", _facts(context.get("run", {}))),
        ("The prepared data", _facts({k: v for k, v in data.items() if k not in ("classes", "rows", "leakage")})),
    ]
    scores = {_system_name(name): system["macro_f1"] for name, system in metrics["systems"].items()}
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=context.get("title", "A tuned model"),
            made=str(context.get("provenance", {}).get("created_at", ""))[:10],
            metrics=metrics,
            style=_trusted(style),
            style_hash=f"sha256-{digest}",
            figures={
                "comparison": _trusted(comparison_figure(scores)),
                "confusion": _trusted(confusion_figure(confusion["matrix"], labels)),
                "classes": _trusted(class_distribution(classes, labels)) if classes else None,
            },
            data=facts_of_data,
            gallery=_gallery(predictions),
            provenance=[(heading, facts) for heading, facts in provenance if facts],
        )
    )


def visible(text: object, cap: int) -> str:
    """Text as a reader should see it: hidden characters by their code, ``cap`` characters at most.

    Escaping is the template's work; this is for what HTML would let pass.
    """
    text = _SURROGATE.sub("\ufffd", str(text))
    if len(text) > cap:
        text = text[:cap].rstrip() + " …"
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text.replace("\r\n", "\n"))


def _sentence(text: str) -> str:
    """A sentence of the verdict, with its numbers kept on one line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\bp [<=]) |(?<=\bp) (?=[<=])", "\u00a0", visible(text, 1000))


def _system_name(name: str) -> str:
    """What a system is called in a table or figure."""
    text = name_of(name).removeprefix("the ")
    return text[:1].upper() + text[1:]


def _trusted(text: str) -> Markup:
    """Marks text as HTML: the one place that does, for the style sheet and the figures of this package.

    The figures hold labels; the XML writer has escaped them.
    """
    return Markup(text)  # noqa: S704


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "three": lambda x: f"{x:.3f}".replace("-", "−"),
        "signed": lambda x: f"{x:+.3f}".replace("-", "−"),
        "percent": percent_text,
        "count": lambda n: f"{n:,}",
        "p": lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}",
        "shade": lambda row, n: min(_SHADES - 1, int(_SHADES * n / max(1, sum(row)))),
        "in_sentence": name_of,
        "system_name": _system_name,
        "sentence": _sentence,
    }
    return environment


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


def _facts(value: object, name: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, text) pairs in their order; a level of nesting is a ``·`` in the name."""
    if isinstance(value, Mapping):
        return [
            fact
            for key, inner in value.items()
            for fact in _facts(inner, f"{name} · {key}".removeprefix(" · ").replace("_", " "))
        ]
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return _facts(dict(enumerate(value, start=1)), name)
        if name == "argv" or name.endswith("· argv"):
            return [(name, shlex.join(str(word) for word in value))]
        return [(name, ", ".join(str(item) for item in value))]
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    if isinstance(value, int) and abs(value) >= 10_000:
        return [(name, f"{value:,}")]
    return [(name, "none" if value is None else str(value))]
