"""Rows and what was found for them, as a file of any size: written in parts, which are joined in bounded memory."""

import base64
import csv
import datetime
import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from pipeline.artifacts import dump_jsonl
from pipeline.dataset.spreadsheet import guarded
from pipeline.dataset.streaming import Piece
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import pyarrow

# What a spreadsheet program opens is divided by commas or by semicolons.
Kind = Literal["csv", "tsv", "spreadsheet", "semicolons", "jsonl", "parquet"]

ESCAPED = "text_escaped"
_SUFFIXES: Mapping[str, Kind] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
_SPREADSHEETS = ("spreadsheet", "semicolons")
_DELIMITERS = {"csv": ",", "tsv": "\t", "spreadsheet": ",", "semicolons": ";"}
# A reader may strip the white space around a cell that has no quotes, or take a line end for that of the row.
_TO_QUOTE = re.compile(r'[",;\t\r\n\x00]|^\s|\s$')
_BOM = "\ufeff"
# Integers up to here are numbers with a point as well, without any loss.
_EXACT = 2**53
# Of a joined Parquet file: a row group has so many rows, or bytes, or one part more.
_GROUP_ROWS, _GROUP_BYTES = 100_000, 64 << 20


@dataclass(frozen=True)
class Added:
    """A column that is added, and the type of its values; each of them may be None."""

    name: str
    kind: type


def kind_of_output(out: str, source: str, *, spreadsheet: bool, delimiter: str | None = None) -> Kind:
    """What is written, by the name of the file; ``-`` is standard output, for what goes line by line.

    Args:
        out: name of the file.
        source: what the input is: csv, text, json, jsonl or parquet.
        spreadsheet: whether a spreadsheet program shall open it.
        delimiter: of the source, if it has one.

    Raises:
        PipelineError: rows of that source are not written so.
    """
    if out == "-":
        kind: Kind | None = "csv" if source in ("csv", "text") else "jsonl"
    else:
        kind = _SUFFIXES.get(Path(out).suffix.lower())
    if kind is None:
        raise PipelineError(f"--out {out}: expected a name that ends with {', '.join(_SUFFIXES)}, or - for stdout")
    if spreadsheet and kind != "csv":
        raise PipelineError(f"--spreadsheet: expected an --out that ends with .csv, got {out}")
    # Semicolons come from a program whose language has the comma in its numbers; it opens no other CSV in columns.
    return ("semicolons" if delimiter == ";" else "spreadsheet") if spreadsheet else kind


def delimiter_of(kind: Kind) -> str:
    """What stands between the cells of delimited text."""
    return _DELIMITERS[kind]


def write_lines(
    file: IO[str],
    piece: Piece,
    columns: Sequence[str],
    added: Sequence[Added],
    values: Sequence[Sequence[Any]],
    kind: Kind,
) -> None:
    """Writes rows as lines of text, without a header.

    Args:
        file: to write to.
        piece: the rows as read.
        columns: of the input that are written, for what has columns.
        added: the columns that come behind them.
        values: of each row, of the added columns.
        kind: not parquet.
    """
    if kind == "jsonl":
        names = [each.name for each in added]
        rows = zip(piece.rows, values, strict=True)
        file.writelines(dump_jsonl(_plain({**row.values, **dict(zip(names, new, strict=True))}) for row, new in rows))
        return
    for row, new in zip(piece.rows, values, strict=True):
        cells = [_cell(value) for value in [*(row.values.get(name) for name in columns), *new]]
        if kind in _SPREADSHEETS:
            text = _cell(row.values.get(piece.text))
            cells = [*map(guarded, cells), _cell(guarded(text) != text)]
        file.write(_line(cells, kind))


def header(columns: Sequence[str], added: Sequence[Added], kind: Kind) -> str:
    """The line with the names of the columns; nothing for JSON Lines."""
    if kind == "jsonl":
        return ""
    names = [*columns, *(each.name for each in added), *([ESCAPED] if kind in _SPREADSHEETS else [])]
    return _BOM + _line(map(guarded, names), kind) if kind in _SPREADSHEETS else _line(names, kind)


def _line(cells: Iterable[str], kind: Kind) -> str:
    """A row of delimited text, with its end; for a spreadsheet all cells are in quotes."""
    every = kind in _SPREADSHEETS
    quoted = ('"' + cell.replace('"', '""') + '"' if every or _TO_QUOTE.search(cell) else cell for cell in cells)
    return _DELIMITERS[kind].join(quoted) + "\n"


def _cell(value: Any) -> str:
    """A value as the text of a cell; what is a text stays as it is."""
    if isinstance(value, str):
        return value
    value = _plain(value)
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO 8601 writes them, bytes in base 64, no NaN."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


# --- parts


def write_part(path: Path, piece: Piece, added: Sequence[Added], values: Sequence[Sequence[Any]], kind: Kind) -> None:
    """Writes the rows as a part, which ``join`` puts behind the one before it."""
    if kind != "parquet":
        # A lone surrogate cannot be written; JSON has the same escape for it.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            write_lines(file, piece, piece.columns, added, values, kind)
        return
    import pyarrow
    import pyarrow.parquet

    table = piece.table
    if table is None:
        names = piece.columns
        columns = [_array([row.values.get(name) for row in piece.rows]) for name in names]
        table = pyarrow.table(columns, names=[_encodable(name) for name in names])
    types = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    for each, column in zip(added, zip(*values, strict=True), strict=True):
        cells = [_encodable(value) for value in column]
        table = table.append_column(each.name, pyarrow.array(cells, types[each.kind]))
    with path.open("wb") as binary:
        pyarrow.parquet.write_table(table, binary)


