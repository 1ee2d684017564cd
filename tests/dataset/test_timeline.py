from collections import Counter
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from corpora import LABELS, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.timeline import timeline

START = datetime(2018, 3, 23, 10, 30, tzinfo=UTC)  # a Friday
FREQUENCIES = {"hour": "h", "day": "D", "week": "W-SUN", "month": "M", "year": "Y"}


@pytest.mark.parametrize(
    ("span", "unit", "first", "bins"),
    [
        (timedelta(0), "hour", "2018-03-23T10:00:00+00:00", 1),
        (timedelta(hours=59), "hour", "2018-03-23T10:00:00+00:00", 60),
        (timedelta(hours=60), "day", "2018-03-23T00:00:00+00:00", 3),
        (timedelta(days=60), "week", "2018-03-19T00:00:00+00:00", 10),
        (timedelta(days=500), "month", "2018-03-01T00:00:00+00:00", 18),
        (timedelta(days=10_000), "year", "2018-01-01T00:00:00+00:00", 28),
        (timedelta(days=-35_000), "year", "1922-01-01T00:00:00+00:00", 97),
    ],
)
def test_unit_is_the_finest_with_few_bins(span: timedelta, unit: str, first: str, bins: int) -> None:
    examples, _ = corpus([(0, "Up"), (1, "Down")])
    found = timeline(examples, {"1": START, "2": START + span}, LABELS)
    assert found is not None
    assert found["unit"] == unit
    assert (found["bins"][0][0], len(found["bins"])) == (first, bins)
    assert sum(sum(counts.values()) for _, counts in found["bins"]) == 2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.datetimes(datetime(1960, 1, 1), datetime(2060, 1, 1))),
        min_size=1, max_size=30,
    )
    | st.lists(
        st.tuples(st.sampled_from(LABELS), st.datetimes(datetime(2018, 1, 1), datetime(2019, 1, 1))),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_bins_are_those_of_pandas(rows: list[tuple[str, datetime]]) -> None:
    examples, _ = corpus([(i, label) for i, (label, _) in enumerate(rows)])
    dates = {e.id: moment.replace(tzinfo=UTC) for e, (_, moment) in zip(examples, rows, strict=True)}
    found = timeline(examples, dates, LABELS)
    assert found is not None
    starts = pd.Series([moment for _, moment in rows]).dt.to_period(FREQUENCIES[found["unit"]]).dt.start_time
    expected = Counter((start.isoformat() + "+00:00", label) for start, (label, _) in zip(starts, rows, strict=True))
    assert (
        Counter({(start, label): n for start, counts in found["bins"] for label, n in counts.items() if n}) == expected
    )


def test_rows_without_a_date_are_left_out() -> None:
    examples, _ = corpus([(0, "Up"), (1, "Down")])
    assert timeline(examples, {}, LABELS) is None
    assert timeline(examples, {"2": START}, LABELS) == {
        "unit": "hour",
        "bins": [["2018-03-23T10:00:00+00:00", {"Down": 1, "Flat": 0, "Up": 0}]],
    }
