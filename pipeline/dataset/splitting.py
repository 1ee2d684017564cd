"""Train, validation and test: no group of duplicates in two splits, every class in each, shares kept."""

import hashlib
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import eye_array, kron

from pipeline.dataset.bars import steps
from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class _Group:
    """Examples that stay together. ``order`` is random by seed and template, so the order of rows does not matter."""

    order: str
    counts: Mapping[str, int]
    size: int


@dataclass(frozen=True)
class _Plan:
    """Wanted and reached numbers of rows by split and class."""

    wanted: Mapping[str, Mapping[str, float]]
    reached: Mapping[str, dict[str, int]]

    def cost(self, split: str, counts: Mapping[str, int]) -> float:
        """Change of Pearson's chi-square of the plan if a group with these class counts joins the split.

        With n reached and T wanted of a class, (n + c - T)^2 / T - (n - T)^2 / T = c * (c + 2 * (n - T)) / T.
        """
        reached, wanted = self.reached[split], self.wanted[split]
        change = 0.0
        for label, c in counts.items():  # a loop, because this runs three times for every group
            change += c * (c + 2 * (reached[label] - wanted[label])) / wanted[label]
        return change

    def add(self, split: str, counts: Mapping[str, int]) -> None:
        """Lets a group with these class counts join the split."""
        for label, c in counts.items():
            self.reached[split][label] += c


def split(
    examples: Sequence[Example],
    groups: Mapping[str, int],
    *,
    labels: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, list[Example]]:
    """Divides examples so that groups stay whole and every split has nearly its share of every class.

    First every class gets a group in every split, wherever that can be done at all; then the groups go, the largest
    first, to where they bring the numbers of rows closest to the wanted ones. Depends on the seed, not on the order of
    rows.

    Args:
        examples: the rows to divide.
        groups: example id -> number of its group of duplicates.
        labels: the classes, each of which must be in every split.
        shares: split -> share of the rows; the shares sum to 1.
        seed: another seed gives another division.

    Raises:
        PipelineError: a class has too few groups to be in every split, or shares too many of them with other classes.
    """
    members = _groups(examples, groups, seed)
    totals = Counter(example.label for example in examples)
    plan = _Plan(
        {name: {label: n * share for label, n in totals.items()} for name, share in shares.items()},
        {name: dict.fromkeys(labels, 0) for name in shares},
    )
    split_of: dict[int, str] = {}

    def assign(number: int, name: str) -> None:
        split_of[number] = name
        plan.add(name, members[number].counts)

    smallest = sorted(members, key=lambda number: (members[number].size, members[number].order))
    groups_with = {label: [number for number in smallest if label in members[number].counts] for label in labels}
    if any(len(found) < len(shares) for found in groups_with.values()):
        raise _too_few({label: len(found) for label, found in groups_with.items()}, shares)
    # A class with more groups than there are first places finds one for every split when its turn comes. For the others
    # it may matter which group goes where: one with two classes is not to be wasted.
    scarce = [label for label in labels if len(groups_with[label]) <= len(labels) * len(shares)]
    for number, name in _cover(members, {label: groups_with[label] for label in scarce}, shares).items():
        assign(number, name)
    for label in sorted(labels, key=lambda label: (len(groups_with[label]), label)):
        candidates = iter(groups_with[label])
        for name in sorted(shares, key=lambda name: shares[name]):
            if not plan.reached[name][label]:
                assign(next(number for number in candidates if number not in split_of), name)
    for number in steps(
        sorted(members, key=lambda number: (-members[number].size, members[number].order)), "splitting"
    ):
        if number not in split_of:
            counts = members[number].counts
            assign(number, min(shares, key=lambda name: plan.cost(name, counts)))

    parts: dict[str, list[Example]] = {name: [] for name in shares}
    for example in examples:
        parts[split_of[groups[example.id]]].append(example)
    return parts


