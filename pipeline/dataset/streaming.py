"""Tables of any size, read piece by piece in the memory of one piece; no row of theirs is left out.

What a file is, its encoding and its layout are found from its first mebibyte as ``reading`` finds them from all of it.
A row that cannot be read is a row with a problem, and its text is what stands there.
"""

import codecs
import contextlib
import hashlib
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, cast

from pipeline.dataset.columns import find_text_among
from pipeline.dataset.delimited import is_plain_text, refuse_repeated
from pipeline.dataset.encoding import codec_of
from pipeline.dataset.layout import Layout, find_layout
from pipeline.dataset.lines import records
from pipeline.dataset.reading import kind_of
from pipeline.dataset.sources import OpenSource, SourceFile, open_source
from pipeline.dataset.structured import MOST_KEYS, JsonRow, cells_of, json_lines, json_list
from pipeline.dataset.tables import ReadOptions
from pipeline.errors import PipelineError, first_line

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

Format = Literal["auto", "csv", "jsonl", "parquet", "text"]

TEXT = "text"
_SAMPLE = 1 << 20
# Characters. A line that is longer is cut: without line ends, a file of any size would be one line.
_LONGEST_LINE = 1 << 25
_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


class Row(NamedTuple):
    """The cells of a row by the names of their columns, as read; ``problem`` says why it has none but its text."""

    values: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Piece:
    """Some rows one after another. ``table`` holds those of a Parquet file with the types that they have there."""

    source: str
    text: str
    given: Sequence[Row] = ()
    table: "pyarrow.Table | None" = None

    def __len__(self) -> int:
        return len(self.given) if self.table is None else self.table.num_rows

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows.

        Raises:
            PipelineError: a column of a Parquet file has values that Python cannot hold.
        """
        if self.table is None:
            return self.given
        cells = {name: self._cells(name) for name in self.table.column_names}
        return [Row(dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]

    @cached_property
    def texts(self) -> list[Any]:
        """What stands in the column of the texts, a text or not; None where there is nothing."""
        return [row.values.get(self.text) for row in self.given] if self.table is None else self._cells(self.text)

    @cached_property
    def problems(self) -> list[str]:
        """Why each row could not be read; an empty text where it could."""
        return [row.problem for row in self.given] if self.table is None else [""] * len(self)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order in which they come."""
        if self.table is not None:
            return list(self.table.column_names)
        return list(dict.fromkeys(name for row in self.given for name in row.values))

    @property
    def sha256(self) -> str:
        """A hash of all that was read."""
        digest = hashlib.sha256()
        if self.table is None:
            for values, problem in self.given:
                digest.update(repr((list(values.items()), problem)).encode("utf-8", "surrogatepass"))
            return digest.hexdigest()
        for name in self.table.column_names:
            try:
                digest.update(repr(self._cells(name)).encode("utf-8", "surrogatepass"))
            except PipelineError:  # which need not be held by Python to be copied
                digest.update(_serialised(self.table.select([name])))
        return digest.hexdigest()

    def _cells(self, name: str) -> list[Any]:
        return cells_of(self.source, name, cast("pyarrow.Table", self.table).column(name))


@dataclass(frozen=True)
class Stream:
    """An open table: its ``name`` in messages, its ``kind``, its columns as far as they are known, where its texts are.

    ``size`` is in bytes or rows, as ``unit`` says; None where nobody knows. ``about`` says how it was understood.
    ``delimiter`` stands between the cells of a CSV file of several columns.
    """

    name: str
    kind: str
    columns: Sequence[str]
    text: str
    about: str
    size: int | None
    unit: str
    _pieces: Iterator[Piece]
    _place: "_Place"
    delimiter: str | None = None

    @property
    def place(self) -> int:
        """How much of ``size`` has been read."""
        return self._place.now()

    def __iter__(self) -> Iterator[Piece]:
        """The pieces.

        Raises:
            PipelineError: the file is damaged from here on.
        """
        while (piece := self._next()) is not None:
            yield piece

    def _next(self) -> Piece | None:
        try:
            return next(self._pieces, None)
        except UnicodeDecodeError as error:
            raise _not_in(self.name, error) from error
        except _DAMAGED as error:
            raise PipelineError(f"{self.name}: expected a file that is whole; {first_line(error)}") from error


class _Place:
    """How far a stream has been read: rows that were counted, or what the file itself says."""

    def __init__(self) -> None:
        self.rows = 0
        self.bytes: _Rewound | None = None
        self.of: OpenSource | None = None

    def now(self) -> int:
        if self.of is not None and self.of.compression is not None:
            return self.of.place()
        return self.rows if self.bytes is None else self.bytes.given


