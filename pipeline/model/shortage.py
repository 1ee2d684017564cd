"""Too little disk or memory: seen before it costs a training, and told in one line where it comes all the same."""

import contextlib
import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError

from pipeline.errors import ShortageError, first_line

# AdamW keeps two numbers for each number of the adapter, and a checkpoint has the best adapter so far too; all in fp32.
_ADAPTER, _OPTIMIZER = 4, 8
_SLACK = 2_000_000
# While one is written there are two others; the best adapter lies beside them and in the end in its place.
_CHECKPOINTS, _ADAPTERS = 3, 2

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


def checkpoint_bytes(parameters: int) -> int:
    """What a checkpoint of so many trainable parameters takes on the disk, about."""
    return parameters * (2 * _ADAPTER + _OPTIMIZER) + _SLACK


def check_room(folder: Path, parameters: int) -> None:
    """Makes sure that a training of so many parameters can save what it has to.

    Raises:
        ShortageError: the disk has too little room left.
    """
    needed = _CHECKPOINTS * checkpoint_bytes(parameters) + _ADAPTERS * _ADAPTER * parameters
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ShortageError(
            f"{folder}: expected {_megabytes(needed)} of free disk for checkpoints and the adapter, got "
            f"{_megabytes(free)}; free some and run again with --resume"
        )


@contextlib.contextmanager
def told_of_the_disk(folder: Path, parameters: int, *, scratch: Path) -> Iterator[None]:
    """A block that saves checkpoints; ``scratch``, where one may lie half-written, is emptied where the disk fails.

    Raises:
        ShortageError: the disk is full, or cannot be written, whatever the libraries make of that.
    """
    usual = threading.excepthook
    # TensorBoard writes in a thread of its own, which would print what is raised here too.
    threading.excepthook = lambda thread: None if of_the_disk(thread.exc_value) else usual(thread)
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = of_the_disk(error)
        if reason is None:
            raise
        shutil.rmtree(scratch, ignore_errors=True)
        where = getattr(error, "filename", None) or folder
        needed, free = checkpoint_bytes(parameters), shutil.disk_usage(folder).free
        raise ShortageError(
            f"{where}: {reason}; a checkpoint needs {_megabytes(needed)}, {_megabytes(free)} are free; those "
            "before are whole, so free some disk and run again with --resume"
        ) from error
    finally:
        threading.excepthook = usual


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of a GPU or of this machine, has run out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error)
        for words in ("DefaultCPUAllocator: ", "std::bad_alloc", "Cannot allocate memory", f"(os error {errno.ENOMEM})")
    )


def of_the_disk(error: BaseException | None) -> str | None:
    """What is wrong with the disk, where that is the cause of an error; else None."""
    if error is None:
        return None
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in _FULL else None
    if found := _RUST_ERROR.search(str(error)):
        return os.strerror(int(found[1])) if int(found[1]) in _FULL else None
    # torch.save forgets the reason.
    failed = any(words in str(error) for words in ("inline_container", "iostream error", "PytorchStreamWriter"))
    return f"cannot be written ({first_line(error)})" if failed and "Reader" not in str(error) else None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
