"""The luck of training: the same recipe from several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

METRICS = ("macro_f1", "balanced_accuracy", "accuracy")


def seed_spread(groups: Sequence[Mapping[str, int]], systems: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What stands under ``seeds`` in ``metrics.json``: how far the scores of one recipe lie apart.

    The interval of a score covers the luck of the test tweets, this the luck of training, which all intervals leave
    out. Every seed is listed, so that none can be left out of a mean.

    Args:
        groups: for each recipe, system -> seed, two systems or more.
        systems: the scores, under ``systems`` in ``metrics.json``.

    Returns:
        For each recipe ``seeds`` (system -> seed, by seed) and for each metric ``mean``, ``sd`` (of the sample, with
        n - 1), ``low`` and ``high`` (the least and the greatest) and ``values`` in the order of ``seeds``.
    """
    found = []
    for group in groups:
        by_seed = dict(sorted(group.items(), key=lambda item: (item[1], item[0])))
        spread: dict[str, Any] = {"seeds": by_seed}
        for metric in METRICS:
            values = [systems[name][metric]["value"] for name in by_seed]
            spread[metric] = {
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)),
                "low": min(values),
                "high": max(values),
                "values": values,
            }
        found.append(spread)
    return found
