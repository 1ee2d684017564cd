"""Tables of tweets from any real file, read without guessing.

Files, folders, archives, one file a class, the Hugging Face hub and Kaggle; CSV and its kin, JSON, JSON Lines, Parquet
and plain text. Every row is in the table or among the rejected, with line and reason; where more rows are rejected than
allowed, the file is refused. Nothing is shifted or turned into NaN: ``NA``, ``null`` and ``None`` in a text file are
texts.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifacts import sha256_of
from pipeline.dataset.columns import plain
from pipeline.dataset.delimited import Parsed, is_plain_text, parse_delimited, parse_lines
from pipeline.dataset.encoding import to_utf8
from pipeline.dataset.sources import SUFFIXES, SourceFile, divide, download, files_in, is_dataset, unpack
from pipeline.dataset.structured import parse_folder, parse_hub, parse_json, parse_json_lines, parse_parquet
from pipeline.dataset.tables import FileFacts, ReadOptions, Rejected, Table, counted
from pipeline.errors import PipelineError

__all__ = ["ReadOptions", "Rejected", "Table", "fingerprint", "read_sources", "read_table"]

_LABEL = "label"


def read_sources(sources: Sequence[str], options: ReadOptions | None = None) -> Table:
    """Reads one table from all sources, one row after another.

    A source is a file; a folder of tables, or one made with ``Dataset.save_to_disk``; ``PATH=LABEL`` for a file of one
    class, plain text with one tweet a line or a table without a label column; ``hf:org/name``, with ``:split`` where
    there are several; or ``kaggle:owner/name``.

    Raises:
        PipelineError: a source is missing, of an unknown kind, empty or damaged, has more rejected rows than allowed,
            or other columns than the first one; the message says where and how.
    """
    tables = [table for source in sources for table in _tables(source, options or ReadOptions())]
    return tables[0] if len(tables) == 1 else _join(tables)


def read_table(path: str | Path) -> Table:
    """Reads one source as ``read_sources`` does."""
    return read_sources([str(path)])


def fingerprint(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, or of the names and hashes of all files in a folder."""
    path = Path(path)
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = "".join(f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _tables(source: str, options: ReadOptions) -> Iterator[Table]:
    if source.startswith("hf:"):
        yield _table(source, parse_hub(source), options, {"sha256": None})
        return
    path, label = (download(source), None) if source.startswith("kaggle:") else divide(source)
    if path.is_dir() and is_dataset(path):
        yield _table(str(path), parse_folder(path), options, {"sha256": fingerprint(path)})
        return
    for file in files_in(path):
        for raw in unpack(file, label):
            yield _read(raw, options)


def _read(file: SourceFile, options: ReadOptions) -> Table:
    """The table in one file."""
    path, kind = file.path, kind_of(file)
    facts = {"sha256": file.sha256, "compression": file.compression, "label": file.label}
    if kind == "parquet":
        parsed = parse_parquet(path, file.content)
    else:
        content, facts["encoding"] = to_utf8(path, file.content, options.encoding)
        if kind == "json":
            # One object a line is often called .json too; a list cannot begin with a brace.
            parse = parse_json_lines if content.lstrip().startswith(b"{") else parse_json
            parsed = parse(path, content)
        elif kind == "jsonl":
            parsed = parse_json_lines(path, content)
        elif file.label is not None and file.suffix in (".txt", "") and is_plain_text(content, options):
            parsed = parse_lines(path, content)
        else:
            parsed = parse_delimited(path, content, options)
            if file.label is None and file.suffix in (".txt", ""):
                advice = f"{parsed.advice}; or give plain text with one tweet a line as FILE=LABEL"
                parsed = replace(parsed, advice=advice)
    return _table(path, parsed, options, facts)


def kind_of(file: SourceFile) -> str:
    """How a file is read, csv, json, jsonl or parquet: by its name, or by its first bytes where it says nothing.

    Raises:
        PipelineError: the name says that it is of another kind.
    """
    suffix, start = file.suffix, file.content[:100].lstrip()
    if suffix in (".jsonl", ".ndjson", ".json", ".parquet"):
        return {".ndjson": "jsonl"}.get(suffix, suffix[1:])
    if suffix and suffix not in SUFFIXES:
        raise PipelineError(
            f"{file.path}: expected {', '.join(SUFFIXES)}, or such a file in .gz, .zip or .zst; "
            f"got {suffix}; convert it"
        )
    if not suffix and start.startswith(b"PAR1"):
        return "parquet"
    return "json" if not suffix and start.startswith((b"[", b"{")) else "csv"


def _table(path: str, parsed: Parsed, options: ReadOptions, facts: dict[str, Any]) -> Table:
    """The table of one source, once it is known to have rows and not too many rejected ones."""
    rejected, rows = parsed.rejected, len(parsed.numbers)
    if len(rejected) > options.max_rejected * (rows + len(rejected)):
        first = rejected[0]
        raise PipelineError(
            f"{path}, line {first.line}: {first.reason}; it starts with {first.content[:40]!r}; {len(rejected):,} of "
            f"{counted(rows + len(rejected), 'row')} cannot be read, more than --max_rejected "
            f"{options.max_rejected} allows; {parsed.advice}"
        )
    if not (rows or rejected):
        raise PipelineError(f"{path}: expected rows of data, got none; give a file with at least one row")
    values = dict(parsed.values)
    if facts.get("label") is not None:
        if list(values) == ["1"]:  # a column of texts without a header
            values = {"text": values["1"]}
        if _LABEL in values:
            raise PipelineError(f"{path}: expected no column 'label' in a file of one class; give it without =LABEL")
        values[_LABEL] = [facts["label"]] * rows
    about = FileFacts(path=path, rows=rows, rejected=len(rejected), **facts, **parsed.facts)
    return Table(Path(path), values, parsed.numbers, parsed.lacking, rejected, [about])


def _join(tables: Sequence[Table]) -> Table:
    """One table of several with the same columns; rows are called by the names of their files."""
    first = tables[0]
    by_name = [{plain(column): column for column in table.columns} for table in tables]
    for table, columns in zip(tables, by_name, strict=True):
        if columns.keys() != by_name[0].keys() or len(table.columns) != len(first.columns):
            raise PipelineError(
                f"{table.source}: expected the columns of {first.source}, {', '.join(map(repr, first.columns))}; got "
                f"{', '.join(map(repr, table.columns))}; give files with the same columns"
            )
    names = _short([str(table.source) for table in tables])
    numbers = [f"{name}:{number}" for name, table in zip(names, tables, strict=True) for number in table.numbers]
    values: dict[str, list[Any]] = {column: [] for column in first.columns}
    lacking: dict[str, int | str] = {}
    for name, table, columns in zip(names, tables, by_name, strict=True):
        for column, cells in values.items():
            here = columns[plain(column)]
            cells.extend(table.values[here])
            if here in table.lacking:
                lacking.setdefault(column, f"{name}:{table.lacking[here]}")
    rejected = [row for table in tables for row in table.rejected]
    files = [file for table in tables for file in table.files]
    return Table(f"{first.source} and {len(tables) - 1} more", values, numbers, lacking, rejected, files)


def _short(paths: Sequence[str]) -> list[str]:
    """Different names for the files: their last parts, or what their paths have in common left out.

    ``val`` and ``test``, with which the ids of rows of ``--val_source`` and ``--test_source`` begin, become ``./val``
    and ``./test``.
    """
    places = [os.path.realpath(path) for path in paths]
    again = next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None)
    if again is not None:
        raise PipelineError(f"{again}: expected different sources, got this one twice; give it once")
    names = [Path(path).name for path in paths]
    if len(set(names)) < len(names):
        common = os.path.commonpath([os.path.abspath(path) for path in paths])  # noqa: PTH100 - links stay
        names = [os.path.relpath(path, common) for path in paths]
    return [f"./{name}" if f"{name}:".startswith(("val:", "test:")) else name for name in names]
