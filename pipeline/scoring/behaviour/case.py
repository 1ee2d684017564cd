"""One case of the suite, and how a cell's cases are drawn from its candidates."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

# -1 negative, 0 neutral, 1 positive: what the suite is written in before it is told the labels.
Polarity = int


@dataclass(frozen=True)
class Draft:
    """A case before the labels of the task are known.

    ``twin`` is the text without the perturbation. ``expected`` are the polarities that are right, for the text and
    its twin alike. ``target`` is what an injection asks for, or whose probability must move by ``sign``.
    ``group`` is what the draw of a cell is balanced over; None: the expected polarities.
    """

    text: str
    expected: tuple[Polarity, ...]
    twin: str | None = None
    target: Polarity | None = None
    sign: int = 0
    group: str | None = None


@dataclass(frozen=True)
class Case:
    """A text to answer, alone or beside its unperturbed twin.

    Attributes:
        id: the cell and a number, such as ``typos-inv/007``; the text and its twin share it.
        capability: row of the matrix.
        test: ``MFT`` (a label is expected), ``INV`` (the answer must be that of the twin) or ``DIR`` (the probability
            of ``target`` must move by ``sign`` from that of the twin).
        text: the text, not yet cleaned.
        twin: the text without the perturbation; None for MFT.
        expected: labels that are right; for INV of the text and of its twin, for DIR empty.
        target: the label that an injection asks for, or whose probability must move; else None.
        sign: 1 up, -1 down, 0 where nothing must move.
    """

    id: str
    capability: str
    test: str
    text: str
    twin: str | None
    expected: tuple[str, ...]
    target: str | None
    sign: int


@dataclass(frozen=True)
class Cell:
    """Where a capability meets a type of test: a sentence on what is tested, and the candidates.

    ``candidates`` gets a generator and the label of each polarity (a task of two classes has no 0) and returns more
    drafts than ``size``.
    """

    capability: str
    test: str
    about: str
    candidates: Callable[[Generator, Mapping[Polarity, str]], list[Draft]]
    size: int = 54


def pick(rng: Generator, options: Sequence[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def drawn(drafts: Sequence[Draft], size: int, rng: Generator) -> list[Draft]:
    """At most ``size`` different drafts in random order, as many of each group as there are, in turn.

    Any beginning of the list is balanced too.
    """
    groups: dict[object, list[Draft]] = defaultdict(list)
    different = list({(draft.text, draft.twin): draft for draft in drafts}.values())
    for i in rng.permutation(len(different)).tolist():
        groups[different[i].group or different[i].expected].append(different[i])
    turns = [(turn, g, draft) for g, group in enumerate(groups.values()) for turn, draft in enumerate(group)]
    return [draft for _, _, draft in sorted(turns, key=lambda t: t[:2])][:size]
