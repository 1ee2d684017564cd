"""Tables of tweets from CSV, TSV, JSON, JSON Lines, Parquet and Hugging Face folders, read strictly.

A file that is not what it seems is refused with the place and the reason. Nothing is guessed, shifted or turned into
NaN: ``NA``, ``null`` and ``None`` in a text file are texts.
"""

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import sha256_of
from pipeline.errors import PipelineError, first_line

if TYPE_CHECKING:
    import pyarrow

# A field of a delimited file may be this long, in characters. An opening quote without its partner swallows the rest
# of the file; the limit turns that into an error before the memory is gone. The default of 131,072 would refuse one
# long row together with the whole file, where the cleaning step drops the row and says so.
_FIELD_LIMIT = 16 * 1024 * 1024
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon"}
_SUFFIXES = ".csv, .tsv, .txt, .json, .jsonl, .ndjson, .parquet, or a folder made with Dataset.save_to_disk"


@dataclass(frozen=True)
class Table:
    """The rows of a file, column by column.

    ``values[column][i]`` is a cell and ``numbers[i]`` what its row is called in messages: the data row, counted from
    1 without the header, or the line of a JSON Lines file. ``lacking`` names, for every column that is not in all
    rows of a JSON file, the first row without it; such cells read None.
    """

    source: Path
    values: Mapping[str, Sequence[Any]]
    numbers: Sequence[int]
    lacking: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in file order."""
        return tuple(self.values)


def read_table(path: str | Path) -> Table:
    """Reads a file, or a folder made with ``Dataset.save_to_disk``.

    Raises:
        PipelineError: the path is missing, of an unknown kind, empty, or damaged; the message says where and how.
    """
    path = Path(path)
    if path.is_dir():
        table = _read_folder(path)
    elif not path.exists():
        raise PipelineError(f"{path}: no such file; expected a table of tweets with their labels")
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        table = _read_delimited(path)
    elif path.suffix.lower() == ".json":
        table = _read_json(path)
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        table = _read_json_lines(path)
    elif path.suffix.lower() == ".parquet":
        table = _read_parquet(path)
    else:
        raise PipelineError(f"{path}: expected {_SUFFIXES}; got {path.suffix or 'a name without suffix'}; convert it")
    if not len(table):
        raise PipelineError(f"{path}: expected rows of data, got none; give a file with at least one row")
    return table


def fingerprint(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, or of the names and hashes of all files in a folder."""
    path = Path(path)
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = "".join(f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path}: expected a file that can be read; {error.strerror}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PipelineError(f"{path}: expected UTF-8, got UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.object, not content: a byte order mark is gone from it, and error.start counts without it.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PipelineError(
            f"{path}, line {line}: expected UTF-8, got the byte 0x{error.object[error.start]:02x}; convert the file, "
            "for instance: iconv -f WINDOWS-1252 -t UTF-8"
        ) from error


def _read_delimited(path: Path) -> Table:
    text = _read_text(path)
    delimiter = _find_delimiter(path, text)
    rows = _delimited_rows(path, text, delimiter)
    header = [name.strip() for name in next(rows, ())]
    if not header:
        raise PipelineError(f"{path}: expected a header line with the names of the columns; the file is empty")
    _refuse_repeated(path, header)
    columns: list[list[str]] = [[] for _ in header]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise PipelineError(
                f"{path}, row {number}: expected {len(header)} columns as in the header, got {len(row)}; "
                f"it starts with {row[0][:40]!r}; put quotes around texts that hold a {_DELIMITERS[delimiter]}"
            )
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return Table(path, dict(zip(header, columns, strict=True)), range(1, len(columns[0]) + 1))


def _find_delimiter(path: Path, text: str) -> str:
    """The delimiter that cuts the header into most columns; the comma where none does."""

    def columns(delimiter: str) -> int:
        try:
            return len(next(_delimited_rows(path, text, delimiter), ()))
        except PipelineError:
            return 0

    best = max(_DELIMITERS, key=columns)
    return best if columns(best) > 1 else ","


