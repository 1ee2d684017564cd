"""Train, validation and test: no group of duplicates in two splits, every class in each, shares kept."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    reached: dict[str, Counter[str]] = field(default_factory=dict)

    def cost(self, split: str, counts: Mapping[str, int]) -> float:
        """Change of Pearson's chi-square of the plan if a group with these class counts joins the split.

        With n reached and T wanted of a class, (n + c - T)^2 / T - (n - T)^2 / T = c * (c + 2 * (n - T)) / T.
        """
        reached, wanted = self.reached[split], self.wanted[split]
        return sum(c * (c + 2 * (reached[label] - wanted[label])) / wanted[label] for label, c in counts.items())


def split(
    examples: Sequence[Example],
    groups: Mapping[str, int],
    *,
    labels: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, list[Example]]:
    """Divides examples so that groups stay whole and every split has nearly its share of every class.

    First every class gets a group in every split, the rarest class first; then the groups go, the largest first, to
    where they bring the numbers of rows closest to the wanted ones. Depends on the seed, not on the order of rows.

    Args:
        examples: the rows to divide.
        groups: example id -> number of its group of duplicates.
        labels: the classes, each of which must be in every split.
        shares: split -> share of the rows; the shares sum to 1.
        seed: another seed gives another division.

    Raises:
        PipelineError: a class has too few groups to be in every split.
    """
    members = _groups(examples, groups, seed)
    totals = Counter(example.label for example in examples)
    plan = _Plan({name: {label: n * share for label, n in totals.items()} for name, share in shares.items()})
    plan.reached.update({name: Counter() for name in shares})
    split_of: dict[int, str] = {}

    def assign(number: int, name: str) -> None:
        split_of[number] = name
        plan.reached[name].update(members[number].counts)

    groups_with = {label: sum(label in group.counts for group in members.values()) for label in labels}
    smallest = sorted(members, key=lambda number: (members[number].size, members[number].order))
    for label in sorted(labels, key=lambda label: (groups_with[label], label)):
        candidates = iter([number for number in smallest if label in members[number].counts])
        for name in sorted(shares, key=lambda name: shares[name]):
            if not plan.reached[name][label]:
                number = next((number for number in candidates if number not in split_of), None)
                if number is None:
                    raise _too_few(label, groups_with[label], shares)
                assign(number, name)
    for number in sorted(members, key=lambda number: (-members[number].size, members[number].order)):
        if number not in split_of:
            counts = members[number].counts
            assign(number, min(shares, key=lambda name: plan.cost(name, counts)))

    parts: dict[str, list[Example]] = {name: [] for name in shares}
    for example in examples:
        parts[split_of[groups[example.id]]].append(example)
    return parts


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
    return {
        number: _Group(
            min(_order(example.template, seed) for example in rows),
            Counter(example.label for example in rows),
            len(rows),
        )
        for number, rows in members.items()
    }


def _order(template: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{template}".encode()).hexdigest()


def _too_few(label: str, found: int, shares: Mapping[str, float]) -> PipelineError:
    return PipelineError(
        f"class {label!r}: expected at least {len(shares)} groups of texts that are not copies of each other, one for "
        f"each of {', '.join(shares)}; got {found}; add rows of this class, or join it with another one by --labels"
    )