@contextlib.contextmanager
def open_stream(
    source: str,
    rows: int,
    *,
    kind: Format = "auto",
    text: str | None = None,
    known: str | None = None,
    options: ReadOptions | None = None,
    may_be_empty: bool = False,
) -> Iterator[Stream]:
    """Opens a file or standard input (``-``) as a table that comes in pieces of ``rows`` rows.

    Args:
        source: CSV of any delimiter, JSON Lines, Parquet, plain text with one tweet a line, or a JSON list, which is
            read whole; each of them also in .gz, .zst, or in .zip alone.
        rows: in a piece; the last one may have fewer.
        kind: what it is; ``auto`` looks at the name and the first bytes.
        text: the column with the texts; without it the known one, the only one, or that with a usual name.
        known: the name of a column that is taken, if it is there, before one with a usual name.
        options: what is known of the file.
        may_be_empty: whether a file of white space, or of nothing, is a table without rows, and without any column that
            is known.

    Raises:
        PipelineError: it cannot be read, is empty, or has no column of that name.
    """
    named = known if text is None else text
    options = replace(options or ReadOptions(), named=() if named is None else (named,))
    with open_source(source, _SAMPLE) as opened, contextlib.ExitStack() as stack:
        if may_be_empty and _is_blank(opened.start):
            yield Stream(opened.path, "csv", (), text or TEXT, "empty", 0, "row", iter(()), _Place())
            return
        if not opened.start:
            raise PipelineError(f"{opened.path}: expected rows of data, got an empty file")
        found = _kind(opened) if kind == "auto" else kind
        whole = _Rewound(opened)
        if found == "parquet":
            yield _parquet(opened, stack.enter_context(_seekable(opened, whole)), rows, text, known)
            return
        codec, errors, encoding = codec_of(opened.path, opened.start, options.encoding)
        try:
            sample = _decoded(opened.start, codec, errors)
        except UnicodeDecodeError as error:
            raise _not_in(opened.path, error) from error
        layout = None if found in ("json", "jsonl") else find_layout(sample, options)
        if found == "csv" and kind == "auto" and opened.suffix in (".txt", "") and options.header is None:
            found = "text" if is_plain_text(sample, options) else "csv"
        lines = io.TextIOWrapper(
            io.BufferedReader(whole), codec, errors, newline="\n" if found in ("json", "jsonl") else ""
        )
        try:
            columns, given, about = _rows(opened, found, lines, sample, layout)
        except UnicodeDecodeError as error:
            raise _not_in(opened.path, error) from error
        except _DAMAGED as error:
            raise PipelineError(f"{opened.path}: expected a file that is whole; {first_line(error)}") from error
        column = find_text_among(opened.path, columns, text, known)
        place = _Place()
        place.bytes, place.of = whole, opened
        pieces = _in_pieces(opened.path, column, given, rows)
        about = f"{about}, {encoding}"
        delimiter = layout.dialect.delimiter if found == "csv" and layout is not None and len(columns) > 1 else None
        yield Stream(opened.path, found, columns, column, about, opened.size, "B", pieces, place, delimiter)


def _is_blank(start: bytes) -> bool:
    """Whether a file that begins so, and may end there, holds nothing but white space and a byte order mark."""
    return len(start) < _SAMPLE and not start.removeprefix(codecs.BOM_UTF8).strip()


def _kind(opened: OpenSource) -> str:
    found = kind_of(SourceFile(opened.path, opened.start, "", opened.compression, None))
    # One object a line is often called .json too; a list cannot begin with a brace.
    is_lines = found == "json" and opened.start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    return "jsonl" if is_lines else found


def _decoded(start: bytes, codec: str, errors: str) -> bytes:
    """The beginning of a text in UTF-8, without the line at its end that may be half a one."""
    text = codecs.getincrementaldecoder(codec)(errors).decode(start, final=len(start) < _SAMPLE)
    end = text.rfind("\n") + 1 if len(start) == _SAMPLE else 0
    return (text[:end] if end else text).encode("utf-8", "replace")


def _not_in(path: str, error: UnicodeDecodeError) -> PipelineError:
    got = f"got the byte 0x{error.object[error.start]:02x}"
    return PipelineError(f"{path}: expected {error.encoding}, {got}; give another --encoding")


def _rows(
    opened: OpenSource, kind: str, lines: io.TextIOWrapper, sample: bytes, layout: Layout | None
) -> tuple[Sequence[str], Iterable[tuple[Mapping[str, Any] | None, str, str]], str]:
    """Columns, rows and a description of a text file; a row is its cells, or None, a problem and what stands there."""
    if kind == "text":
        return [TEXT], (({TEXT: line.rstrip("\r\n")}, "", "") for line in _bounded(lines)), "plain text"
    if kind in ("json", "jsonl"):
        given: Iterable[JsonRow]
        if kind == "json":
            given = json_list(opened.path, lines.read().encode("utf-8", "surrogatepass"))
            shown, about = given, "a JSON list"
        else:
            given = json_lines(_bounded(lines))
            shown, about = list(json_lines(io.StringIO(sample.decode(), newline="\n"))), "JSON Lines"
        columns = list(dict.fromkeys(name for row in _few_keys(opened.path, shown) for name in row.values))
        if not columns:
            first = f"; {shown[0].problem}, in {shown[0].content[:40]!r}" if shown else ""
            raise PipelineError(f"{opened.path}: expected JSON objects with a text in each, got none{first}")
        rows = _few_keys(opened.path, given)
        return columns, ((None if row.problem else row.values, row.problem, row.content) for row in rows), about
    if layout is None:
        raise PipelineError(f"{opened.path}: expected rows of data, got an empty file")
    names = _named(opened.path, layout.names)
    how = f", divided by a {layout.dialect.name}" if len(names) > 1 else " of one column"
    about = f"CSV{how}, with {'a' if layout.header else 'no'} header"
    return names, _delimited(lines, layout, names), about