def _cover(
    members: Mapping[int, _Group], groups_with: Mapping[str, Sequence[int]], shares: Mapping[str, float]
) -> dict[int, str]:
    """Puts groups into splits so that every split has every one of these classes; as few rows as can be.

    An integer program: x[g, s] is 1 where group g goes to split s, every group goes to one split at most, and the
    groups with a class that go to a split are at least one. Rows count the more, the smaller the split.

    Args:
        members: number of a group -> the group.
        groups_with: class -> numbers of the groups that have it.
        shares: split -> share of the rows.

    Raises:
        PipelineError: there is no such division.
    """
    numbers = sorted({number for found in groups_with.values() for number in found}, key=lambda n: members[n].order)
    if not numbers:
        return {}
    has = np.array([[label in members[number].counts for number in numbers] for label in groups_with], dtype=float)
    cost = np.outer([members[number].size for number in numbers], [1 / share for share in shares.values()])
    solution = milp(
        cost.ravel(),
        integrality=1,
        options={"mip_rel_gap": 0.5},
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(kron(eye_array(len(numbers)), np.ones((1, len(shares)))), ub=1),
            LinearConstraint(kron(has, eye_array(len(shares))), lb=1),
        ],
    )
    if solution.x is None:
        raise PipelineError(
            f"classes {', '.join(groups_with)}: expected enough groups of texts that are not copies of each other to "
            f"give {', '.join(shares)} one of each class; too few of their groups are of one class; add rows of them, "
            "or join classes by --labels"
        )
    chosen = np.argwhere(solution.x.reshape(cost.shape) > 0.5)
    return {numbers[g]: list(shares)[s] for g, s in chosen}


def sample(examples: Sequence[Example], size: int, seed: int) -> Sifted:
    """Keeps a random number of rows with the classes in proportion, at least one row of each.

    Whether a row is kept depends on the seed and its text, not on its place; of two sizes the smaller sample lies,
    but for rounding, within the larger one.

    Raises:
        PipelineError: there are fewer rows than that, or fewer of them than classes.
    """
    by_label = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    if not len(by_label) <= size <= len(examples):
        raise PipelineError(
            f"--train_rows: expected {len(by_label):,} (one a class) to {len(examples):,} (the rows left to train on), "
            f"got {size:,}"
        )
    chosen: set[str] = set()
    for label, quota in _quotas({label: len(rows) for label, rows in by_label.items()}, size).items():
        ordered = sorted(by_label[label], key=lambda example: (_order(example.template, seed), example.text))
        chosen.update(example.id for example in ordered[:quota])
    kept = [example for example in examples if example.id in chosen]
    return Sifted(kept, [Dropped.of(example, "not sampled") for example in examples if example.id not in chosen])


def _quotas(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """Rows of each class in a sample: one each, the rest in proportion, by the method of largest remainders."""
    spare, total = size - len(counts), sum(counts.values()) - len(counts)
    exact = {label: spare * (n - 1) / total if total else 0.0 for label, n in counts.items()}
    quotas = {label: 1 + int(share) for label, share in exact.items()}
    by_remainder = sorted(counts, key=lambda label: (int(exact[label]) - exact[label], label))
    for label in by_remainder[: size - sum(quotas.values())]:
        quotas[label] += 1
    return quotas


def _groups(examples: Sequence[Example], groups: Mapping[str, int], seed: int) -> dict[int, _Group]:
    members = defaultdict(list)
    for example in examples:
        members[groups[example.id]].append(example)
    orders = {template: _order(template, seed) for template in {example.template for example in examples}}
    return {
        number: _Group(
            min(orders[example.template] for example in rows),
            Counter([example.label for example in rows]) if len(rows) > 1 else {rows[0].label: 1},
            len(rows),
        )
        for number, rows in members.items()
    }


def _order(template: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{template}".encode()).hexdigest()


def _too_few(found: Mapping[str, int], shares: Mapping[str, float]) -> PipelineError:
    """What is wrong with all classes that have fewer groups than there are splits; ``found`` is class -> groups."""
    few = [label for label, n in found.items() if n < len(shares)]
    several = len(few) > 1
    got = ", ".join(f"{found[label]} of {label!r}" for label in few) if several else found[few[0]]
    these = "them" if several else "it"
    return PipelineError(
        f"class{'es' if several else ''} {', '.join(map(repr, few))}: expected at least {len(shares)} groups of texts "
        f"that are not copies of each other, one for each of {', '.join(shares)}; got {got}; add rows of {these}, or "
        f"join {these} with another class by --labels{_joined(list(found), few)}"
    )


def _joined(labels: Sequence[str], few: Sequence[str]) -> str:
    """An example of ``--labels`` in which each of these classes becomes the next that is large enough."""
    order = {label: i for i, label in enumerate(labels)}
    enough = [label for label in labels if label not in few]
    if not enough:
        return ""
    into = {label: min(enough, key=lambda other: abs(order[other] - order[label])) for label in few}
    pairs = [f"{label}={into[label]}" if label in into else label for label in labels]
    return f", such as {shlex.quote(','.join(pairs))}"
