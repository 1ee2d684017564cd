"""Where tables come from: files, folders, archives, and names of data sets elsewhere."""

import contextlib
import gzip
import hashlib
import io
import lzma
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from pipeline.errors import PipelineError, did_you_mean, first_line

SUFFIXES = (".csv", ".tsv", ".tab", ".psv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_PACKED = (".gz", ".zip", ".zst")
_MAGIC = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x28\xb5\x2f\xfd": "zst"}
# A frame to skip, with which a zst file may begin (RFC 8878, section 3.1.2).
_MAGIC |= {bytes([0x50 + n]) + b"\x2a\x4d\x18": "zst" for n in range(16)}
# These are zip archives too, but not of tables.
_OFFICE = (".xlsx", ".xlsm", ".ods", ".docx", ".numbers")
# Bytes that a compressed file may hold. A few kilobytes can be made to unpack to more than any memory.
_MOST = 2 << 30
# What the libraries raise for an archive that is damaged, or that they cannot unpack.
_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class SourceFile:
    """One file's bytes, unpacked. ``path`` is what messages call it; ``sha256`` is that of the file on the disk."""

    path: str
    content: bytes
    sha256: str
    compression: str | None
    label: str | None

    @property
    def suffix(self) -> str:
        """What the name ends with, without what its compression added; ``.csv``, or an empty text."""
        name = Path(self.path.lower())
        return Path(name.stem).suffix if name.suffix in _PACKED else name.suffix


def divide(source: str) -> tuple[Path, str | None]:
    """The path and the label of ``PATH`` or ``PATH=LABEL``.

    Raises:
        PipelineError: there is no such file, or it cannot be reached.
    """
    path, sign, label = source.rpartition("=")
    if not sign or os.path.exists(source):  # noqa: PTH110 - Path.exists raises where a name is too long
        path, label = source, ""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        several = "; divide several files by spaces" if "," in path else ""
        raise PipelineError(
            f"{path}: no such file{_near(Path(path))}; expected a table of tweets with their labels{several}"
        ) from error
    except OSError as error:
        raise PipelineError(f"{path}: expected a file that can be read; {error.strerror}") from error
    return Path(path), label or None


def _near(path: Path) -> str:
    """The file in the same folder that is written nearly so, as a question."""
    try:
        there = [file.name for file in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    return did_you_mean(path.name, there)


def is_dataset(path: Path) -> bool:
    """Whether a folder was made with ``Dataset.save_to_disk``."""
    return any((path / name).is_file() for name in ("state.json", "dataset_info.json", "dataset_dict.json"))


def files_in(path: Path) -> list[Path]:
    """The file itself, or the tables in a folder and the folders below, in the order of their names.

    Raises:
        PipelineError: the folder holds no table.
    """
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.suffix.lower() in (*SUFFIXES, *_PACKED)
    ]
    if not files:
        raise PipelineError(
            f"{path}: expected a folder made with Dataset.save_to_disk, or one with tables ({', '.join(SUFFIXES)}); "
            "got neither"
        )
    return files


def download(source: str) -> Path:
    """The folder with the files of ``kaggle:owner/name``.

    Raises:
        PipelineError: the package kagglehub is missing, or the download fails.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise PipelineError(f"{source}: expected the package kagglehub; pip install kagglehub") from error
    try:
        return Path(kagglehub.dataset_download(source.removeprefix("kaggle:")))
    except Exception as error:  # as many kinds as there are ways to fail: no network, no account, no such name
        raise PipelineError(
            f"{source}: expected a data set of Kaggle, as kaggle:owner/name; {first_line(error)}"
        ) from error


def unpack(path: Path, label: str | None) -> Iterator[SourceFile]:
    """The file, or the files in it where it is compressed; what it is, its first bytes say.

    Raises:
        PipelineError: it cannot be read or unpacked, holds more than 2 GiB, or what it holds is compressed again.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path}: expected a file that can be read; {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    kind = compression_of(path, content)
    if kind is None:
        yield SourceFile(str(path), content, digest, None, label)
        return
    try:
        files = _members(path, content) if kind == "zip" else [(path, _whole(path, _stream(content, kind)))]
        for inside, unpacked in files:
            if again := compression_of(inside, unpacked):
                raise PipelineError(
                    f"{inside}: expected a table in the {kind} file, got a {again} file; unpack it first"
                )
            yield SourceFile(str(inside), unpacked, digest, kind, label)
    except _DAMAGED as error:
        raise PipelineError(f"{path}: expected a whole {kind} file; {first_line(error)}") from error


@dataclass(frozen=True)
class OpenSource:
    """One file's bytes as a stream, unpacked. Those looked at are in ``start``, the others come from ``rest``.

    ``place`` tells how many bytes on the disk lie behind, of ``size``; both mean nothing for standard input, ``-``.
    """

    path: str
    suffix: str
    compression: str | None
    start: bytes
    rest: IO[bytes]
    size: int | None
    place: Callable[[], int]


@contextlib.contextmanager
def open_source(source: str, look: int) -> Iterator[OpenSource]:
    """A file, or standard input (``-``), to be read from its beginning to its end, whatever its size.

    Of a compressed file it is the content; a zip archive must hold one file. ``look`` is how many bytes to look at.

    Raises:
        PipelineError: there is no such file, it cannot be read, or its compression is damaged.
    """
    with contextlib.ExitStack() as stack:
        if source == "-":
            rest: IO[bytes] = sys.stdin.buffer
            start = _start(rest, look)
            if kind := compression_of(Path(), start):
                raise PipelineError(f"standard input: expected a table, got a {kind} file; unpack it on the way")
            yield OpenSource("standard input", "", None, start, rest, None, lambda: 0)
            return
        path, kind = Path(source), None
        try:
            raw = stack.enter_context(path.open("rb"))
            kind = compression_of(path, raw.read(4))
            raw.seek(0)
            name, rest = (path, raw) if kind is None else _unpacked(path, raw, kind, stack)
            start = _start(rest, look)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PipelineError(f"{path}: no such file; expected a table of tweets, or - for standard input") from error
        except _DAMAGED as error:
            what = "a file that can be read" if kind is None else f"a whole {kind} file"
            why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise PipelineError(f"{path}: expected {what}; {why}") from error
        if kind is not None and compression_of(name, start):
            raise PipelineError(f"{name}: expected a table in the {kind} file, got a compressed file; unpack it first")
        suffix = SourceFile(str(name), b"", "", kind, None).suffix
        yield OpenSource(str(name), suffix, kind, start, rest, path.stat().st_size, raw.tell)


def _unpacked(path: Path, raw: IO[bytes], kind: str, stack: contextlib.ExitStack) -> tuple[Path, IO[bytes]]:
    """The name and the content of the one file in a compressed one."""
    if kind == "gzip":
        return path, cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=raw)))
    if kind == "zst":
        import pyarrow

        return path, cast("IO[bytes]", stack.enter_context(pyarrow.CompressedInputStream(raw, "zstd")))
    archive = stack.enter_context(zipfile.ZipFile(raw))
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not any(_is_hidden(part) for part in name.split("/"))
    ]
    if len(names) != 1:
        raise PipelineError(
            f"{path}: expected one file in the archive, got {len(names)}; unpack it, and give one of them"
        )
    return Path(f"{path}/{names[0]}"), stack.enter_context(archive.open(names[0]))


