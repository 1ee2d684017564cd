"""From when to when the tweets are."""

from collections.abc import Sequence

import pandas as pd


def date_range(values: Sequence[object]) -> dict[str, object]:
    """First and last moment in a column, in UTC, and how many of its cells could not be read as one.

    Texts in any common notation, dates and timestamps are read; one without a zone counts as UTC. Bare numbers are
    not: nobody says whether they are seconds or milliseconds.
    """
    texts = pd.Series([None if value is None else str(value) for value in values], dtype="object")
    moments = pd.to_datetime(texts, errors="coerce", utc=True, format="mixed")
    known = moments.dropna()
    return {
        "first": None if known.empty else known.min().isoformat(),
        "last": None if known.empty else known.max().isoformat(),
        "unread": int(moments.isna().sum()),
    }
