"""One number, one interval: where a section shows a number of the headline again, it takes over its interval.

Each section resamples on its own, with other columns and therefore other draws, so its interval would differ in the
third digit, and a reader would ask why.
"""

from collections.abc import Mapping
from typing import Any

_ENDS = ("value", "low", "high")
_ROUNDING = 1e-9


def take_over(found: Mapping[str, Any], systems: Mapping[str, Any], candidate: str) -> None:
    """Puts the headline's intervals into sections, in place.

    Args:
        found: the parts of ``metrics.json`` beside the scores.
        systems: the scores, as in ``metrics.json``.
        candidate: the system that is judged.
    """
    scores = systems[candidate]
    for model, one in (found.get("normalisation") or {}).items():
        _same(one["methods"]["sum"], systems[model]["readings"]["loglikelihood"])
    for kept in ((found.get("confidence") or {}).get("selective") or {}).get("at_coverage", ()):
        if kept["n"] == kept["coverage"]["n"]:
            _same(kept, scores)
    uniform = ((found.get("priors") or {}).get("scenarios") or {}).get("uniform")
    if uniform:
        _same(uniform, {"accuracy": scores["balanced_accuracy"]})
    before = ((found.get("adjustment") or {}).get("test") or {}).get("before")
    if before:
        _same(before, scores["readings"]["loglikelihood"])
        if scores["disagreement_rate"] == 0:  # the answers of the headline and these are the same
            for label, shown in before["classes"].items():
                one = scores["per_class"][label]
                _same(shown, {key: {"value": one[key], **ends} for key, ends in one["intervals"].items()})


def _same(section: Any, headline: Mapping[str, Any]) -> None:
    """Takes over each estimate that stands in both; what a section does not define stays undefined."""
    for name, estimate in section.items():
        shared = isinstance(estimate, Mapping) and set(_ENDS) <= estimate.keys() and name in headline
        if shared and abs(estimate["value"] - headline[name]["value"]) < _ROUNDING:
            section[name] = {**estimate, **{key: headline[name][key] for key in _ENDS}}
