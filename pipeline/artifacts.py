"""The three folders that the commands hand to each other, and how they reach the disk.

``data/prepared/NAME`` -> ``data/runs/NAME`` -> ``reports/NAME``. A folder is finished when it holds a
``manifest.json``; that file is written last, names the folder's parents by sha256 and carries the provenance.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.errors import PipelineError, first_line
from pipeline.task import Task

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"
# In a run's folder.
CHECKPOINTS, TRAINING_LOG, SEARCH_LOG = "checkpoints", "training.jsonl", "search.jsonl"

# What decides a result: named in every manifest with its version.
_PACKAGES = (
    *("torch", "transformers", "peft", "bitsandbytes", "accelerate", "tokenizers", "safetensors", "datasets"),
    *("scikit-learn", "scipy", "numpy", "pandas", "matplotlib", "seaborn", "gradio"),
)
_STARTED = time.monotonic()
_PIECE = 1_000  # rows


@dataclass(frozen=True)
class Row:
    """One example for tuning, in Alpaca's terms, with what the evaluation needs to know of it.

    ``id`` is the row's number in the source file, ``group`` the number of its group of near-duplicates. Of a
    ``synthetic`` row a model, the ``teacher``, wrote the tweet or gave the label; there are none but in train.
    """

    id: str
    instruction: str
    input: str
    output: str
    group: int
    synthetic: bool = False
    teacher: str | None = None

    def to_json(self) -> dict[str, object]:
        """The row as it stands in a split file, Alpaca's three keys first."""
        row: dict[str, object] = {
            "instruction": self.instruction,
            "input": self.input,
            "output": self.output,
            "id": self.id,
            "group": self.group,
        }
        return row | ({"synthetic": True, "teacher": self.teacher} if self.synthetic else {})


@dataclass(frozen=True)
class Artifact:
    """A finished folder and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    kind: ClassVar[str]
    written_by: ClassVar[str]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Opens a folder that one of the commands has finished.

        Raises:
            PipelineError: the folder is missing, unfinished, of another kind, or of a later schema.
        """
        folder = Path(folder)
        what = f"a finished {cls.kind} folder; write it with python -m {cls.written_by}"
        if folder.is_file():
            if cls.kind != "prepared":
                raise PipelineError(f"{folder}: expected {what}; got a file")
            raise PipelineError(
                f"{folder}: expected a prepared folder, got a file; prepare it first: python -m {cls.written_by} "
                f"--source {shlex.quote(str(folder))} --out data/prepared/NAME"
            )
        if not folder.is_dir():
            raise PipelineError(f"{folder}: no such folder; expected {what}")
        if not (folder / MANIFEST).is_file():
            go_on = ", or go on with it by --resume" if cls.kind == "run" and (folder / CHECKPOINTS).is_dir() else ""
            raise PipelineError(f"{folder}: no {MANIFEST}, so it is not {what}{go_on}")
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("kind") != cls.kind:
            got = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
            raise PipelineError(f"{folder}: expected {what}; {MANIFEST} says kind {got!r}")
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise PipelineError(
                f"{folder / MANIFEST}: schema_version must be {SCHEMA_VERSION}, got "
                f"{manifest.get('schema_version')!r}; write the folder again with this version"
            )
        for key in ("task", "files"):
            if not isinstance(manifest.get(key), dict):
                raise PipelineError(f"{folder / MANIFEST}: expected {key!r}; it is damaged, write it again")
        return cls(folder, manifest)

    @property
    def task(self) -> Task:
        """The task as the prepared data set defined it."""
        return Task.from_json(self.manifest["task"])

    @property
    def sha256(self) -> str:
        """Hash of the manifest: what children name as their parent."""
        return sha256_of(self.folder / MANIFEST)

    def verified(self, name: str) -> Path:
        """Path of a file of this folder, once its bytes are those that the manifest recorded.

        Raises:
            PipelineError: the file is missing or has changed since the folder was finished.
        """
        path = self.folder / name
        if not path.is_file():
            raise PipelineError(f"{path}: missing; the folder is damaged, write it again with {self.written_by}")
        if sha256_of(path) != self.manifest["files"].get(name):
            raise PipelineError(
                f"{path}: changed since {MANIFEST} was written; write the folder again with {self.written_by}"
            )
        return path


@dataclass(frozen=True)
class PreparedDataset(Artifact):
    """``train.json val.json test.json manifest.json``: Alpaca rows in three splits."""

    kind: ClassVar[str] = "prepared"
    written_by: ClassVar[str] = "pipeline.prepare"

    @property
    def text_column(self) -> str | None:
        """The column of the source that its tweets were read from; None where nobody noted it."""
        found = ((self.manifest.get("source") or {}).get("columns") or {}).get("text")
        return found if isinstance(found, str) else None

    def rows(self, split: str) -> list[Row]:
        """The rows of one split, in file order."""
        return [Row(**row) for row in read_json(self.verified(f"{split}.json"))]


