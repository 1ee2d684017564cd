"""A file of tweets that somebody uploads, labelled by the code of ``pipeline.predict`` within limits."""

import csv
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.demo.shelf import Loaded, Shelf
from pipeline.errors import PipelineError
from pipeline.library import TunedClassifier
from pipeline.predict import PredictConfig, label_file
from pipeline.predictions import Prediction
from pipeline.shards import ROWS as COUNTED

MAX_ROWS = 1_000
MAX_BYTES = 1 << 20
SHOWN_ROWS = 100
SUFFIXES = (".csv", ".tsv")
# Decoded in one go; somebody who types a tweet meanwhile waits for so many.
_AT_ONCE = 16
_CELL = 280
_ADDED = ("label", "confidence", "abstained", "reason")


@dataclass(frozen=True)
class Labelled:
    """A labelled file: where it is, how often each thing became of a row, and the first rows with their header.

    ``note`` says where the answers are, if not in columns of the usual names, and is empty otherwise.
    """

    path: Path
    counts: Counter[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int
    note: str


class _Turns(TunedClassifier):
    """A run's model that is taken from the shelf for each piece, so that others get their turns."""

    def __init__(self, shelf: Shelf, name: str, loaded: Loaded, done: Callable[[int], None]) -> None:
        super().__init__(loaded.run, loaded.classifier, loaded.placement)
        del self._classifier  # memory for one model is enough: the shelf may have to let go of this one
        self._shelf, self._name, self._done = shelf, name, done

    def predict(self, texts: Iterable[str | None], **options: Any) -> list[Prediction]:
        texts = list(texts)
        with self._shelf.open(self._name) as loaded:
            found = TunedClassifier(loaded.run, loaded.classifier, loaded.placement).predict(texts, **options)
        self._done(len(texts))
        return found


def label(
    shelf: Shelf, name: str, source: Path, column: str | None, folder: Path, progress: Callable[[int, int], None]
) -> Labelled:
    """Labels every row of a file.

    Args:
        shelf: where the model is.
        name: of the run.
        source: a CSV file.
        column: with the tweets; found if it is not given.
        folder: to write into.
        progress: is told how many rows are done, of how many.

    Raises:
        PipelineError: the file is too large, no table, or has no column with tweets.
    """
    try:
        total, columns, text, delimiter = _look(source, column, shelf.runs[name].text_column)
        prefix, note = _prefix(columns)
        place = Path(tempfile.mkdtemp(dir=folder))
        out = place / f"{source.stem[:80]}.labelled.csv"
        done = Counter[str]()

        def tell(rows: int) -> None:
            done[COUNTED] += rows
            progress(done[COUNTED], total)

        def load() -> TunedClassifier:
            with shelf.open(name) as loaded:
                return _Turns(shelf, name, loaded, tell)

        config = PredictConfig(
            run=str(shelf.runs[name].folder), source=str(source), out=str(out), format="csv", text_column=text,
            prefix=prefix, spreadsheet=True, rows_at_once=_AT_ONCE,
        )  # fmt: skip
        counts = label_file(config, shelf.runs[name], load) or Counter()
    except PipelineError as error:
        raise PipelineError(_for_the_page(str(error), source)) from error
    header, rows = _first(out, text, prefix, delimiter)
    return Labelled(out, counts, header, rows, total, note)


def _look(source: Path, column: str | None, known: str | None) -> tuple[int, Sequence[str], str, str]:
    """How many rows there are, the columns, the one with the tweets, and what will stand between cells."""
    from pipeline.dataset.sources import compression_of
    from pipeline.dataset.streaming import open_stream
    from pipeline.dataset.writing import delimiter_of, kind_of_output

    if source.suffix.lower() not in SUFFIXES:
        raise PipelineError(f"{source}: expected a file that ends with {' or '.join(SUFFIXES)}")
    if (size := source.stat().st_size) > MAX_BYTES:
        raise PipelineError(f"{source}: expected at most {MAX_BYTES:,} bytes, got {size:,}; use pipeline.predict")
    with source.open("rb") as file:
        if compression_of(source, file.read(4)):  # small, and a gigabyte inside
            raise PipelineError(f"{source}: expected a CSV file, got a compressed one; unpack it")
    rows = 0
    columns: dict[str, None] = {}
    with open_stream(str(source), _AT_ONCE, kind="csv", text=column or None, known=known) as stream:
        for piece in stream:
            rows += len(piece)
            columns |= dict.fromkeys(piece.columns)
            if rows > MAX_ROWS:
                raise PipelineError(f"{source}: expected at most {MAX_ROWS:,} rows; use pipeline.predict for more")
        kind = kind_of_output(f"{source.stem}.csv", stream.kind, spreadsheet=True, delimiter=stream.delimiter)
        return rows, list(columns), stream.text, delimiter_of(kind)


def _prefix(columns: Sequence[str]) -> tuple[str, str]:
    """What the names of the added columns begin with, so that those of the file stay, and what is said of it."""

    def taken(prefix: str) -> list[str]:
        own = {prefix + name for name in _ADDED}
        return [name for name in columns if name in own or name.startswith(f"{prefix}probability_")]

    prefix = ""
    while taken(prefix):
        prefix += "predicted_"
    if not prefix:
        return "", ""
    return prefix, (
        f"The file has a column {taken('')[0]!r} of its own, which stays as it was: the answers are in the columns "
        f"whose names begin with {prefix}."
    )


def _first(path: Path, text: str, prefix: str, delimiter: str) -> tuple[list[str], list[list[str]]]:
    """The tweets and answers of the first rows of what was written; tweets as they were, cut where they are long."""
    from pipeline.dataset.spreadsheet import guarded, unguarded

    csv.field_size_limit(1 << 30)
    names = [text, *(prefix + name for name in _ADDED)]
    rows: list[list[str]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter=delimiter):
            if len(rows) == SHOWN_ROWS:
                break
            cells = [unguarded(row[guarded(name)] or "") for name in names]
            rows.append([cell if len(cell) <= _CELL else cell[:_CELL] + " …" for cell in cells])
    return names, rows


def _for_the_page(message: str, source: Path) -> str:
    """A message of the command for somebody who sees a page: no folders, and no options."""
    message = message.replace(str(source), source.name)
    message = re.sub(
        r"give (--text_column NAME|one of them with --text_column)",
        "type the name of the column with the text",
        message,
    )
    message = message.replace("which --spreadsheet adds", "which is added")
    return message.replace("--encoding", "encoding, such as UTF-8")


def shares(labelled: Labelled, labels: Sequence[str]) -> dict[str, float]:
    """What became of the rows, as captions with counts and their shares."""
    of = {name: labelled.counts[f"label/{name}"] for name in labels}
    of |= {"no label written": labelled.counts["unparsed"], "cannot be used": labelled.counts["unusable"]}
    total = max(1, labelled.total)
    return {f"{name}: {count:,}": count / total for name, count in of.items() if count or name in labels}