def join(
    parts: Sequence[tuple[Path, Sequence[str]]], out: Path, columns: Sequence[str], added: Sequence[Added], kind: Kind
) -> None:
    """Writes one file of all parts, in their order.

    Args:
        parts: their files, and the columns of the input in each.
        out: the file to write.
        columns: of the input that are known to be there; those of the parts come behind them.
        added: the columns that were added.
        kind: of the parts and of the file.
    """
    if kind == "parquet":
        _join_tables([path for path, _ in parts], out, [_encodable(name) for name in columns], added)
        return
    columns = list(dict.fromkeys([*columns, *(name for _, names in parts for name in names)]))
    with out.open("wb") as file:
        file.write(header(columns, added, kind).encode("utf-8", "backslashreplace"))
        for path, names in parts:
            with path.open("rb") as part:
                if kind == "jsonl" or list(names) == columns:
                    shutil.copyfileobj(part, file, 1 << 20)
                else:
                    for row in _laid_out(part, list(names), columns, kind):
                        file.write(row.encode())


def _laid_out(part: IO[bytes], names: Sequence[str], columns: Sequence[str], kind: Kind) -> Iterator[str]:
    """The rows of a part that lacks columns which others have."""
    csv.field_size_limit(1 << 30)
    places = {name: i for i, name in enumerate(names)}
    for cells in csv.reader((line.decode() for line in part), delimiter=_DELIMITERS[kind]):
        known = [cells[places[name]] if name in places else "" for name in columns]
        yield _line([*known, *cells[len(names) :]], kind)


def _array(values: Sequence[Any]) -> "pyarrow.Array":
    """A column for Parquet: texts, numbers or truth values; where they are of several kinds, texts."""
    import pyarrow

    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {str}:
        return pyarrow.array([_encodable(value) for value in values], pyarrow.string() if kinds else pyarrow.null())
    exact = all(abs(value) <= _EXACT for value in values if type(value) is int)
    if kinds in ({bool}, {float}) or (kinds == {int, float} and exact):
        return pyarrow.array(values)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pyarrow.array(values, pyarrow.int64())
    return pyarrow.array([None if value is None else _encodable(_cell(value)) for value in values], pyarrow.string())


def _encodable(value: Any) -> Any:
    """A text without lone surrogates, which are written as JSON escapes them; other values as they are."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _join_tables(parts: Sequence[Path], out: Path, columns: Sequence[str], added: Sequence[Added]) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = _schema(parts, columns, added)
    with out.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        waiting: list[pyarrow.Table] = []
        for path in parts:
            waiting.append(_fitted(pyarrow.parquet.read_table(path), schema))
            if sum(t.num_rows for t in waiting) >= _GROUP_ROWS or sum(t.nbytes for t in waiting) >= _GROUP_BYTES:
                writer.write_table(pyarrow.concat_tables(waiting))
                waiting.clear()
        if waiting:
            writer.write_table(pyarrow.concat_tables(waiting))


def _schema(parts: Sequence[Path], columns: Sequence[str], added: Sequence[Added]) -> "pyarrow.Schema":
    """The columns of all parts, each with a type that holds its values in all of them."""
    import pyarrow
    import pyarrow.parquet

    own = {each.name for each in added}
    found: dict[str, set[Any]] = {name: set() for name in columns}
    exact: dict[str, bool] = {}
    first, last = None, None
    for path in parts:
        file = pyarrow.parquet.ParquetFile(path)
        if first is None:
            first = file.schema_arrow
        if file.schema_arrow == last:
            continue
        for field in file.schema_arrow:
            found.setdefault(field.name, set()).add(field.type)
        last = file.schema_arrow
    for path in parts if any(len(types) > 1 for types in found.values()) else ():
        for name, values in _bounds(path).items():
            exact[name] = exact.get(name, True) and all(abs(value) <= _EXACT for value in values)
    fields = []
    for name in [*(name for name in found if name not in own), *(each.name for each in added)]:
        types = found.get(name, set()) - {pyarrow.null()}
        if types == {pyarrow.int64(), pyarrow.float64()} and exact.get(name, True):
            types = {pyarrow.float64()}
        kinds = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        kind = {each.name: kinds[each.kind] for each in added}.get(name, pyarrow.string())
        fields.append(pyarrow.field(name, types.pop() if len(types) == 1 else kind))
    if first is not None and [field.name for field in fields] == first.names:
        same = [old if old.type == new.type else new for old, new in zip(first, fields, strict=True)]
        return pyarrow.schema(same, metadata=first.metadata)
    return pyarrow.schema(fields)


def _bounds(path: Path) -> dict[str, list[int]]:
    """The lowest and the highest of each column of integers in a part."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    bounds: dict[str, list[int]] = {}
    for field in file.schema_arrow:
        if field.type == pyarrow.int64():
            column = file.read([field.name]).column(0)
            low_high = pyarrow.compute.min_max(column).as_py()
            bounds[field.name] = [value for value in low_high.values() if value is not None]
    return bounds


def _fitted(table: "pyarrow.Table", schema: "pyarrow.Schema") -> "pyarrow.Table":
    """A part with the columns and types of the whole."""
    import pyarrow

    if table.schema.equals(schema):
        return table.cast(schema)
    arrays = []
    for field in schema:
        if field.name not in table.column_names:
            arrays.append(pyarrow.nulls(table.num_rows, field.type))
        elif (column := table.column(field.name)).type == field.type or field.type != pyarrow.string():
            arrays.append(column.cast(field.type))
        else:
            cells = column.to_pylist()
            arrays.append(pyarrow.array([None if cell is None else _cell(cell) for cell in cells], field.type))
    return pyarrow.table(arrays, schema=schema)
