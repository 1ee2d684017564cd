"""The one error of this project that is not a bug."""


class PipelineError(Exception):
    """A cause outside the code, told in one line: where, what was expected, what was got, what to do.

    Commands print it on stderr without a traceback and exit with code 1. Anything else that escapes is a
    bug and keeps its traceback.
    """
