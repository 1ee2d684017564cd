"""From files to examples: read, labelled, cleaned, corrected by hand."""

import logging
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pipeline.dataset.chat import INSTRUCTION_KEYS, as_questions, instruction_of
from pipeline.dataset.cleaning import clean_rows
from pipeline.dataset.columns import Columns, find_columns, find_text, rename_columns, texts_of, unused
from pipeline.dataset.labels import Classes, classes_of, find_classes
from pipeline.dataset.overrides import apply_overrides, read_overrides
from pipeline.dataset.reading import ReadOptions, fingerprint, read_sources, read_table
from pipeline.dataset.records import Example, Sifted
from pipeline.dataset.spellings import doubts
from pipeline.dataset.tables import Table
from pipeline.errors import PipelineError
from pipeline.task import SENTIMENT_INSTRUCTION, SENTIMENT_LABELS, Task
from pipeline.text import clean

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
    against: str | None = None
    drop_retweets: bool = True
    drop_links: bool = True
    split_by: str = "random"
    instruction: str | None = None
    seed: int = 42


@dataclass(frozen=True)
class Loaded:
    """The files after cleaning, by the split they are for; ``source`` is that of all others.

    ``against`` has the texts of the file to compare with, by their rows' numbers; None without one.
    """

    task: Task
    tables: Mapping[str, Table]
    columns: Columns
    sifted: Mapping[str, Sifted]
    overrides: Mapping[str, object] | None
    raters: Mapping[str, object] | None
    against: Mapping[str, str] | None

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
    return as_questions(read_sources(sources, understood))


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
            tables[name] = rename_columns(read(options, [source]), columns)
            find_columns(tables[name], columns.text, columns.label)
    _say_unused(options, tables["source"], columns)
    against = _against(options, columns)
    classes = find_classes([(table, columns.label) for table in tables.values()], options.labels)
    labels = {name: classes_of(table, columns.label, classes) for name, table in tables.items()}
    sifted = {
        name: clean_rows(
            table,
            texts_of(table, columns.text),
            labels[name],
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
    decided, facts = _override(options, classes, sifted)
    task = Task(labels=classes.labels, instruction=_instruction(options, tables["source"]))
    if options.labels is None and not set(task.labels) <= set(SENTIMENT_LABELS):
        counts = Counter(label for column in labels.values() for label in column if label is not None)
        _say_order({label: counts[label] for label in task.labels})
    raters = _raters(options, tables["source"], classes)
    return Loaded(task, tables, columns, decided, facts, raters, against)


def _say_unused(options: LoadOptions, table: Table, columns: Columns) -> None:
    """Says which columns nobody reads, so that nobody waits for what they hold."""
    others = [*options.rater_columns, options.split_by, *INSTRUCTION_KEYS]
    if (line := unused(table, columns, others)) is not None:
        log.info("%s", line)


def _say_order(counts: Mapping[str, int]) -> None:
    """Says that the classes stand in alphabetical order and which may be none, with one ``--labels`` for all of it."""
    if (doubt := doubts(counts)) is not None:
        log.info("%s, in the order from low to high if there is one; now it is the alphabet's", doubt)
        return
    order = shlex.quote(",".join(counts))
    log.info("classes in alphabetical order; if they go from low to high, say how: --labels %s", order)


def _instruction(options: LoadOptions, table: Table) -> str:
    """The one that was given, else that of the file, else the project's own."""
    if options.instruction is not None:
        return options.instruction
    return instruction_of(table, SENTIMENT_INSTRUCTION)


def _against(options: LoadOptions, columns: Columns) -> dict[str, str] | None:
    """The texts of the file to compare with, by the numbers of their rows."""
    if options.against is None:
        return None
    table = read(options, [options.against])
    texts = texts_of(table, find_text(table, columns.text))
    named = {str(number): clean(text or "") for number, text in zip(table.numbers, texts, strict=True)}
    return {number: text for number, text in named.items() if text}


def _override(
    options: LoadOptions, classes: Classes, sifted: Mapping[str, Sifted]
) -> tuple[Mapping[str, Sifted], Mapping[str, object] | None]:
    """The rows of all files after a person's decisions, and what these changed."""
    if options.overrides is None:
        return sifted, None
    overrides = read_overrides(read_table(options.overrides), classes)
    examples = [example for each in sifted.values() for example in each.kept]
    found = apply_overrides(examples, overrides, {row.id for each in sifted.values() for row in each.dropped})
    facts = {"file": options.overrides, "sha256": fingerprint(options.overrides), **found.to_json()}
    kept = {example.id: example for example in found.sifted.kept}
    out = {row.id: row for row in found.sifted.dropped}
    return {
        name: Sifted(
            [kept[example.id] for example in each.kept if example.id in kept],
            [*each.dropped, *(out[example.id] for example in each.kept if example.id in out)],
        )
        for name, each in sifted.items()
    }, facts


def _raters(options: LoadOptions, table: Table, classes: Classes) -> Mapping[str, object] | None:
    if not options.rater_columns:
        return None
    from pipeline.dataset.raters import rater_agreement
    from pipeline.dataset.ratings import read_ratings

    found = rater_agreement(read_ratings(table, options.rater_columns, classes), classes.labels, seed=options.seed)
    if found is None:
        raise PipelineError(
            f"--rater_columns {' '.join(options.rater_columns)}: expected two ratings or more of a text, got at most "
            "one of each; name one column for every rater, or one that holds lists such as [1, 0, 1]"
        )
    return found.to_json()


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
