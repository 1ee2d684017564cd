"""What the levers of a training did: runs that differ in more than their seed, class by class."""

from collections.abc import Mapping
from typing import Any


def levers(settings: Mapping[str, Mapping[str, str]], systems: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under ``levers`` in ``metrics.json``: the settings that differ beside the scores of each class.

    One run is one seed: a difference between two of them is also that of their luck, which no interval here covers.

    Args:
        settings: for each run, setting -> its value, for the settings that differ.
        systems: the scores, under ``systems`` in ``metrics.json``.

    Returns:
        ``settings`` (their names) and ``runs``, from the best macro-F1 to the worst; each has its ``settings``,
        ``macro_f1``, ``balanced_accuracy`` and, for each class, ``support``, ``recall`` and ``f1``. What has an
        interval has ``value``, ``low`` and ``high``.
    """
    ranked = sorted(settings, key=lambda name: (-systems[name]["macro_f1"]["value"], name))
    return {
        "settings": list(dict.fromkeys(name for values in settings.values() for name in values)),
        "runs": {
            name: {
                "settings": dict(settings[name]),
                **{metric: systems[name][metric] for metric in ("macro_f1", "balanced_accuracy")},
                "classes": {
                    label: {
                        "support": scores["support"],
                        **{key: {"value": scores[key], **scores["intervals"][key]} for key in ("recall", "f1")},
                    }
                    for label, scores in systems[name]["per_class"].items()
                },
            }
            for name in ranked
        },
    }
