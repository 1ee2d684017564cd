"""What becomes of copies: which rows stay for a text that occurs more than once, and with which label.

Copies are texts with one template: the same words, so the same label is expected. Near-duplicates differ in a word, and
the word may be "not"; they are never settled against each other, only kept in one split and, on demand, capped.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.dataset.tables import counted
from pipeline.errors import PipelineError

Policy = Literal["one", "all"]
Conflicts = Literal["majority", "drop", "error"]

_SHOWN = 200  # characters of a text


def resolve_copies(examples: Sequence[Example], policy: Policy, conflicts: Conflicts = "majority") -> Sifted:
    """Settles examples with equal templates: one label for all, and one example if the policy says so.

    With ``"majority"`` the label of more than half of the copies holds, and copies with another one go; where no label
    has more than half, all copies go, because nobody can say which is right. With ``"drop"`` all copies go as soon as
    two labels differ. With ``"one"`` the first copy stays for all of them.

    Raises:
        PipelineError: two labels differ and conflicts are an error.
    """
    if conflicts == "error":
        _refuse_conflicts(examples)
    dropped = {row.id: row for same in _copies(examples) for row in _settle(same, policy, conflicts)}
    kept = [example for example in examples if example.id not in dropped]
    return Sifted(kept, [dropped[example.id] for example in examples if example.id in dropped])


def find_conflicts(examples: Sequence[Example], conflicts: Conflicts = "majority") -> list[dict[str, Any]]:
    """Texts whose copies have different labels, as they stand in ``conflicts.jsonl``, those with most copies first.

    ``text`` is the first of them, ``ids`` are the copies' rows, ``label_counts`` tells what the labels are, and
    ``outcome`` what ``resolve_copies`` does.
    """
    found = []
    for same in _copies(examples):
        votes = Counter(example.label for example in same)
        if len(votes) > 1:
            label = _verdict(votes, conflicts)
            outcome = "all dropped" if label is None else f"kept as {label}"
            counts = dict(votes.most_common())
            ids = [example.id for example in same]
            found.append({"text": same[0].text[:_SHOWN], "label_counts": counts, "outcome": outcome, "ids": ids})
    return sorted(found, key=lambda conflict: -len(conflict["ids"]))


def cap_groups(examples: Sequence[Example], groups: Mapping[str, int], most: int) -> Sifted:
    """Keeps at most so many examples of every group of near-duplicates.

    Those that add something come first: the first example of every template, in their order, then further copies.
    """
    by_group = defaultdict(list)
    for example in examples:
        by_group[groups[example.id]].append(example)
    dropped = {}
    for number, rows in by_group.items():
        firsts = {example.template: example.id for example in reversed(rows)}
        ordered = sorted(rows, key=lambda example: firsts[example.template] != example.id)
        for example in ordered[most:]:
            dropped[example.id] = Dropped.of(example, "duplicate", f"more than {most} of group {number}")
    kept = [example for example in examples if example.id not in dropped]
    return Sifted(kept, [dropped[example.id] for example in examples if example.id in dropped])


def _copies(examples: Sequence[Example]) -> Iterable[list[Example]]:
    """The examples of every template that occurs more than once."""
    copies = defaultdict(list)
    for example in examples:
        copies[example.template].append(example)
    return (same for same in copies.values() if len(same) > 1)


def _verdict(votes: Counter[str], conflicts: Conflicts) -> str | None:
    """The label that holds for all copies; None if there is none."""
    label, most = votes.most_common(1)[0]
    return label if most == votes.total() or (conflicts == "majority" and 2 * most > votes.total()) else None


def _settle(same: Sequence[Example], policy: Policy, conflicts: Conflicts) -> list[Dropped]:
    """What goes of examples with one template."""
    votes = Counter(example.label for example in same)
    label = _verdict(votes, conflicts)
    tally = ", ".join(f"{name} {n}" for name, n in sorted(votes.items()))
    if label is None:
        why = "no majority among copies" if conflicts == "majority" else "copies differ"
        return [Dropped.of(example, "conflicting label", f"{why}: {tally}") for example in same]
    losers = [
        Dropped.of(example, "conflicting label", f"most copies say {label}: {tally}")
        for example in same
        if example.label != label
    ]
    if policy == "one":
        first, *others = (example for example in same if example.label == label)
        losers += [Dropped.of(example, "duplicate", f"of {first.id}") for example in others]
    return losers


def _refuse_conflicts(examples: Sequence[Example]) -> None:
    found = find_conflicts(examples)
    if found:
        worst = found[0]
        counts = ", ".join(f"{label} {n}" for label, n in worst["label_counts"].items())
        rows = ", ".join(worst["ids"][:5]) + (" and more" if len(worst["ids"]) > 5 else "")
        raise PipelineError(
            f"--conflicts error: expected one label for all copies of a text, got several for "
            f"{counted(len(found), 'text')}, the first being rows {rows} ({counts}); correct the labels, or choose "
            "majority or drop"
        )
