"""The weight files of a checkpoint, read one at a time and without code: safetensors, or PyTorch's ``.bin``.

A file is mapped into memory, and what is looked at is read; it is let go of at the end of the block that opened it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from pipeline.artifacts import read_json
from pipeline.errors import PipelineError, first_line

# The index of a checkpoint in several files, and the name of a checkpoint in one; the first that is there is read.
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_ALONE = ("model.safetensors", "pytorch_model.bin")
# How a file begins that torch.save wrote before PyTorch 1.6: with a pickled number.
_OLD = b"\x80\x02\x8a\x0a" + torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")


def weight_files(source: Path) -> tuple[list[str], list[str]]:
    """The names of the weight files of a checkpoint, in order, and of the index that lists them, if there is one.

    Raises:
        PipelineError: there is none, or one that the index lists is missing.
    """
    for index, alone in zip(_INDEXES, _ALONE, strict=True):
        if (source / index).is_file():
            listed = read_json(source / index)
            listed = listed.get("weight_map") if isinstance(listed, dict) else None
            names = sorted(set(listed.values()), key=str) if isinstance(listed, dict) else []
            # A file elsewhere is none of the checkpoint's.
            if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
                raise PipelineError(
                    f"{source / index}: expected weight_map with names of files beside it, got none such; "
                    "download it again"
                )
            absent = [name for name in names if not (source / name).is_file()]
            if absent:
                raise PipelineError(
                    f"{source / absent[0]}: missing, {len(absent)} of {len(names)} weight files are; expected all that "
                    f"{index} lists; download them"
                )
            return names, [index]
        if (source / alone).is_file():
            return [alone], []
    found = ", ".join(sorted(path.name for path in source.iterdir())[:6]) or "an empty folder"
    raise PipelineError(
        f"{source}: expected weights as {' or '.join(_ALONE)}, or their index; got {found}; download them"
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Mapping[str, torch.Tensor]]:
    """The tensors of a weight file by name, in the order of the file, for the length of the block.

    Raises:
        PipelineError: the file cannot be read, or holds anything but tensors.
    """
    tensors = _read(path)
    try:
        yield tensors
    finally:
        tensors.clear()


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, SafetensorError, RuntimeError) as error:
            raise _unreadable(path, first_line(error)) from error
    _refuse_old(path)
    try:
        content = torch.load(str(path), map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # the unpickler raises whatever damaged bytes lead it to
        if "weights only" in str(error).lower() or "weights_only" in str(error):
            raise PipelineError(
                f"{path}: expected tensors alone, got a pickle that calls code, which is refused; take the checkpoint "
                "from its publisher"
            ) from error
        raise _unreadable(path, first_line(error)) from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise _unreadable(path, f"it holds a {type(content).__name__} of other things")
    return dict(content)


def _refuse_old(path: Path) -> None:
    """Refuses a format of PyTorch that cannot be mapped into memory."""
    try:
        with path.open("rb") as file:
            old = file.read(len(_OLD)) == _OLD
    except OSError as error:
        raise _unreadable(path, first_line(error)) from error
    if old:
        raise PipelineError(
            f"{path}: expected a .bin file of PyTorch 1.6 or newer, got one of an old format, which cannot be mapped "
            "into memory; save it again with torch.save(torch.load(FILE, weights_only=True), FILE)"
        )


def _unreadable(path: Path, what: str) -> PipelineError:
    return PipelineError(f"{path}: expected a file of tensors by name, got one that cannot be read: {what}; "
                         "download it again")  # fmt: skip
