"""Progress of the long steps, on stderr: nothing for what is done within a second, or where nobody watches."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

_T = TypeVar("_T")
_LOOK: dict[str, Any] = {"unit": "row", "unit_scale": True, "delay": 1, "disable": None, "leave": False}


def steps(rows: Iterable[_T], what: str, *, total: int | None = None) -> "tqdm[_T]":
    """The rows, with a bar that shows rate and time left; ``total`` is their number where they have no length."""
    return tqdm(rows, desc=what, total=total, **_LOOK)


def bar(what: str, total: int) -> "tqdm[Any]":
    """A bar to be moved by hand, ``bar.update(rows)``; to be closed by ``with``."""
    return tqdm(desc=what, total=total, **_LOOK)