@dataclass(frozen=True)
class Run(Artifact):
    """``config.yaml adapter/ training.jsonl manifest.json``: a tuned adapter and how it was made."""

    kind: ClassVar[str] = "run"
    written_by: ClassVar[str] = "pipeline.train"

    @property
    def text_column(self) -> str | None:
        """That of the data set it was tuned on."""
        found = self.manifest.get("text_column")
        return found if isinstance(found, str) else None

    @property
    def adapter(self) -> Path:
        """The folder with the LoRA weights, every file verified."""
        for name in self.manifest["files"]:
            if name.startswith("adapter/"):
                self.verified(name)
        return self.folder / "adapter"


def dataset_of(run: Run, moved_to: str | None = None) -> PreparedDataset:
    """The data set that a run was tuned on.

    It is looked for where the run says that it was and, as both may have been moved together, under the same name, or
    the end of the same path, in each folder above the run. What counts is the hash of its manifest.

    Args:
        run: whose.
        moved_to: the folder where it is now, if it is known.

    Raises:
        PipelineError: it is not there, or another one is.
    """
    parent = run.manifest["parents"]["dataset"]
    home = Path(parent["path"]).expanduser()
    tails = [Path(*home.parts[-n:]) for n in range(len(home.parts), 0, -1)]
    above = [folder / tail for folder in run.folder.resolve().parents for tail in tails]
    found = [PreparedDataset.load(moved_to)] if moved_to else list(_prepared_among([home, *above]))
    if not found and home.exists():
        PreparedDataset.load(home)  # which says what is wrong with it
    if not found:
        raise PipelineError(
            f"{home}: no such folder, nor one of that name in the folders above {run.folder}, which was trained on it; "
            "say where it is now with --dataset"
        )
    same = [dataset for dataset in found if dataset.sha256 == parent["sha256"]]
    if not same:
        raise PipelineError(
            f"{found[0].folder}: not the prepared data set that {run.folder} was trained on; its manifest.json has "
            "another sha256; give the right folder with --dataset, or train again"
        )
    return same[0]


def _prepared_among(places: Iterable[Path]) -> Iterator[PreparedDataset]:
    """The prepared folders among some places, which need not be there or may be something else."""
    for place in places:
        with contextlib.suppress(PipelineError, OSError):
            yield PreparedDataset.load(place)


@dataclass(frozen=True)
class Report(Artifact):
    """``predictions.jsonl metrics.json report.html manifest.json``: what a run is worth."""

    kind: ClassVar[str] = "report"
    written_by: ClassVar[str] = "pipeline.evaluate"


@dataclass(frozen=True)
class Export(Artifact):
    """``merged/ adapter/ gguf/ parity.json manifest.json``: a run in the forms that other programs take."""

    kind: ClassVar[str] = "export"
    written_by: ClassVar[str] = "pipeline.export"


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        PipelineError: the file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PipelineError(f"{path}: expected a JSON file in UTF-8; {first_line(error)}") from error