def _few_keys(path: str, rows: Iterable[JsonRow]) -> Iterator[JsonRow]:
    """The rows; each new key is a column of the result, and their names are held from the first row to the last."""
    known: set[str] = set()
    for number, row in enumerate(rows, start=1):
        known.update(row.values)
        if len(known) > MOST_KEYS:
            raise PipelineError(
                f"{path}, row {number:,}: expected at most {MOST_KEYS:,} different keys in all rows together, got "
                f"{len(known):,} up to here; keep those that are needed, or put the others into one object"
            )
        yield row


def _named(path: str, names: Sequence[str]) -> list[str]:
    """Names of the columns of a delimited file; where several have none, they are called by their places."""
    if list(names).count("") > 1:
        names = [name or f"column {i}" for i, name in enumerate(names, start=1)]
    refuse_repeated(path, names)
    return list(names)


def _delimited(
    lines: io.TextIOWrapper, layout: Layout, names: Sequence[str]
) -> Iterator[tuple[Mapping[str, Any] | None, str, str]]:
    width = len(names)
    for record in records(_bounded(lines), layout.dialect, skip=layout.skip, width=width):
        if len(record.cells) == width:
            yield dict(zip(names, record.cells, strict=True)), "", ""
        else:
            problem = record.problem or f"expected {width} columns, got {len(record.cells)}"
            yield None, problem, record.content.rstrip("\r\n")


def _in_pieces(
    path: str, text: str, given: Iterable[tuple[Mapping[str, Any] | None, str, str]], n: int
) -> Iterator[Piece]:
    rows = (Row({text: content}, problem) if values is None else Row(values) for values, problem, content in given)
    while piece := list(islice(rows, n)):
        yield Piece(path, text, piece)


def _bounded(file: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a text; of one that is too long, its beginning."""
    while line := file.readline(_LONGEST_LINE + 1):
        yield line
        while len(line) > _LONGEST_LINE and not line.endswith(("\n", "\r")):
            line = file.readline(_LONGEST_LINE + 1)


class _Rewound(io.RawIOBase):
    """A file from its beginning, though its first bytes were read already; ``given`` counts the bytes it gave."""

    def __init__(self, opened: OpenSource) -> None:
        self._start = memoryview(opened.start)
        self._rest = opened.rest
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._start[: len(buffer)] if self._start else self._rest.read(len(buffer))
        self._start = self._start[len(buffer) :]
        buffer[: len(piece)] = piece
        self.given += len(piece)
        return len(piece)


# --- Parquet


@contextlib.contextmanager
def _seekable(opened: OpenSource, whole: _Rewound) -> Iterator[IO[bytes]]:
    """A Parquet file has its table of contents at its end: what cannot be read from there is copied to the disk."""
    if opened.compression is None and opened.rest.seekable():
        yield opened.rest
        return
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(whole, copy, _SAMPLE)
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk is full
                raise
            raise PipelineError(f"{opened.path}: expected a file that is whole; {first_line(error)}") from error
        yield copy


def _parquet(opened: OpenSource, file: IO[bytes], rows: int, text: str | None, known: str | None) -> Stream:
    import pyarrow
    import pyarrow.parquet

    try:
        # Column by column in small pieces, else a whole row group would be held.
        table = pyarrow.parquet.ParquetFile(file, buffer_size=_SAMPLE, pre_buffer=False)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise PipelineError(f"{opened.path}: expected a Parquet file; {first_line(error)}") from error
    columns = list(table.schema_arrow.names)
    refuse_repeated(opened.path, columns)
    column = find_text_among(opened.path, columns, text, known)
    place = _Place()
    pieces = _in_tables(opened.path, column, table, rows, place)
    return Stream(opened.path, "parquet", columns, column, "Parquet", table.metadata.num_rows, "row", pieces, place)


def _serialised(table: "pyarrow.Table") -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return cast(bytes, sink.getvalue().to_pybytes())


def _in_tables(path: str, text: str, file: "pyarrow.parquet.ParquetFile", n: int, place: _Place) -> Iterator[Piece]:
    """Pieces of ``n`` rows, which may lie in several row groups."""
    import pyarrow

    for batch in file.iter_batches(batch_size=n):
        place.rows += batch.num_rows
        yield Piece(path, text, table=pyarrow.Table.from_batches([batch]))
