"""Sealed folders: all in them is on the disk, and named with size and hash, so that damage is seen before use."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import dump_json, sha256_of, sync, write_text
from pipeline.errors import PipelineError, first_line

SEAL = "MANIFEST.json"
_VERSION = 1


class BrokenSealError(PipelineError):
    """A folder is not as it was when it was sealed; the message names the file."""


def seal(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes ``MANIFEST.json``: the content, every file with its size and SHA-256, and a hash of all that.

    It tells damage from accident, not from intent: who can write the files can write the seal.
    """
    files = {}
    for path in _all_but_folders(folder):
        sync(path)
        files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    record = {"schema_version": _VERSION, **content, "files": files}
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            sync(path)
    write_text(folder / SEAL, dump_json({**record, "sha256": _digest(record)}))
    sync(folder)


def unseal(folder: Path) -> dict[str, Any]:
    """The content of a folder's seal, once every file in the folder is as it was.

    Raises:
        BrokenSealError: a file is missing, damaged, or was not there before.
    """
    path = folder / SEAL
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(record, dict) and record.pop("sha256", None) == _digest(record)
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenSealError(f"{path}: cannot be read, {first_line(error)}") from error
    if not whole or record.get("schema_version") != _VERSION:
        raise BrokenSealError(f"{path}: not as it was written")
    expected: dict[str, dict[str, Any]] = record.pop("files")
    found = {path.relative_to(folder).as_posix(): path for path in _all_but_folders(folder)}
    for name in sorted(set(found) ^ set(expected)):
        raise BrokenSealError(f"{folder / name}: {'missing' if name in expected else 'was not there before'}")
    for name, facts in expected.items():
        if found[name].is_symlink() or not found[name].is_file():
            raise BrokenSealError(f"{folder / name}: no longer a file of its own")
        try:
            size, digest = found[name].stat().st_size, sha256_of(found[name])
        except OSError as error:
            raise BrokenSealError(f"{folder / name}: cannot be read, {first_line(error)}") from error
        if size != facts["size"]:
            raise BrokenSealError(f"{folder / name}: expected {facts['size']} bytes, got {size}")
        if digest != facts["sha256"]:
            raise BrokenSealError(f"{folder / name}: damaged, its SHA-256 is another")
    return record


def _all_but_folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if (path.is_symlink() or not path.is_dir()) and path != folder / SEAL:
            yield path


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
