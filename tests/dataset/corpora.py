"""Small made-up data sets for the tests of splits."""

from pipeline.dataset.records import Example

SHARES = {"train": 0.65, "val": 0.10, "test": 0.25}
LABELS = ("Down", "Flat", "Up")


def word(number: int) -> str:
    """A different word for each number; digits would be masked in the template."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def corpus(rows: list[tuple[int, str]]) -> tuple[list[Example], dict[str, int]]:
    """Examples from pairs of group and label, and their groups."""
    examples = [Example(str(i), f"tweet {word(i)}", label) for i, (_, label) in enumerate(rows, start=1)]
    return examples, {example.id: group for example, (group, _) in zip(examples, rows, strict=True)}
