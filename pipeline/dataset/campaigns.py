"""Tweets that were sent many times: how much of the data they are, and which class they carry."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.dataset.records import Example

SMALLEST = 3  # rows; two people may say the same thing
FILLS = 0.20  # share of a class's rows above which a campaign fills the class
_SHOWN = 200  # characters of a text


def campaigns(
    examples: Sequence[Example], groups: Mapping[str, int], labels: Sequence[str], *, most: int = 20
) -> list[dict[str, Any]]:
    """The largest groups of near-duplicates with three rows or more, and those that fill a class; the largest first.

    Args:
        examples: all usable rows, before copies were left out.
        groups: example id -> number of its group.
        labels: the classes in their order.
        most: how many groups to list beside those that fill a class.

    Returns:
        For every group its number, size, share of all rows (0 to 1), rows of each class, what share of each class
        these are, and its most frequent text, cut at 200 characters.
    """
    sizes = Counter(groups[example.id] for example in examples)
    totals = Counter(example.label for example in examples)
    in_class = Counter((groups[example.id], example.label) for example in examples)
    filling = {number for (number, label), rows in in_class.items() if rows > FILLS * totals[label]}
    # By size, then by first appearance.
    listed = [
        number
        for rank, (number, size) in enumerate(sizes.most_common())
        if size >= SMALLEST and (rank < most or number in filling)
    ]
    members: dict[int, list[Example]] = {number: [] for number in listed}
    for example in examples:
        if (rows := members.get(groups[example.id])) is not None:
            rows.append(example)
    return [_campaign(number, rows, labels, totals) for number, rows in members.items()]


def class_shares_in_copies(
    examples: Sequence[Example], groups: Mapping[str, int], labels: Sequence[str]
) -> dict[str, float]:
    """The share of every class's rows, 0 to 1, that have a near-duplicate; 0 for a class without rows."""
    sizes = Counter(groups[example.id] for example in examples)
    repeated: dict[str, int] = defaultdict(int)
    totals = Counter(example.label for example in examples)
    for example in examples:
        repeated[example.label] += sizes[groups[example.id]] > 1
    return {label: _share(repeated[label], totals[label]) for label in labels}


def _campaign(number: int, rows: Sequence[Example], labels: Sequence[str], totals: Counter[str]) -> dict[str, Any]:
    counts = Counter(example.label for example in rows)
    [(text, _)] = Counter(example.text for example in rows).most_common(1)
    return {
        "group": number,
        "size": len(rows),
        "share_of_rows": len(rows) / totals.total(),
        "label_counts": {label: counts[label] for label in labels},
        "class_shares": {label: _share(counts[label], totals[label]) for label in labels},
        "text": text[:_SHOWN],
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
