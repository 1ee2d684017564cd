"""What must stay together beyond copies, and what must be apart because somebody else made the splits."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.errors import PipelineError

_NAMES = {"val": "validation", "test": "test"}


def merge_groups(groups: Mapping[str, int], keys: Mapping[str, str]) -> dict[str, int]:
    """Groups that keep together what is a copy of each other and what has the same value in a column.

    They are the connected components of a graph in which rows with one group or one value are joined: a copy that two
    authors posted joins all rows of both.

    Args:
        groups: row id -> number of its group of duplicates.
        keys: row id -> value, such as the author. A row without one is joined by its copies alone.

    Returns:
        Row id -> number, counted from 0 in order of first appearance.
    """
    ids = list(groups)
    group, _ = pd.factorize(np.array([groups[name] for name in ids]))
    keyed = [i for i, name in enumerate(ids) if name in keys]
    value, values = pd.factorize(np.array([keys[ids[i]] for i in keyed], dtype=object))
    n = int(group.max(initial=-1)) + 1
    size = n + len(values)
    edges = coo_array((np.ones(len(keyed)), (group[keyed], n + value)), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    numbers, _ = pd.factorize(component[group])
    return dict(zip(ids, numbers.tolist(), strict=True))


def check_merged(
    examples: Sequence[Example],
    merged: Mapping[str, int],
    keys: Mapping[str, str],
    column: str,
    shares: Mapping[str, float],
) -> None:
    """Makes sure that no group is so large that the splits would be nothing like what was asked for.

    All other groups must be at least half of what the splits beside the first, train, shall have.

    Raises:
        PipelineError: one group is larger; the message names the value that most of its rows have.
    """
    sizes = Counter(merged[example.id] for example in examples)
    largest, size = sizes.most_common(1)[0]
    held_out = 1 - shares["train"]
    share, most = size / len(examples), 1 - held_out / 2
    if share <= most:
        return
    values = Counter(keys[e.id] for e in examples if merged[e.id] == largest and e.id in keys)
    what = "copies of each other"
    if values:
        value, rows = values.most_common(1)[0]
        what = f"{value[:40]!r} has {100 * rows / len(examples):.0f} % of the rows"
        what += f", and copies join it with {len(values) - 1:,} other values" if len(values) > 1 else ""
    raise PipelineError(
        f"column {column!r}: expected at most {100 * most:.0f} % of the rows to belong together, got "
        f"{100 * share:.0f} %: {what}; split by another column or at random"
    )


def check_classes(labels: Sequence[str], kept: Sequence[Example], dropped: Sequence[Dropped]) -> None:
    """Makes sure that a class that the source has is still there once rows were left out.

    Raises:
        PipelineError: none of its rows is left; the message says for which reasons they were left out.
    """
    lost = [row for row in dropped if not row.id.startswith(tuple(f"{name}:" for name in _NAMES))]
    present = {example.label for example in kept}
    for label in labels:
        reasons = Counter(row.reason for row in lost if row.label == label)
        if reasons and label not in present:
            told = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
            raise PipelineError(
                f"class {label!r}: expected rows to divide, but all of the source ({reasons.total():,}) were left out: "
                f"{told}; keep some of them, add others, or join the class with another one by --labels"
            )


def drop_shared(
    parts: Mapping[str, Sequence[Example]], groups: Mapping[str, int]
) -> tuple[dict[str, Sequence[Example]], list[Dropped]]:
    """Leaves out of train what has a copy in val or test, and of val what has one in test.

    For splits that the user made: the test rows stay as they are, so that numbers compare with published ones.

    Args:
        parts: split -> rows. Those to keep clean stand first: train, val, test.
        groups: example id -> number of its group of duplicates.

    Returns:
        The parts with what is left, in the same order, and what was left out.
    """
    kept: dict[str, Sequence[Example]] = {}
    dropped: list[Dropped] = []
    holder: dict[int, tuple[str, str]] = {}
    for name in reversed(list(parts)):
        sifted = _without(parts[name], holder, groups)
        kept[name] = sifted.kept
        dropped = [*sifted.dropped, *dropped]
        for example in sifted.kept:
            holder.setdefault(groups[example.id], (name, example.id))
    return {name: kept[name] for name in parts}, dropped


def _without(examples: Sequence[Example], holder: Mapping[int, tuple[str, str]], groups: Mapping[str, int]) -> Sifted:
    """Leaves out the examples whose group another split has; ``holder`` maps a group to that split and a row of it."""
    kept: list[Example] = []
    dropped: list[Dropped] = []
    for example in examples:
        if (found := holder.get(groups[example.id])) is None:
            kept.append(example)
        else:
            dropped.append(Dropped.of(example, f"copy of a {_NAMES[found[0]]} row", f"of {found[1]}"))
    return Sifted(kept, dropped)