def _start(file: IO[bytes], size: int) -> bytes:
    """The first bytes; a pipe gives them in pieces."""
    pieces: list[bytes] = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def compression_of(path: Path, content: bytes) -> str | None:
    """How a file is compressed, by its first bytes; None where it is not."""
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    return None if path.suffix.lower() in _OFFICE else kind


def _members(path: Path, content: bytes) -> Iterator[tuple[Path, bytes]]:
    """Paths and bytes of the files in a zip archive, but for those that macOS and others hide there."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in sorted(archive.namelist()) if not name.endswith("/")]
        outside = next((name for name in names if ".." in name.split("/")), None)
        if outside is not None:
            raise PipelineError(
                f"{path}: expected files in the archive, got {outside!r}, a path out of it; pack it anew"
            )
        names = [name for name in names if not any(_is_hidden(part) for part in name.split("/"))]
        if not names:
            raise PipelineError(f"{path}: expected files in the archive, got none")
        for name in names:
            with archive.open(name) as member:
                yield Path(f"{path}/{name}"), _whole(path, member)


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "__MACOSX")) and part != "."


def _stream(content: bytes, kind: str) -> io.BufferedIOBase:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=io.BytesIO(content))
    import pyarrow

    stream: io.BufferedIOBase = pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd")
    return stream


def _whole(path: Path, stream: IO[bytes] | io.BufferedIOBase) -> bytes:
    content = stream.read(_MOST + 1)
    if len(content) > _MOST:
        raise PipelineError(f"{path}: expected at most {_MOST >> 30} GiB after unpacking, got more; unpack it yourself")
    return content
