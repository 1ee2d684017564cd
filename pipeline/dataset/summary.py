"""What was done to a data set, in numbers: for the manifest, and as a table to read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.dataset.records import REASONS, Dropped, Example

_LARGEST = 10


def count_classes(parts: Mapping[str, Sequence[Example]], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Split -> label -> number of rows, the labels in their order."""
    counts = {name: Counter(example.label for example in rows) for name, rows in parts.items()}
    return {name: {label: counts[name][label] for label in labels} for name in parts}


def count_reasons(dropped: Iterable[Dropped]) -> dict[str, int]:
    """Reason -> number of rows left out for it, in the order of the steps; reasons that did not occur are left out."""
    counts = Counter(row.reason for row in dropped)
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def describe_duplicates(
    examples: Sequence[Example], groups: Mapping[str, int], labels: Sequence[str], dropped: Iterable[Dropped]
) -> dict[str, Any]:
    """How much of the usable rows is repetition: templates, groups, and the largest groups without their texts."""
    members = defaultdict(list)
    for example in examples:
        members[groups[example.id]].append(example.label)
    largest = sorted(members, key=lambda number: (-len(members[number]), number))[:_LARGEST]
    return {
        "usable_rows": len(examples),
        "templates": len({example.template for example in examples}),
        "groups": len(members),
        "rows_in_groups_of_two_or_more": sum(len(rows) for rows in members.values() if len(rows) > 1),
        "conflicting": sum(row.reason == "conflicting label" for row in dropped),
        "largest_groups": [
            {
                "group": number,
                "size": len(members[number]),
                "label_shares": {label: members[number].count(label) / len(members[number]) for label in labels},
            }
            for number in largest
        ],
    }


def summary_table(content: Mapping[str, Any]) -> str:
    """The manifest's numbers as lines for a person."""
    rows = content["rows"]
    lines = [f"rows read     {rows['read']:>8,}"]
    lines += [f"  {reason:<18}{-n:>+9,}" for reason, n in rows["dropped"].items()]
    lines += [f"rows kept     {rows['kept']:>8,}", ""]
    classes = content["classes"]
    labels = list(next(iter(classes.values())))
    width = max(len("class"), *(len(label) for label in labels))
    lines.append(f"{'class':<{width}}" + "".join(f"{name:>9}" for name in classes))
    for label in labels:
        lines.append(f"{label:<{width}}" + "".join(f"{counts[label]:>9,}" for counts in classes.values()))
    lines += ["", "test rows with a copy in train    exact  template      near"]
    for name, found in content["leakage"].items():
        shares = "".join(f"{found[kind]:>10.1%}" for kind in ("exact", "template", "near"))
        lines.append(f"  {name.replace('_', ' '):<27}{shares}")
    return "\n".join(lines)
