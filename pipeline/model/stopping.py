"""Stopping a training by a signal: at the end of a step and with a checkpoint; a second signal stops it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from pipeline.errors import StoppedError


class Cut(BaseException):
    """What was being done is not to be finished. No Exception, so that no library on the way keeps it to itself."""


class Ended(BaseException):
    """A training that goes on has nothing left to train."""


class Stop:
    """Listens, for the length of the block, for SIGINT (Ctrl-C) and SIGTERM.

    ``requested`` says that one has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._may_cut = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread listen
            for number in (signal.SIGINT, signal.SIGTERM):
                # A job in the background has been told to ignore Ctrl-C, which is meant for another one.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextlib.contextmanager
    def cutting(self) -> Iterator[None]:
        """A block that a signal need not wait for: it is left with ``Cut``."""
        try:
            self._may_cut = True
            if self.requested:
                raise Cut
            yield
        finally:
            self._may_cut = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            # What is on the disk is whole at any moment, so there is nothing to tidy up.
            _say("stopped at once; go on with the same command and --resume")
            os._exit(StoppedError.exit_code)
        self.requested = True
        if self._may_cut:
            raise Cut
        _say("stopping at the end of this step; a second signal stops at once")


def _say(line: str) -> None:
    """A line on stderr; Python's own streams may be in the middle of another one when a signal comes."""
    with contextlib.suppress(OSError):
        os.write(2, f"\n{line}\n".encode())
