"""The suite for the labels of a task: what to let a classifier answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from pipeline.scoring.behaviour import invariance, minimum
from pipeline.scoring.behaviour.case import Case, Cell, Draft, Polarity, drawn
from pipeline.text import clean

CELLS: tuple[Cell, ...] = (*minimum.CELLS, *invariance.CELLS)


def polarities(labels: Sequence[str]) -> dict[Polarity, str]:
    """What the labels of two or three ordered classes stand for, by position: lowest negative, highest positive.

    Empty for more classes: the suite knows no expected labels for them.
    """
    sides = {2: (-1, 1), 3: (-1, 0, 1)}.get(len(labels), ())
    return dict(zip(sides, labels, strict=False))


def cases(labels: Sequence[str], seed: int, *, quick: bool = False) -> list[Case]:
    """The cases of every cell, 54 or more each; the same for the same arguments.

    The idea of capabilities crossed with types of test is that of CheckList (Ribeiro et al. 2020, arXiv 2005.04118);
    the texts were written for this project.

    Args:
        labels: the classes of the task from low to high.
        seed: draws the cases from their templates and word lists.
        quick: only a fifth of each cell.

    Returns:
        The cases, cell by cell; none when there are more than three classes. With two classes nothing neutral is
        asked.
    """
    names = polarities(labels)
    if not names:
        return []
    return [case for cell in CELLS for case in _cases_of(cell, names, seed, quick)]


def texts(suite: Sequence[Case]) -> list[str]:
    """Every different text of the cases and their twins as a model gets it, cleaned, in the order of the cases."""
    return list(dict.fromkeys(clean(text) for case in suite for text in (case.twin, case.text) if text is not None))


def _cases_of(cell: Cell, names: Mapping[Polarity, str], seed: int, quick: bool) -> list[Case]:
    slug = f"{cell.capability}-{cell.test}".lower().replace(" ", "-")
    rng = np.random.default_rng([seed, *slug.encode()])
    known = [kept for draft in cell.candidates(rng, names) if (kept := _restricted(draft, names)) is not None]
    size = min(cell.size, len(known))
    return [
        Case(
            id=f"{slug}/{i:03}",
            capability=cell.capability,
            test=cell.test,
            text=draft.text,
            twin=draft.twin,
            expected=tuple(names[polarity] for polarity in draft.expected),
            target=None if draft.target is None else names[draft.target],
            sign=draft.sign,
        )
        for i, draft in enumerate(drawn(known, ceil(size / 5) if quick else size, rng))
    ]


def _restricted(draft: Draft, names: Mapping[Polarity, str]) -> Draft | None:
    """The draft without the polarities that the task has no label for; None when it is about one of those alone."""
    expected = tuple(polarity for polarity in draft.expected if polarity in names)
    if expected == draft.expected:
        return draft
    return replace(draft, expected=expected) if expected else None
