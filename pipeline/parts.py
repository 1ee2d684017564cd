"""A long result in parts beside the file that it becomes, so that work that is killed at any moment can go on.

``OUT.parts/`` holds ``begun.json``, what the work was begun with; numbered parts; and ``finished.jsonl``, a line for
each part that is whole and on the disk. A part without its line does not count. At the end there is ``OUT`` alone.
"""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import dump_json, dump_jsonl, read_json, sha256_of, sync, write_text
from pipeline.errors import PipelineError

log = logging.getLogger("pipeline.predict")

BEGUN, FINISHED = "begun.json", "finished.jsonl"
_WHOLE, _JOINED = "whole", "joined.json"


@dataclass(frozen=True)
class Part:
    """A part that is whole: its file and the hash of it, the rows that were read for it and the hash of them.

    ``columns`` are those of the input, ``counts`` what became of the rows.
    """

    file: str
    sha256: str
    rows: int
    read: str
    columns: Sequence[str]
    counts: Mapping[str, int]


class Parts:
    """The parts of a result. Only who holds the lock of ``folder`` may touch them."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        self.finished: list[Part] = []

    def begun_with(self) -> Mapping[str, Any] | None:
        """What the work was begun with; None where it was not.

        Raises:
            PipelineError: the folder is that of something else.
        """
        if (self.folder / BEGUN).is_file():
            found = read_json(self.folder / BEGUN)
            return found if isinstance(found, dict) else {}
        others = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
        if others:
            raise PipelineError(
                f"{self.folder}: expected parts of a prediction, got a folder without {BEGUN}; choose another --out"
            )
        return None

    def begin(self, fingerprint: Mapping[str, Any]) -> None:
        """Notes what the work is begun with."""
        write_text(self.folder / BEGUN, dump_json(fingerprint))
        sync(self.folder)

    def go_on(self) -> list[Part]:
        """The parts that are finished: from the first to the last before one that is missing or damaged."""
        self.finished = []
        with contextlib.suppress(OSError):
            for line in (self.folder / FINISHED).read_text(encoding="utf-8", errors="replace").split("\n"):
                if not line:
                    continue
                part = self._part(line)
                if part is None:
                    log.warning("%s: part %d is damaged, it is done again", self.folder, len(self.finished) + 1)
                    break
                self.finished.append(part)
        write_text(self.folder / FINISHED, dump_jsonl(map(dataclasses.asdict, self.finished)))
        return list(self.finished)

    def _part(self, line: str) -> Part | None:
        """The part that a line tells of, if it is as it was; a line may be cut."""
        try:
            part = Part(**json.loads(line))
            path = self.folder / part.file
            return part if part.file == self._name(len(self.finished)) and sha256_of(path) == part.sha256 else None
        except (OSError, ValueError, TypeError):
            return None

    def add(
        self, write: Callable[[Path], None], *, rows: int, read: str, columns: Sequence[str], counts: Mapping[str, int]
    ) -> None:
        """Writes the next part; it counts once all of it and then its line are on the disk.

        Args:
            write: writes the file.
            rows: that were read for it.
            read: hash of them.
            columns: of the input.
            counts: what became of the rows.
        """
        path = self.folder / self._name(len(self.finished))
        write(path)
        sync(path)
        sync(self.folder)
        part = Part(path.name, sha256_of(path), rows, read, list(columns), dict(counts))
        with (self.folder / FINISHED).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(dump_jsonl([dataclasses.asdict(part)]))
            file.flush()
            os.fsync(file.fileno())
        self.finished.append(part)

    def join(self, write: Callable[[Sequence[tuple[Path, Sequence[str]]], Path], None]) -> None:
        """Makes the file of all parts, which gets its name when it is whole, and removes the parts.

        ``write`` gets the parts, each with its columns, and the file to write.
        """
        whole = self.folder / _WHOLE
        write([(self.folder / part.file, part.columns) for part in self.finished], whole)
        sync(whole)
        write_text(self.folder / _JOINED, dump_json({"sha256": sha256_of(whole)}))
        sync(self.folder)
        if os.path.lexists(self.out):
            raise PipelineError(f"{self.out}: expected to be free as before; move it away, then go on with --resume")
        whole.replace(self.out)
        sync(self.out.absolute().parent)
        self._remove()

    def tidy(self) -> None:
        """Removes what was left beside a result that is there, by one who was killed when it had just finished.

        Raises:
            PipelineError: the file that is there is not made of these parts.
        """
        left = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
        if left and not self._is_made():
            raise PipelineError(
                f"{self.out}: already exists, and {self.folder} was to become it; move it away, then go on with "
                "--resume"
            )
        self._remove()

    def _is_made(self) -> bool:
        try:
            return bool(read_json(self.folder / _JOINED)["sha256"] == sha256_of(self.out))
        except (PipelineError, OSError, KeyError, TypeError):
            return False

    def _remove(self) -> None:
        """Removes the folder, what says that it may be removed at last."""
        for path in sorted(self.folder.iterdir()):
            if path.name != _JOINED:
                path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _name(self, number: int) -> str:
        return f"part-{number:06d}"
