"""What becomes of copies: which rows stay for a text that occurs more than once, and with which label."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from pipeline.dataset.records import Dropped, Example, Sifted

Policy = Literal["one", "all"]


def resolve_copies(examples: Sequence[Example], policy: Policy) -> Sifted:
    """Settles examples with equal templates: one label for all, and one example if the policy says so.

    The label of more than half of the copies holds; copies with another one go. Where no label has more than half,
    all copies go, because nobody can say which is right. With ``"one"`` the first copy stays for all of them.
    """
    copies = defaultdict(list)
    for example in examples:
        copies[example.template].append(example)
    dropped: dict[str, Dropped] = {}
    for same in copies.values():
        for loser in _settle(same, policy):
            dropped[loser.id] = loser
    kept = [example for example in examples if example.id not in dropped]
    return Sifted(kept, [dropped[example.id] for example in examples if example.id in dropped])


def drop_copies_of(test: Sequence[Example], examples: Sequence[Example], groups: Mapping[str, int]) -> Sifted:
    """Leaves out the examples whose group of duplicates also occurs in an official test file."""
    first: dict[int, str] = {}
    for row in test:
        first.setdefault(groups[row.id], row.id)
    kept = [example for example in examples if groups[example.id] not in first]
    dropped = [
        Dropped.of(example, "copy of a test row", f"of {first[groups[example.id]]}")
        for example in examples
        if groups[example.id] in first
    ]
    return Sifted(kept, dropped)


def _settle(same: Sequence[Example], policy: Policy) -> list[Dropped]:
    """What goes of examples with one template."""
    votes = Counter(example.label for example in same)
    label, most = votes.most_common(1)[0]
    tally = ", ".join(f"{name} {n}" for name, n in sorted(votes.items()))
    if 2 * most <= len(same):
        return [Dropped.of(example, "conflicting label", f"no majority among copies: {tally}") for example in same]
    losers = [
        Dropped.of(example, "conflicting label", f"most copies say {label}: {tally}")
        for example in same
        if example.label != label
    ]
    if policy == "one":
        first, *others = (example for example in same if example.label == label)
        losers += [Dropped.of(example, "duplicate", f"of {first.id}") for example in others]
    return losers
