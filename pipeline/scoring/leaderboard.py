"""Systems in the order of their scores: what each costs beside what it is worth, every pair, and what others report."""

from collections.abc import Mapping, Sequence
from typing import Any


def leaderboard(
    board: Mapping[str, Any], systems: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], *, rows: int
) -> dict[str, Any]:
    """What stands under ``leaderboard`` in ``metrics.json``.

    Args:
        board: ``costs`` (judged system -> what it took, by name; null where nobody wrote it down) and ``published``
            (``about``, ``rows``, ``tables``; null without).
        systems: the scores, as in ``metrics.json``.
        pairs: every two of the judged systems, compared.
        rows: number of test rows.

    Returns:
        ``standings`` (from the best macro-F1 to the worst: ``system``, ``judged``, ``cost``), ``pairs`` as given, and
        ``published``: null, or ``about``, ``same_rows`` and for each metric its ``source`` and ``standings``, from the
        best to the worst (``system``, ``published``, ``value``, and ``low`` and ``high``, null for what others report).
    """
    costs, published = board["costs"], board["published"]
    ranked = sorted(systems, key=lambda name: (-systems[name]["macro_f1"]["value"], name))
    return {
        "standings": [{"system": name, "judged": name in costs, "cost": costs.get(name)} for name in ranked],
        "pairs": list(pairs),
        "published": published
        and {
            "about": published["about"],
            "rows": published["rows"],
            "same_rows": published["rows"] == rows,
            "tables": [_beside(table, systems) for table in published["tables"]],
        },
    }


def _beside(table: Mapping[str, Any], systems: Mapping[str, Any]) -> dict[str, Any]:
    """What others report in one metric, among what was measured here."""
    theirs = [
        {"system": name, "published": True, "value": float(value), "low": None, "high": None}
        for name, value in table["results"].items()
    ]
    ours = [{"system": name, "published": False, **scores[table["metric"]]} for name, scores in systems.items()]
    ranked = sorted([*ours, *theirs], key=lambda row: (-row["value"], row["system"]))
    return {"metric": table["metric"], "source": table["source"], "standings": ranked}
