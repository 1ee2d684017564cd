"""Tables whose format says where a row ends: JSON, JSON Lines, Parquet, folders and hub names of data sets."""

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pipeline.dataset.delimited import Parsed, refuse_repeated
from pipeline.dataset.tables import Rejected
from pipeline.errors import PipelineError, first_line

if TYPE_CHECKING:
    import datasets
    import pyarrow


# Keys that the objects of one file may have together; every row takes room for each of them.
MOST_KEYS = 1_000
# Levels of lists and objects in one row of a stream.
_DEEPEST = 100


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that occurs twice, because ``json`` keeps the last one silently."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = counts.most_common(1)[0][0] if len(self) < len(pairs) else None


def parse_json(path: str, content: bytes) -> Parsed:
    """Reads a JSON list of objects from UTF-8; elements that are none are set aside, by their number.

    Raises:
        PipelineError: it is not JSON, or not a list.
    """
    return _from_objects(path, enumerate(_list(path, content), start=1), "json")


def parse_json_lines(path: str, content: bytes) -> Parsed:
    """Reads one JSON object a line from UTF-8; lines that are none are set aside."""
    return _from_objects(path, _json_lines(io.BytesIO(content)), "jsonl")


class JsonRow(NamedTuple):
    """A row of a JSON file. ``problem`` says why it has no values, and ``content`` is what stands there then."""

    values: Mapping[str, Any]
    problem: str = ""
    content: str = ""


def json_list(path: str, content: bytes) -> list[JsonRow]:
    """The elements of a JSON list in UTF-8.

    Raises:
        PipelineError: it is not JSON, or not a list.
    """
    return [_json_row(row) for row in _list(path, content)]


def json_lines(lines: Iterable[str]) -> Iterator[JsonRow]:
    """The rows of a file with one JSON object a line, line by line; blank lines are none."""
    return (_json_row(row) for _, row in _json_lines(lines))


def _json_row(row: object) -> JsonRow:
    problem = _problem(row) or ("brackets nested too deeply" if _is_deep(row) else "")
    return JsonRow({}, problem, _content(row)) if problem else JsonRow(cast("_Object", row))


def parse_parquet(path: str, content: bytes) -> Parsed:
    """Reads a Parquet file.

    Raises:
        PipelineError: it is damaged, has values that Python cannot hold, or two columns have the same name.
    """
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).read()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise PipelineError(f"{path}: expected a Parquet file; {first_line(error)}") from error
    return _from_arrow(path, table, "parquet")


def parse_folder(path: Path) -> Parsed:
    """Reads a folder made with ``Dataset.save_to_disk``.

    Raises:
        PipelineError: it is damaged, or holds several splits.
    """
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
    return _from_dataset(str(path), dataset)


def parse_hub(source: str) -> Parsed:
    """Reads ``hf:org/name``, ``hf:org/name:split`` or ``hf:org/name/config:split`` from the Hugging Face hub.

    Raises:
        PipelineError: it cannot be loaded, or has several splits and none was named.
    """
    import datasets

    name, _, split = source.removeprefix("hf:").partition(":")
    parts = name.split("/")
    try:
        dataset = datasets.load_dataset("/".join(parts[:2]), "/".join(parts[2:]) or None, split=split or None)
    except Exception as error:  # as many kinds as there are ways to fail: no network, no such name, a script
        raise PipelineError(
            f"{source}: expected a data set of the Hugging Face hub, as hf:org/name or hf:org/name:split; "
            f"{first_line(error)}"
        ) from error
    if isinstance(dataset, dict):
        if len(dataset) > 1:
            example = f"{source}:{next(iter(dataset))}"
            raise PipelineError(f"{source}: holds the splits {', '.join(dataset)}; give one of them, as {example}")
        dataset = next(iter(dataset.values()))
    return _from_dataset(source, dataset)


def _list(path: str, content: bytes) -> list[Any]:
    advice = "one JSON list of objects, or one object a line"
    try:
        rows = json.loads(content.decode(), object_pairs_hook=_Object)
    except RecursionError as error:
        raise PipelineError(f"{path}: expected {advice}; got brackets nested too deeply") from error
    except ValueError as error:
        raise PipelineError(f"{path}: expected {advice}; {error}") from error
    if not isinstance(rows, list):
        raise PipelineError(f"{path}: expected a JSON list of objects, got {_kind(rows)}")
    return rows


