"""The errors of this project that are no bugs, and how others are quoted in them."""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class PipelineError(Exception):
    """A cause outside the code, told in one line: where, what was expected, what was got, what to do.

    Commands print it on stderr without a traceback and exit with its ``exit_code``. Anything else that escapes is a
    bug and keeps its traceback.
    """

    exit_code: ClassVar[int] = 1


class StoppedError(PipelineError):
    """A signal has stopped the work; the line says how to go on."""

    exit_code = 3


class ShortageError(PipelineError):
    """The disk is too small for the work."""

    exit_code = 4


class BusyError(PipelineError):
    """Another process writes to the same folder."""

    exit_code = 5


def first_line(error: BaseException) -> str:
    """What another error says, short enough to stand in a line of ours; its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def did_you_mean(got: str, known: Iterable[str], dashes: str = "") -> str:
    """The name that is written nearly so, as a question in brackets; nothing where there is none."""
    near = difflib.get_close_matches(got, list(known), n=1)
    return f" (did you mean {dashes}{near[0]}?)" if near else ""
