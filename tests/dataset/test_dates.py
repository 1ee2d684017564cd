import datetime
from collections.abc import Sequence

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.dates import read_dates
from pipeline.errors import PipelineError

MOMENT = datetime.datetime(2018, 3, 23, 0, 40, 40, tzinfo=datetime.UTC)
MINUTE = MOMENT.replace(second=0)
DAY = MOMENT.replace(hour=0, minute=0, second=0)


def test_range_is_in_utc() -> None:
    found = read_dates(
        [
            "Fri Mar 23 00:40:40 +0000 2018",
            "2018-03-24T01:00:00+02:00",
            "2018-03-22",
            datetime.date(2018, 3, 23),
            "soon",
            None,
        ]
    ).to_json()
    assert found.pop("unread_example") == "soon"
    assert found == {"first": "2018-03-22T00:00:00+00:00", "last": "2018-03-23T23:00:00+00:00", "unread": 2}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Fri Mar 23 00:40:40 +0000 2018", MOMENT),
        ("Fri, 23 Mar 2018 00:40:40 +0000", MOMENT),
        ("Fri, 23 Mar 2018 00:40:40 GMT", MOMENT),
        ("2018-03-23T00:40:40Z", MOMENT),
        ("2018-03-23 00:40:40 UTC", MOMENT),
        ("2018-03-23 02:40:40+02:00", MOMENT),
        ("2018-03-23 02:40:40 UTC+0200", MOMENT),
        ("2018/3/23 0:40:40", MOMENT),
        ("2018-03-23 12:40:40 AM", MOMENT),
        ("3/23/2018, 12:40:40 AM", MOMENT),
        ("3/23/18 0:40", MINUTE),
        ("March 23, 2018 at 12:40AM", MINUTE),
        ("12:40 AM · Mar 23, 2018", MINUTE),
        ("00:40 - 23 Mar 2018", MINUTE),
        ("23.03.2018", DAY),
        ("23-Mar-2018", DAY),
        ("20180323", DAY),
        ("1521765640", MOMENT),
        (1521765640, MOMENT),
        (1521765640.0, MOMENT),
        ("1521765640000", MOMENT),
        (pd.Timestamp(MOMENT), MOMENT),
        (MOMENT.replace(tzinfo=None), MOMENT),
    ],
)
def test_one_notation(cell: object, expected: datetime.datetime) -> None:
    assert read_dates([cell]).moments == [expected]


@pytest.mark.parametrize(
    "cell",
    ["soon", "NaT", "10:30", "Fri", "May", "Mar 2018", "2018-13-01", "2018-23-03", "2018-02-30", "31 Feb 2018",
     "99999-01-01", "0018-03-23", "1521", "976988456934240256", "9e99", [1], True, float("nan"), "1.52177E+12",
     "Fri Mar 23 00:40:40 PST 2018", "in May 2018 I bought 3"],
)  # fmt: skip
def test_what_is_no_date_is_not_guessed(cell: object) -> None:
    found = read_dates([cell, "2018-03-23"])
    assert found.moments == [None, DAY]
    assert found.unread == str(cell)


@pytest.mark.parametrize(
    ("cells", "order", "days"),
    [
        (["03/04/2018", "23/04/2018"], "day", ["2018-04-03", "2018-04-23"]),
        (["03/04/2018", "03/23/2018"], "month", ["2018-03-04", "2018-03-23"]),
        (["3/4/18", "3/23/18"], "month", ["2018-03-04", "2018-03-23"]),
        (["03/04/2018"], "unknown", [None]),
        (["23/04/2018", "04/23/2018"], "unknown", [None, None]),
        (["18/03/23"], "unknown", [None]),
        (["2018-03-04"], None, ["2018-03-04"]),
    ],
)
def test_the_column_decides_what_stands_first(cells: Sequence[str], order: str | None, days: Sequence[str]) -> None:
    found = read_dates(cells)
    assert found.order == order
    assert [moment and moment.date().isoformat() for moment in found.moments] == days


def test_the_user_decides_where_the_column_does_not() -> None:
    assert read_dates(["03/04/2018"], "day").moments == [datetime.datetime(2018, 4, 3, tzinfo=datetime.UTC)]
    assert read_dates(["03/04/2018"], "month").moments == [datetime.datetime(2018, 3, 4, tzinfo=datetime.UTC)]
    with pytest.raises(PipelineError, match=r"--date_order day: .* got '01/13/21', where the month stands first"):
        read_dates(["03/04/18", "01/13/21"], "day")
    with pytest.raises(PipelineError, match=r"--date_order month: .* got '23/03/2018', where the day stands first"):
        read_dates(["23/03/2018"], "month")
    # Where the column contradicts itself the user is believed.
    assert read_dates(["03/23/2018", "23/03/2018"], "day").moments[0] is None
    assert read_dates(["03/23/2018"]).to_json()["order"] == "month first"


def test_a_column_that_cannot_order_rows_is_an_error() -> None:
    read_dates(["soon", "2018-03-23"]).check("when")
    with pytest.raises(
        PipelineError, match=r"column 'when': expected dates such as .* none in 2 rows, but 'soon'; name"
    ):
        read_dates(["soon", None]).check("when")
    with pytest.raises(PipelineError, match=r"'when': .* told apart, got such as '03/04/2018' in 2 of 3 rows; .*order"):
        read_dates(["soon", "03/04/2018", "2018-03-23"]).check("when")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.datetimes(datetime.datetime(1990, 1, 2), datetime.datetime(2099, 1, 1)),
    st.sampled_from(["%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M:%S", "%a %b %d %H:%M:%S +0000 %Y", "%d %B %Y %H:%M:%S",
                     "%Y-%m-%d %I:%M:%S %p", "%b %d, %Y %I:%M:%S %p", "seconds", "milliseconds"]),
)  # fmt: skip
def test_what_python_writes_is_read_back(moment: datetime.datetime, form: str) -> None:
    moment = moment.replace(microsecond=0, tzinfo=datetime.UTC)
    seconds = int(moment.timestamp())
    cell = {"seconds": str(seconds), "milliseconds": str(seconds * 1000)}.get(form) or moment.strftime(form)
    assert read_dates([cell, "soon"]).moments == [moment, None]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.dates(datetime.date(1990, 1, 1), datetime.date(2099, 1, 1)), min_size=1), st.sampled_from("/-."))
def test_day_and_month_are_never_swapped(days: list[datetime.date], separator: str) -> None:
    found = read_dates([day.strftime(f"%d{separator}%m{separator}%Y") for day in days])
    if any(day.day > 12 for day in days):
        assert [moment and moment.date() for moment in found.moments] == days
    else:
        assert found.order == "unknown"
        assert set(found.moments) == {None}
