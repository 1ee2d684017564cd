"""From files to examples: read, labelled, cleaned, corrected by hand."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pipeline.dataset.cleaning import clean_rows
from pipeline.dataset.columns import Columns, find_columns, texts_of
from pipeline.dataset.labels import Classes, classes_of, find_classes
from pipeline.dataset.overrides import apply_overrides, read_overrides
from pipeline.dataset.reading import ReadOptions, fingerprint, read_sources, read_table
from pipeline.dataset.records import Example, Sifted
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_LABELS, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """What of the files is wanted; each as the option of ``pipeline.prepare`` with its name."""

    source: list[str]
    val_source: str | None = None
    test_source: str | None = None
    labels: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    date_column: str | None = None
    date_order: Literal["day", "month"] | None = None
    rater_columns: list[str] = field(default_factory=list)
    encoding: str | None = None
    header: bool | None = None
    max_rejected: float = 0.01
    overrides: str | None = None
    drop_retweets: bool = True
    drop_links: bool = True
    split_by: str = "random"
    instruction: str = ""
    seed: int = 42


@dataclass(frozen=True)
class Loaded:
    """The files after cleaning, by the split they are for; ``source`` is that of all others."""

    task: Task
    tables: Mapping[str, Table]
    columns: Columns
    sifted: Mapping[str, Sifted]
    overrides: Mapping[str, object] | None
    raters: Mapping[str, object] | None

    @property
    def usable(self) -> list[Example]:
        """All examples, those of the source first."""
        return [example for sifted in self.sifted.values() for example in sifted.kept]

    def cells(self, column: str) -> dict[str, Any]:
        """Example id -> cell of a column, over all files that have it."""
        return {
            f"{_prefix(name)}{number}": cell
            for name, table in self.tables.items()
            if column in table.values
            for number, cell in zip(table.numbers, table.values[column], strict=True)
        }


def read(options: LoadOptions, sources: Sequence[str]) -> Table:
    """One table of all sources, read as the options say."""
    named = [options.text_column, options.label_column, options.date_column, *options.rater_columns]
    understood = ReadOptions(
        encoding=options.encoding,
        header=options.header,
        named=tuple(name for name in named if name is not None),
        max_rejected=options.max_rejected,
    )
    return read_sources(sources, understood)


def _prefix(name: str) -> str:
    """What stands before the row's number in the id of an example, by the split its file is for."""
    return "" if name == "source" else f"{name}:"


def load(options: LoadOptions) -> Loaded:
    """Reads, labels and cleans the source and, where there are some, the user's own validation and test file.

    Raises:
        PipelineError: a file cannot be read, a column or a label is unclear, or a file has no row that can be used.
    """
    tables = {"source": read(options, options.source)}
    columns = find_columns(tables["source"], options.text_column, options.label_column, options.date_column)
    for name, source in (("val", options.val_source), ("test", options.test_source)):
        if source is not None:
            tables[name] = read(options, [source])
            find_columns(tables[name], columns.text, columns.label)
    classes = find_classes([(table, columns.label) for table in tables.values()], options.labels)
    sifted = {
        name: clean_rows(
            table,
            texts_of(table, columns.text),
            classes_of(table, columns.label, classes),
            # A split of the user's own stays whole, so that the numbers compare with published ones.
            drop_retweets=options.drop_retweets and name == "source",
            drop_links=options.drop_links and name == "source",
            prefix=_prefix(name),
        )
        for name, table in tables.items()
    }
    for name in sifted.keys() - {"source"}:
        if not sifted[name].kept:
            source = getattr(options, f"{name}_source")
            raise PipelineError(f"{source}: expected rows with a text and a label, got none; see --labels")
    overridden, facts = _override(options, classes, sifted["source"])
    task = Task(labels=classes.labels, instruction=options.instruction)
    if options.labels is None and not set(task.labels) <= set(SENTIMENT_LABELS):
        order = ",".join(task.labels)
        log.info("classes in alphabetical order; if they go from low to high, say how: --labels %s", order)
    raters = _raters(options, tables["source"], classes)
    return Loaded(task, tables, columns, {**sifted, "source": overridden}, facts, raters)


def _override(options: LoadOptions, classes: Classes, source: Sifted) -> tuple[Sifted, Mapping[str, object] | None]:
    """The source after a person's decisions, and what they changed."""
    if options.overrides is None:
        return source, None
    overrides = read_overrides(read_table(options.overrides), classes)
    found = apply_overrides(source.kept, overrides, {row.id for row in source.dropped})
    facts = {"file": options.overrides, "sha256": fingerprint(options.overrides), **found.to_json()}
    return Sifted(found.sifted.kept, [*source.dropped, *found.sifted.dropped]), facts


def _raters(options: LoadOptions, table: Table, classes: Classes) -> Mapping[str, object] | None:
    if not options.rater_columns:
        return None
    from pipeline.dataset.raters import rater_agreement
    from pipeline.dataset.ratings import read_ratings

    found = rater_agreement(read_ratings(table, options.rater_columns, classes), classes.labels, seed=options.seed)
    return None if found is None else found.to_json()


def dates_of(options: LoadOptions, loaded: Loaded) -> tuple[dict[str, datetime], Mapping[str, object] | None]:
    """Example id -> when it was written, where that can be read; and what was understood of the column."""
    column = loaded.columns.date
    if column is None:
        if options.split_by == "time":
            raise PipelineError("--split_by time: expected a column with dates, found none; name it with --date_column")
        return {}, None
    from pipeline.dataset.dates import read_dates  # pandas takes a second to load

    cells = loaded.cells(column)
    dates = read_dates(list(cells.values()), options.date_order)
    if options.split_by == "time":
        dates.check(column)
    known = {id_: moment for id_, moment in zip(cells, dates.moments, strict=True) if moment is not None}
    return known, dates.to_json()
