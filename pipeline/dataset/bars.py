"""Progress of the long steps, on stderr."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

_T = TypeVar("_T")


def steps(items: Iterable[_T], what: str, *, total: int | None = None, unit: str = "row") -> "tqdm[_T]":
    """The items, with a bar that shows rate and time left; none for what is done within a second or is not watched.

    ``total`` is their number where they have no length.
    """
    return tqdm(items, desc=what, total=total, unit=unit, unit_scale=True, delay=1, disable=None, leave=False)
