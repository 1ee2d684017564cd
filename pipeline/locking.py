"""One process at a time writes to a folder: a lock that the system releases when its holder dies, however it dies."""

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import BusyError

try:
    import fcntl
except ImportError:  # Windows: there nothing keeps two runs apart
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Lock:
    """The lock of a folder, held from ``take`` to the end of the block.

    A lock that was left behind by a killed process is free: what counts is the system's lock on the file
    (``flock``, on most network drives too), not that there is one.
    """

    def __init__(self, folder: Path, does: str = "is training into it") -> None:
        """``does`` says of another process, in the error, what it does to the folder."""
        self._folder = folder
        self._does = does
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def take(self) -> None:
        """Takes the lock of the folder, which exists; again is no harm.

        Raises:
            BusyError: another process holds it.
        """
        while self._descriptor is None and fcntl is not None:
            descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as busy:
                if busy.errno not in (errno.EAGAIN, errno.EACCES):  # a drive that knows no locks
                    os.close(descriptor)
                    return
                holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise BusyError(
                    f"{self._folder}: another run {self._does}{f' (process {holder})' if holder else ''}; "
                    "wait for it, or choose another --out"
                ) from busy
            if not self._is_current(descriptor):  # its holder finished and removed it between the two lines above
                os.close(descriptor)
                self._folder.mkdir(parents=True, exist_ok=True)  # it may have removed that too
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self._descriptor = descriptor

    def remove(self) -> None:
        """Removes the file, for a folder that is finished; the lock is held on until the end of the block."""
        if self._descriptor is not None:
            (self._folder / LOCK).unlink(missing_ok=True)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), (self._folder / LOCK).stat())
        except FileNotFoundError:
            return False
