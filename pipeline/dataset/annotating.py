"""Tweets from a file, to be labelled by a teacher; with the labels that people gave, where it has them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.dataset.cleaning import clean_rows
from pipeline.dataset.columns import find_columns, find_text_among, is_usual, texts_of
from pipeline.dataset.labels import classes_of_values
from pipeline.dataset.reading import read_sources, read_table
from pipeline.dataset.records import Dropped, Example
from pipeline.dataset.tables import ReadOptions
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Unlabelled:
    """``examples`` have an empty label; ``human`` maps ids to the labels that people gave, as far as there are some.

    These stand in ``dropped`` too. ``sha256`` is that of the file.
    """

    examples: Sequence[Example]
    dropped: Sequence[Dropped]
    human: dict[str, str]
    sha256: str | None


def read_unlabelled(
    path: str,
    labels: Sequence[str],
    *,
    text_column: str | None,
    label_column: str | None,
    mapping: str | None,
    drop_retweets: bool,
    drop_links: bool,
    prefix: str,
) -> Unlabelled:
    """Reads a file of tweets.

    Args:
        path: any file that pipeline.prepare reads.
        labels: the classes.
        text_column: with the tweets; found if None.
        label_column: with people's labels; found if None, and there may be none.
        mapping: what the label values mean, as in ``--labels`` of pipeline.prepare.
        drop_retweets: leave out texts that start with RT.
        drop_links: leave out texts with a web address.
        prefix: stands before the row's number in its id.

    Raises:
        PipelineError: the file cannot be read, or its columns are unclear.
    """
    table = read_table(path)
    if len(table.columns) == 1 and not is_usual(table.columns[0]) and text_column is None:
        table = read_sources([path], ReadOptions(header=False))  # a short first tweet may look like a column's name
    try:
        columns = find_columns(table, text_column, label_column)
        text, label = columns.text, columns.label
    except PipelineError:
        if label_column is not None:
            raise
        text, label = find_text_among(str(table.source), table.columns, text_column), None
    sifted = clean_rows(
        table,
        texts_of(table, text),
        [""] * len(table),
        drop_retweets=drop_retweets,
        drop_links=drop_links,
        prefix=prefix,
    )
    if not sifted.kept:
        raise PipelineError(f"{path}: expected tweets to label, got none that can be used")
    human: dict[str, str] = {}
    if label is not None:
        class_of = classes_of_values(labels, mapping)
        for number, cell in zip(table.numbers, table.values[label], strict=True):
            if (found := class_of(cell)) is not None:
                human[f"{prefix}{number}"] = found
    dropped = [replace(row, label=human.get(row.id)) for row in sifted.dropped]
    return Unlabelled(sifted.kept, dropped, human, table.files[0].sha256)
