"""What was done to a data set, in numbers: for the manifest, and as a table to read."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.dataset.records import REASONS, Dropped, Example

_LARGEST = 10
_WIDTH = 100  # columns of a terminal
# What a row of the leakage table is about.
_LEAKS = {
    "made": "made",
    "official_split": "official split",
    "random_split": "random split",
    "against": "copies in the other file",
}


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
    """The manifest's numbers as lines for a person, alarms first, at most 100 columns wide."""
    rows = content["rows"]
    lines = [line for alarm in content.get("alarms", ()) for line in _wrapped("! ", alarm["text"])]
    lines += [""] if lines else []
    lines.append(f"{'rows read':<28}{rows['read']:>9,}")
    left_out = {"rejected": rows.get("rejected", 0), **rows["dropped"]}
    lines += [f"  {reason:<26}{-n:>+9,}" for reason, n in left_out.items() if n]
    lines += [f"{'rows kept':<28}{rows['kept']:>9,}", ""]
    if "splits" in content:
        lines += [*_wrapped("split ", _how_split(content["splits"])), ""]
    lines += [*_class_table(content["classes"]), ""]
    lines.append("test rows with a copy in train    exact  template      near")
    for name, found in content["leakage"].items():
        shares = "".join(f"{found[kind]:>10.1%}" for kind in ("exact", "template", "near"))
        lines.append(f"  {_LEAKS.get(name, name):<27}{shares}")
    return "\n".join(lines)


def _how_split(splits: Mapping[str, Any]) -> str:
    """How the splits were made, in a few words."""
    how = {"random": "at random", "time": "by time", "column": f"by column {splits.get('column')!r}"}[splits["by"]]
    if splits.get("folds"):
        return f"{how}, in {splits['folds']['n']} folds; every row is in the test of one"
    starts = [f"{name} from {start}" for name, start in (splits.get("boundaries") or {}).items()]
    return f"{how}: {', '.join(starts)}" if starts else f"{how}, copies together"


def _class_table(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """One line a class, one column a split."""
    labels = list(next(iter(classes.values())))
    column = 9 if len(classes) <= 5 else 8
    width = min(_WIDTH - column * len(classes), max(len("class"), *(len(label) for label in labels)))
    lines = [f"{'class':<{width}}" + "".join(f"{name:>{column}}" for name in classes)]
    for label in labels:
        counts = "".join(f"{split[label]:>{column},}" for split in classes.values())
        lines.append(f"{_cut(label, width):<{width}}{counts}")
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
