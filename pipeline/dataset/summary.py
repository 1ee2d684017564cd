"""What was done to a data set, in numbers: for the manifest, and as a table to read."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.dataset.records import REASONS, Dropped, Example
from pipeline.dataset.tables import counted

_LARGEST = 10
_WIDTH = 100  # columns of a terminal
_KINDS = ("exact", "template", "near")
# The tables of copies: what each is about, and what its rows are.
_LEAKS = {
    "test rows with a copy in train": {
        "made": "this split",
        "official_split": "your files as they are",
        "random_split": "random split",
    },
    "rows with a copy in --against": {"against_train": "train", "against_val": "val", "against": "test"},
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


def summary_table(contents: Sequence[Mapping[str, Any]]) -> str:
    """The manifest's numbers as lines for a person, alarms first, at most 100 columns wide.

    Args:
        contents: one manifest, or one for every fold; what all folds share is told once.
    """
    first = contents[0]
    alarms = [[alarm["text"] for alarm in each.get("alarms", ())] for each in contents]
    shared = [text for text in alarms[0] if all(text in each for each in alarms)]
    lines = [*_alarm_lines(shared), *_row_lines(first["rows"]), ""]
    if "splits" in first:
        lines += [*_wrapped("split ", _how_split(first["splits"])), ""]
    if raters := (first.get("labels") or {}).get("raters"):
        lines += [*_wrapped("raters ", _how_agreed(raters)), ""]
    if len(contents) == 1:
        return "\n".join([*lines, *_class_table(first["classes"]), "", *_leakage_tables(first["leakage"])])
    common = {name: found for name, found in first["leakage"].items() if name == "random_split"}
    lines += _leakage_tables(common)
    for number, (each, texts) in enumerate(zip(contents, alarms, strict=True), start=1):
        lines += ["", f"fold {number} of {len(contents)}", ""]
        lines += _alarm_lines([text for text in texts if text not in shared])
        own = {name: found for name, found in each["leakage"].items() if name not in common}
        lines += [*_class_table(each["classes"]), "", *_leakage_tables(own)]
    return "\n".join(lines)


def _alarm_lines(texts: Sequence[str]) -> list[str]:
    lines = [line for text in texts for line in _wrapped("! ", text)]
    return [*lines, ""] if lines else []


def _row_lines(rows: Mapping[str, Any]) -> list[str]:
    """From the rows read to the rows kept."""
    left_out = {"rejected": rows.get("rejected", 0), **rows["dropped"]}
    steps = [f"  {reason:<26}{-n:>+9,}" for reason, n in left_out.items() if n]
    return [f"{'rows read':<28}{rows['read']:>9,}", *steps, f"{'rows kept':<28}{rows['kept']:>9,}"]


def _leakage_tables(leakage: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the test has in common with train, and every split with the other file."""
    lines = []
    for title, names in _LEAKS.items():
        found = {name: leakage[key] for key, name in names.items() if leakage.get(key)}
        lines += [f"{title:<30}{'exact':>9}{'template':>10}{'near':>10}"] if found else []
        for name, shares in found.items():
            lines.append(f"  {name:<27}" + "".join(f"{100 * shares[kind]:>8.1f} %" for kind in _KINDS))
    return lines


def _how_split(splits: Mapping[str, Any]) -> str:
    """How the splits were made, in a few words."""
    own = splits.get("own_files") or ()
    if len(own) == 2:
        return "as your files are: val and test are your own, train is the rest"
    how = {"random": "at random", "time": "by time", "column": f"by column {splits.get('column')!r}"}[splits["by"]]
    if splits.get("folds"):
        return f"{how}, in {splits['folds']['n']} folds; every row is in the test of one"
    starts = ", ".join(f"{name} from {_moment(start)}" for name, start in (splits.get("boundaries") or {}).items())
    later = sum((splits.get("later_copies") or {}).values())
    how = f"{how}: {starts}" if starts else f"{how}, copies together"
    how += f"; {counted(later, 'row')} written later stay with a copy from before" if later else ""
    return f"{how}; {own[0]} is your own file" if own else how


def _how_agreed(raters: Mapping[str, Any]) -> str:
    """How far the raters agree, and what one of them scores against the others."""
    alpha, ceiling = raters["krippendorff_alpha"], raters.get("human_ceiling")
    found = "not defined" if alpha is None else f"{alpha:.2f} [{raters['low']:.2f}, {raters['high']:.2f}]"
    text = f"Krippendorff's alpha {found} on {counted(raters['items'], 'text')}"
    if ceiling is None:
        return text
    interval = f"[{ceiling['low']:.2f}, {ceiling['high']:.2f}]"
    return f"{text}; one rater against the others: macro-F1 {ceiling['macro_f1']:.2f} {interval}"


def _moment(iso: str) -> str:
    """A moment without its zone, and without a time at midnight."""
    return iso[:19].replace("T", " ").removesuffix(" 00:00:00")


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