def _json_lines(lines: Iterable[bytes | str]) -> Iterator[tuple[int, Any]]:
    """The number and the value of every line that is not blank; of one that is not JSON, a ``_Broken``."""
    for number, each in enumerate(lines, start=1):
        line = each if isinstance(each, str) else each.decode()
        if line.strip():
            try:
                yield number, json.loads(line, object_pairs_hook=_Object)
            except json.JSONDecodeError as error:
                yield number, _Broken(error.msg, line)
            except RecursionError:
                yield number, _Broken("brackets nested too deeply", line)
            except ValueError as error:
                yield number, _Broken(first_line(error), line)


class _Broken(NamedTuple):
    """A line that is not JSON, and why."""

    reason: str
    line: str


def _from_objects(path: str, rows: Iterable[tuple[int, Any]], kind: str) -> Parsed:
    values: dict[str, list[Any]] = {}
    numbers: list[int] = []
    lacking: dict[str, int] = {}
    rejected: list[Rejected] = []
    for number, row in rows:
        problem = _problem(row)
        if problem:
            rejected.append(Rejected.of(path, number, problem, _content(row)))
            continue
        for name, value in row.items():
            column = values.setdefault(name, [])
            if len(column) < len(numbers):
                _fill(name, column, numbers, lacking)
            column.append(value)
        if len(values) > MOST_KEYS:
            raise PipelineError(
                f"{path}, line {number}: expected at most {MOST_KEYS:,} different keys in all rows together, got "
                f"{len(values):,} up to here; keep those that are needed"
            )
        numbers.append(number)
    for name, column in values.items():
        _fill(name, column, numbers, lacking)
    return Parsed(values, numbers, rejected, lacking, {"kind": kind}, "mend the rows or remove them")


def _fill(name: str, column: list[Any], numbers: Sequence[int], lacking: dict[str, int]) -> None:
    """Adds None for the rows since the last one that had the key, and keeps the first row without it."""
    if missing := len(numbers) - len(column):
        lacking.setdefault(name, numbers[len(column)])
        column.extend([None] * missing)


def _is_deep(value: object) -> bool:
    """Whether lists and objects stand in one another so deeply that writing them again could fail."""
    level = [value]
    for _ in range(_DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [value for values in inner for value in values]
        if not level:
            return False
    return True


def _problem(row: object) -> str:
    """Why a value is no row; empty where it is one."""
    if isinstance(row, _Broken):
        return f"expected one JSON object a line; {row.reason}"
    if not isinstance(row, _Object):
        return f"expected an object with named values, got {_kind(row)}"
    if row.repeated is not None:
        return f"the key {row.repeated!r} occurs twice"
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name!r} is {value}, not JSON; write null"
    return ""


def _content(row: object) -> str:
    return row.line.rstrip() if isinstance(row, _Broken) else json.dumps(row, ensure_ascii=False)


def _kind(value: object) -> str:
    names = {_Object: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _from_arrow(path: str, table: "pyarrow.Table", kind: str) -> Parsed:
    refuse_repeated(path, table.column_names)
    values = {name: cells_of(path, name, table.column(name)) for name in table.column_names}
    return Parsed(values, range(1, table.num_rows + 1), facts={"kind": kind})


def cells_of(path: str, name: str, column: "pyarrow.ChunkedArray") -> list[Any]:
    """The values of a column of a Parquet file.

    Raises:
        PipelineError: they are none that Python knows: texts in UTF-8, years to 9999, time zones.
    """
    import pyarrow

    try:
        cells: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, LookupError, pyarrow.ArrowException) as error:
        raise PipelineError(
            f"{path}: expected values that can be read in column {name!r}, of type {column.type}; {first_line(error)}; "
            "leave the column out, or write it as texts in UTF-8"
        ) from error
    return cells


def _from_dataset(path: str, dataset: "datasets.Dataset") -> Parsed:
    """The rows of a data set, with the names of its classes in place of their numbers."""
    import datasets

    parsed = _from_arrow(path, dataset.with_format("arrow")[:], "dataset")
    values = dict(parsed.values)
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            values[name] = [None if v is None else feature.int2str(v) for v in values[name]]
    return replace(parsed, values=values)
