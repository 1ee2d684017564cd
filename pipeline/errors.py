"""The one error of this project that is not a bug, and how others are quoted in it."""


class PipelineError(Exception):
    """A cause outside the code, told in one line: where, what was expected, what was got, what to do.

    Commands print it on stderr without a traceback and exit with code 1. Anything else that escapes is a
    bug and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """What another error says, short enough to stand in a line of ours; its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]
