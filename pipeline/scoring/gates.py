"""Requirements that a person sets on the numbers, so that a script can act on them."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError, did_you_mean

_FORM = re.compile(
    r"\s*(?P<path>\S.*?)\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)
_SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_PER_CLASS = ("precision", "recall", "f1", "f2")
# What a path may begin with besides: the scores of the candidate, and metrics.json from its top. All but the first two
# rows of names are there in some reports only; a path into one that is not is told once it is known.
_BEGINNINGS = (
    *("accuracy", "balanced_accuracy", "macro_f1", "mcc", "adjusted_balanced_accuracy", "macro_precision"),
    *("weighted_f1", "g_mean", "kappa", "quadratic_kappa", "severe_error_rate"),
    *("unparsed_rate", "unparsed_interval", "readings", "disagreement_rate", "disagreement_interval", "label_mass"),
    *("per_class", "rows", "picked_from", "intervals", "systems", "adjustment", "behaviour", "confidence", "drift"),
    *("leaderboard", "leakage_sheet", "levers", "normalisation", "priors", "ranking", "seeds", "training", "weak"),
)


@dataclass(frozen=True)
class Requirement:
    """A number of ``metrics.json``, by its ``path``, and the bound that it has to keep."""

    text: str
    path: str
    sign: str
    bound: float

    def unmet(self, metrics: Mapping[str, Any]) -> str | None:
        """What is wrong, in one line; None where the requirement is met.

        Raises:
            PipelineError: the path leads to no number.
        """
        found = value_at(metrics, self.path)
        met = found is not None and _SIGNS[self.sign](found, self.bound)
        return (
            None
            if met
            else f"{self.path} is {'not defined' if found is None else f'{found:.4f}'}, not {self.sign} {self.bound:g}"
        )


def parse(requirements: Sequence[str]) -> list[Requirement]:
    """Requirements such as ``macro_f1.low >= 0.60`` or ``recall.Negative.low >= 0.4``.

    Raises:
        PipelineError: one is not of this form.
    """
    parsed = []
    for text in requirements:
        match = _FORM.fullmatch(text)
        if match is None:
            raise PipelineError(
                f"--require {text!r}: expected a number of metrics.json, >=, <=, > or <, and a bound, such as "
                "'macro_f1.low >= 0.6' or 'recall.Negative.low >= 0.4'"
            )
        parsed.append(Requirement(text, match["path"], match["sign"], float(match["bound"])))
    return parsed


def check(requirements: Sequence[Requirement], labels: Sequence[str]) -> None:
    """Finds the paths that cannot lead to a number, before anything is scored: by their first word and their class.

    Raises:
        PipelineError: one begins with no known word, or names no class of the task.
    """
    for each in requirements:
        name, _, rest = each.path.partition(".")
        if name not in (*_PER_CLASS, *_BEGINNINGS):
            raise PipelineError(
                f"--require {each.text!r}: expected a path that begins with macro_f1, accuracy, recall or another name "
                f"of metrics.json, got {name!r}{did_you_mean(name, (*_PER_CLASS, *_BEGINNINGS))}"
            )
        if name in _PER_CLASS and not any(rest in (label, f"{label}.low", f"{label}.high") for label in labels):
            got = rest.removesuffix(".low").removesuffix(".high")
            raise PipelineError(
                f"--require {each.text!r}: expected {name}.CLASS, {name}.CLASS.low or {name}.CLASS.high with one of "
                f"the classes {', '.join(labels)}, got {got or 'no class'!r}{did_you_mean(got, labels)}"
            )


def value_at(metrics: Mapping[str, Any], path: str) -> float | None:
    """The number at a path of keys divided by points; None where it is null.

    Three ways are tried: ``recall.CLASS`` and ``recall.CLASS.low`` for what each class has, then the scores of the
    candidate (``macro_f1``, ``macro_f1.low``), then ``metrics.json`` from its top (``systems.tfidf.mcc.high``). What
    has a value and an interval stands for its value.

    Raises:
        PipelineError: there is no number at this path.
    """
    candidate = metrics["systems"][metrics["candidate"]]
    for root, keys in ((candidate, _class_path(path, metrics)), (candidate, path), (metrics, path)):
        found = _follow(root, keys if isinstance(keys, list) else keys.split("."))
        if isinstance(found, Mapping) and "value" in found:
            found = found["value"]
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
        if found is None:
            return None
    raise PipelineError(
        f"--require: expected a number of metrics.json, got {path!r}; write macro_f1.low, recall.CLASS.low, or the "
        "path from the top, such as systems.tfidf.accuracy.value"
    )


def _class_path(path: str, metrics: Mapping[str, Any]) -> list[str]:
    """The keys behind ``recall.CLASS`` or ``recall.CLASS.low``; class names may hold points. Empty for other paths."""
    name, _, rest = path.partition(".")
    if name not in _PER_CLASS:
        return []
    for label in metrics["rows"]["support"]:
        if rest == label:
            return ["per_class", label, name]
        if rest in (f"{label}.low", f"{label}.high"):
            return ["per_class", label, "intervals", name, rest.rpartition(".")[2]]
    return []


class _Absent:
    """Where a path leads to nothing, which is not the same as null."""


def _follow(value: Any, keys: Sequence[str]) -> Any:
    if not keys:
        return _Absent
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return _Absent
        value = value[key]
    return value