def read_jsonl(path: Path) -> list[Any]:
    """The values in a JSON Lines file.

    Raises:
        PipelineError: the file cannot be read, or a line is not JSON; the message names the line.
    """
    values = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    values.append(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise PipelineError(f"{path}, line {number}: expected JSON; {first_line(error)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: expected JSON Lines in UTF-8; {first_line(error)}") from error
    return values


def dump_json(value: object) -> str:
    """JSON for people and diffs: indented, keys in the order given, no NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def dump_rows(rows: Iterable[object]) -> Iterator[str]:
    """The text that ``dump_json`` gives for a list, in pieces: a million rows as one text are half a gibibyte."""
    rest, start = iter(rows), "["
    while piece := list(islice(rest, _PIECE)):
        yield start + dump_json(piece)[1:-3]  # without its own brackets
        start = ","
    yield "[]\n" if start == "[" else "\n]\n"


def dump_jsonl(values: Iterable[object]) -> Iterator[str]:
    """JSON Lines: one compact value a line, no NaN."""
    return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Writes a file whole or not at all: to a temporary name beside it, to the disk, then renamed.

    ``text`` may come in pieces, which are written one after another.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Paths and arguments that are not UTF-8 hold lone surrogates; they are written as JSON escapes them.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk and not only in memory."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network drives sync files only
            raise
    finally:
        os.close(descriptor)


def refuse_existing(folder: str | Path, *, begun: str = "") -> Path:
    """The path of a folder that is to be written.

    ``begun`` is a file in it which says that the work was begun there, and can be gone on with.

    Raises:
        PipelineError: something is there already, or nothing can be written there. Nothing is ever overwritten.
    """
    folder = Path(folder)
    if os.path.lexists(folder):
        finished = not folder.is_dir() or (folder / MANIFEST).exists()
        if not finished and begun and (folder / begun).exists():
            raise PipelineError(
                f"{folder}: already exists and is unfinished; go on with --resume, choose another --out, or remove it"
            )
        # A folder that nobody here has made is not one to advise the removal of.
        raise PipelineError(f"{folder}: already exists; choose another --out{', or remove it' * finished}")
    home = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
    names = [name for name in folder.absolute().relative_to(home).parts if name != ".."]
    try:
        # Permissions alone do not tell, as in /proc; and names may be too long.
        with tempfile.TemporaryDirectory(dir=home) as trial:
            Path(trial, *names).mkdir(parents=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise PipelineError(
            f"{folder}: expected a place to write to; {home} is none: {reason}; choose another --out"
        ) from error
    return folder


def refuse_changes(place: Path, before: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    """Makes sure that what lies at ``place``, a run or a search, goes on with what it was begun with.

    Raises:
        PipelineError: something that decides the result is another now; the message lists it.
    """
    if changed := changes(before, fingerprint):
        raise PipelineError(
            f"{place}: expected what it was begun with, got {', '.join(changed)}; "
            "go on with the former, or choose another --out"
        )


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is another now than it was, as ``seed 1 -> 2``; ``before`` comes from a file, ``now`` need not."""
    now = json.loads(json.dumps(now))
    return [
        f"{key} {_short(before.get(key))} -> {_short(now.get(key))}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]


def _short(value: object) -> str:
    """A value for a line on a screen: of a hash, its beginning tells enough."""
    text = json.dumps(value, ensure_ascii=False)
    return f"{text[1:9]}..." if re.fullmatch(r'"[0-9a-f]{40,64}"', text) else text.strip('"')


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name only when the block ends well; else nothing remains."""
    refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Cut, because a name that is just short enough would be too long with what is added.
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name[:50]}.", dir=folder.parent))
    try:
        yield staging
        share(staging)
        try:
            staging.rename(folder)
        except OSError as error:  # nothing was there when the block began
            raise PipelineError(
                f"{folder}: expected to be free as before; {error.strerror}; another run was faster, choose another"
            ) from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def share(folder: Path) -> None:
    """Gives a folder and all in it the usual permissions: temporary folders and safetensors files start private."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def write_manifest(
    folder: Path, kind: str, task: Task, content: Mapping[str, Any], *, skip: Sequence[str] = ()
) -> None:
    """Finishes a folder: hashes every file in it and writes ``manifest.json``.

    ``skip`` names files and folders, by path from ``folder``, that are not part of the result (checkpoints, logs).
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST and not any(name == s or name.startswith(s + "/") for s in skip):
            files[name] = sha256_of(path)
    manifest = {"schema_version": SCHEMA_VERSION, "kind": kind, "task": task.to_json(), **content, "files": files}
    manifest["provenance"] = provenance()
    write_text(folder / MANIFEST, dump_json(_without_home(manifest)))
    sync(folder)


def provenance() -> dict[str, object]:
    """Who made an artifact: time, code, versions, machine, cost so far."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    peak = None
    if resource is not None:  # ru_maxrss is in KiB on Linux and in bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": [Path(sys.orig_argv[0]).name, *map(without_home, sys.orig_argv[1:])],
        "git": _git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "packages": versions,
        "wall_seconds": round(time.monotonic() - _STARTED, 1),
        "peak_memory_bytes": peak,
    }


def without_home(text: str) -> str:
    """A text with ``~`` for the home folder: reports are published, and that folder has its owner's name."""
    home = str(Path.home()).rstrip("/\\")
    return re.sub(rf"(?<![\w/\\.~-]){re.escape(home)}(?=[/\\]|$)", "~", text) if home else text


def _without_home(value: Any) -> Any:
    """Plain JSON with ``without_home`` for every text in it."""
    if isinstance(value, str):
        return without_home(value)
    if isinstance(value, Mapping):
        return {key: _without_home(inner) for key, inner in value.items()}
    return [_without_home(inner) for inner in value] if isinstance(value, list | tuple) else value


def processor_name() -> str:
    """The processor as the system calls it, with the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _git_state() -> dict[str, object] | None:
    """Commit of the code and whether it was changed since; None outside a checkout."""
    home = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None
