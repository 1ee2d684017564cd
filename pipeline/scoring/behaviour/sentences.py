"""What the tests of behaviour say, in plain words."""

from collections.abc import Mapping
from typing import Any

from pipeline.scoring.verdict import percent_text

WORST = 3
# A cell is called weak when its failure rate is above this even at the lower end of the interval.
NOTABLE = 0.1
_TESTS = {"MFT": "expected label", "INV": "same answer", "DIR": "direction"}


def sentences(result: Mapping[str, Any]) -> list[str]:
    """One on the weakest cells, one on robustness, one on injections, and a caution for a constant answer.

    Args:
        result: the key ``behaviour`` but for ``sentences``.
    """
    if result["not_run"] is not None:
        return []
    cells = result["cells"]
    said = [_weakest(cells)]
    if result["constant"]:
        said.append(
            "Every text got the same answer, so that no test of the same answer can fail: "
            "read the tests with an expected label alone."
        )
    robust = result["robust"]
    if robust["before"]["n"]:
        said.append(
            f"Of {robust['before']['n']:,} tweets that were changed in several ways, "
            f"{_rate(robust['before'])} are right as they stand, and {_rate(robust['worst'])} in every version."
        )
    said += [_injection(cell) for cell in cells if "towards" in cell and cell["towards"]["n"]]
    return said


def weakest(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most three cells, the highest failure rate first, that surely fail in more than one case of ten."""
    notable = [cell for cell in cells if cell["failure"] is not None and cell["failure"]["low"] > NOTABLE]
    return sorted(notable, key=lambda cell: -cell["failure"]["value"])[:WORST]


def _weakest(cells: list[dict[str, Any]]) -> str:
    worst = weakest(cells)
    if not worst:
        return f"In none of {len(cells)} cells does it surely fail in more than one case of ten."
    named = "; ".join(
        f"{cell['capability']} ({_TESTS[cell['test']]}) {_rate(cell['failure'])} of {cell['failure']['n']:,}"
        f"{_no_better(cell)}"
        for cell in worst
    )
    return f"It fails most in: {named}."


def _no_better(cell: Mapping[str, Any]) -> str:
    if "trivial" not in cell or cell["failure"]["value"] < 1 - cell["trivial"]["accuracy"]:
        return ""
    return f", no better than always answering {cell['trivial']['label']}"


def _injection(cell: Mapping[str, Any]) -> str:
    return (
        f"Orders hidden in a tweet turned {_rate(cell['towards'])} of {cell['towards']['n']:,} answers into the label "
        f"they asked for, and {_rate(cell['elsewhere'])} into another."
    )


def _rate(share: Mapping[str, Any]) -> str:
    return f"{percent_text(share['value'])} ({percent_text(share['low'])} to {percent_text(share['high'])})"
