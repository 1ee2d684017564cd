"""Which rows can be used, and what the model sees of them."""

from collections.abc import Sequence

from pipeline.dataset.bars import steps
from pipeline.dataset.records import Dropped, Example, Sifted
from pipeline.dataset.tables import Table
from pipeline.text import clean, has_link, is_retweet

# Characters. Forty times a tweet; what is longer is no tweet, and is dropped whole instead of being cut.
LONGEST = 10_000
_SHOWN = 280


def clean_rows(
    table: Table,
    texts: Sequence[str | None],
    labels: Sequence[str | None],
    *,
    drop_retweets: bool,
    drop_links: bool,
    prefix: str = "",
) -> Sifted:
    """Cleans every text and sets aside the rows that cannot be used or are not wanted.

    Args:
        table: where the rows come from.
        texts: one raw text a row; None where the cell is null.
        labels: one class a row; None where the cell is empty.
        drop_retweets: leave out texts that start with RT.
        drop_links: leave out texts with a web address.
        prefix: stands before the row's number in its id.
    """
    kept: list[Example] = []
    dropped: list[Dropped] = []
    for number, raw, label in steps(zip(table.numbers, texts, labels, strict=True), "cleaning", total=len(table)):
        name = f"{prefix}{number}"
        raw = (raw or "").strip()
        if len(raw) > LONGEST:
            # Before anything else: normalising combining marks takes time quadratic in their number.
            detail = f"{len(raw):,} characters, more than {LONGEST:,}; only the first {_SHOWN} are shown"
            dropped.append(Dropped(name, "text too long", detail, clean(raw[:_SHOWN]), label))
            continue
        text = clean(raw)
        if not text:
            dropped.append(Dropped(name, "empty text", "nothing is left after cleaning" if raw else "", text, label))
        elif label is None:
            dropped.append(Dropped(name, "no label", "", text, label))
        elif drop_retweets and is_retweet(text):
            dropped.append(Dropped(name, "retweet", "", text, label))
        elif drop_links and has_link(text):
            dropped.append(Dropped(name, "link", "", text, label))
        else:
            kept.append(Example(name, text, label))
    return Sifted(kept, dropped)
