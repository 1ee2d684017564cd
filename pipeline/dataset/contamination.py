"""Whether another file, such as a benchmark's test rows, is in the data set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pipeline.dataset.duplicates import group_duplicates
from pipeline.dataset.leakage import Leakage, leakage
from pipeline.dataset.records import Example


@dataclass(frozen=True)
class Match:
    """A row of a split with a copy in the other file: the nearest kind, and the first such row there."""

    id: str
    split: str
    kind: str
    other: str

    def to_json(self) -> dict[str, str]:
        """The match as a line of ``against.jsonl``."""
        return asdict(self)


def contamination(
    parts: Mapping[str, Sequence[Example]], other: Mapping[str, str]
) -> tuple[dict[str, Leakage], list[Match]]:
    """Shares of every split's rows with a copy in another file, and the rows.

    Near-duplicates are searched among the rows of both together. Groups are closed, so two rows may be in one by way
    of a third one, from either file.

    Args:
        parts: split -> its rows.
        other: name of a row of the other file -> its text after ``pipeline.text.clean``, not empty.
    """
    ours = [example for rows in parts.values() for example in rows]
    # The prefix keeps ids of the two files apart.
    foreign = [Example(f"against:{name}", text, "") for name, text in other.items()]
    both = [*ours, *foreign]
    numbers = group_duplicates([example.template for example in both])
    groups = {example.id: number for example, number in zip(both, numbers, strict=True)}
    first: dict[tuple[str, str | int], str] = {}
    for name, example in zip(other, foreign, strict=True):
        for key in _keys(example, groups):
            first.setdefault(key, name)
    matches = []
    for name, rows in parts.items():
        for example in rows:
            found = next((key for key in _keys(example, groups) if key in first), None)
            if found is not None:
                matches.append(Match(example.id, name, found[0], first[found]))
    return {name: leakage(foreign, rows, groups) for name, rows in parts.items()}, matches


def _keys(example: Example, groups: Mapping[str, int]) -> tuple[tuple[str, str | int], ...]:
    """What a copy has in common with an example, the nearest kind first."""
    return ("exact", example.text), ("template", example.template), ("near", groups[example.id])