def _delimited_rows(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows that are not blank lines, the header first."""
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number, line = 0, 1
    try:
        for row in reader:
            if row:
                yield row
                number += 1
            line = reader.line_num + 1
    except csv.Error as error:
        where = f"row {number}" if number else "header"
        raise PipelineError(
            f"{path}, {where} (from line {line}): expected fields divided by a {_DELIMITERS[delimiter]} and whole "
            f'pairs of quotes; {error}; write a quote inside a quoted text twice ("")'
        ) from error


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise PipelineError(f"{path}: expected columns with different names, got {repeated[0]!r} twice; rename one")


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that occurs twice, because ``json`` keeps the last one silently."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = counts.most_common(1)[0][0] if len(self) < len(pairs) else None


def _parse_json(where: str, text: str, advice: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except RecursionError as error:
        raise PipelineError(f"{where}: expected {advice}; got brackets nested too deeply") from error
    except ValueError as error:
        raise PipelineError(f"{where}: expected {advice}; {error}") from error


def _read_json(path: Path) -> Table:
    rows = _parse_json(str(path), _read_text(path), "one JSON list of objects (name it .jsonl if it has one a line)")
    if not isinstance(rows, list):
        raise PipelineError(f"{path}: expected a JSON list of objects, got {_kind(rows)}")
    return _from_objects(path, rows, range(1, len(rows) + 1), "row")


def _read_json_lines(path: Path) -> Table:
    lines = [(number, line) for number, line in enumerate(_read_text(path).split("\n"), start=1) if line.strip()]
    rows = [_parse_json(f"{path}, line {number}", line, "one JSON object a line") for number, line in lines]
    return _from_objects(path, rows, [number for number, _ in lines], "line")


def _from_objects(path: Path, rows: Sequence[Any], numbers: Sequence[int], unit: str) -> Table:
    columns: dict[str, None] = {}
    for number, row in zip(numbers, rows, strict=True):
        if not isinstance(row, _Object):
            raise PipelineError(f"{path}, {unit} {number}: expected an object with named values, got {_kind(row)}")
        if row.repeated is not None:
            raise PipelineError(f"{path}, {unit} {number}: the key {row.repeated!r} occurs twice; remove one")
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise PipelineError(f"{path}, {unit} {number}: {name!r} is {value}, not JSON; write null")
        columns.update(dict.fromkeys(row))
    lacking = {}
    for name in columns:
        first = next((number for number, row in zip(numbers, rows, strict=True) if name not in row), None)
        if first is not None:
            lacking[name] = first
    return Table(path, {name: [row.get(name) for row in rows] for name in columns}, numbers, lacking)


def _kind(value: object) -> str:
    names = {_Object: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise PipelineError(f"{path}: expected a Parquet file; {first_line(error)}") from error
    return _from_arrow(path, table)


def _from_arrow(path: Path, table: "pyarrow.Table") -> Table:
    _refuse_repeated(path, table.column_names)
    values = {name: table.column(name).to_pylist() for name in table.column_names}
    return Table(path, values, range(1, table.num_rows + 1))


def _read_folder(path: Path) -> Table:
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises many kinds for a damaged folder; all of them mean the same here
        raise PipelineError(f"{path}: expected a folder made with Dataset.save_to_disk; {first_line(error)}") from error
    if isinstance(dataset, datasets.DatasetDict):
        splits = ", ".join(dataset)
        raise PipelineError(
            f"{path}: holds the splits {splits}; give the folder of one, such as {path / next(iter(dataset))}"
        )
    table = _from_arrow(path, dataset.with_format("arrow")[:])
    values = dict(table.values)
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            values[name] = [None if v is None else feature.int2str(v) for v in values[name]]
    return Table(path, values, table.numbers)
