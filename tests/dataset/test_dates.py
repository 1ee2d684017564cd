import datetime

from pipeline.dataset.dates import date_range


def test_common_notations_are_read_in_utc() -> None:
    found = date_range(
        [
            "Fri Mar 23 00:40:40 +0000 2018",
            "2018-03-24T01:00:00+02:00",
            "2018-03-22",
            datetime.date(2018, 3, 23),
            "",
            None,
        ]
    )
    assert found == {"first": "2018-03-22T00:00:00+00:00", "last": "2018-03-23T23:00:00+00:00", "unread": 2}


def test_numbers_and_nonsense_are_counted_not_guessed() -> None:
    assert date_range([1521766840, "1521766840", "soon", 9e99, "99999-01-01", [1]]) == {
        "first": None,
        "last": None,
        "unread": 6,
    }
