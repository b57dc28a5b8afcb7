"""The edges of a time series' buckets, on the days when clocks change above all."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from query_api.buckets import INTERVALS, edges_of_days, edges_of_length

HOUR = 3_600


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _days(zone: str, first: str, last: str) -> list[str]:
    """The edges of the days between two moments of a zone, as its clocks show them."""
    place = ZoneInfo(zone)
    start, end = (
        int(datetime.fromisoformat(text).replace(tzinfo=place).timestamp())
        for text in (first, last)
    )
    return [
        datetime.fromtimestamp(edge, place).isoformat() for edge in edges_of_days(start, end, place)
    ]


def _hours(edges: list[str]) -> list[float]:
    return [(_seconds(later) - _seconds(one)) / HOUR for one, later in pairwise(edges)]


@pytest.mark.parametrize("name", ["1m", "5m", "15m", "1h", "1d"])
def test_buckets_are_aligned_to_their_length_in_utc(name: str) -> None:
    start, end = _seconds("2026-01-01T10:07:31Z"), _seconds("2026-01-03T01:00:00Z")
    edges = list(edges_of_length(start, end, INTERVALS[name]))

    assert all(edge % INTERVALS[name] == 0 for edge in edges)
    assert all(later - one == INTERVALS[name] for one, later in pairwise(edges))
    assert edges[0] <= start < edges[1]
    assert edges[-2] <= end < edges[-1]


def test_a_range_within_one_bucket_has_one() -> None:
    start = _seconds("2026-01-01T10:00:00Z")

    assert list(edges_of_length(start, start, 60)) == [start, start + 60]
    assert list(edges_of_length(start + 59, start + 59, 60)) == [start, start + 60]
    assert list(edges_of_length(start + 59, start + 60, 60)) == [start, start + 60, start + 120]


def test_days_of_utc_are_those_of_their_length() -> None:
    start, end = _seconds("2026-02-27T23:59:59Z"), _seconds("2026-03-02T00:00:00Z")

    expected = list(edges_of_length(start, end, INTERVALS["1d"]))
    assert list(edges_of_days(start, end, ZoneInfo("UTC"))) == expected


def test_berlin_has_a_day_of_23_hours_in_march() -> None:
    edges = _days("Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:00:00")

    assert edges == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
        "2026-03-31T00:00:00+02:00",
    ]
    assert _hours(edges) == [24, 23, 24]


def test_berlin_has_a_day_of_25_hours_in_october() -> None:
    edges = _days("Europe/Berlin", "2026-10-24T00:00:00", "2026-10-26T23:59:59")

    assert edges == [
        "2026-10-24T00:00:00+02:00",
        "2026-10-25T00:00:00+02:00",
        "2026-10-26T00:00:00+01:00",
        "2026-10-27T00:00:00+01:00",
    ]
    assert _hours(edges) == [24, 25, 24]


def test_new_york_changes_its_clocks_on_its_own_days() -> None:
    spring = _days("America/New_York", "2026-03-08T00:00:00", "2026-03-08T23:00:00")
    autumn = _days("America/New_York", "2026-11-01T00:00:00", "2026-11-01T23:00:00")

    assert spring == ["2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"]
    assert autumn == ["2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"]
    assert (_hours(spring), _hours(autumn)) == ([23], [25])


def test_the_second_that_comes_twice_belongs_to_the_day_it_is_in() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    again = _seconds("2026-10-25T02:30:00+01:00")

    edges = edges_of_days(again, again, berlin)
    assert list(edges) == [
        _seconds("2026-10-25T00:00:00+02:00"),
        _seconds("2026-10-26T00:00:00+01:00"),
    ]


def test_a_day_without_midnight_begins_when_the_clocks_go_forward() -> None:
    edges = _days("America/Sao_Paulo", "2018-11-03T10:00:00", "2018-11-04T10:00:00")

    assert edges == [
        "2018-11-03T00:00:00-03:00",
        "2018-11-04T01:00:00-02:00",
        "2018-11-05T00:00:00-02:00",
    ]


def test_a_midnight_that_comes_twice_begins_the_day_the_first_time() -> None:
    edges = _days("America/Havana", "2026-10-31T10:00:00", "2026-11-01T10:00:00")

    assert edges[1] == "2026-11-01T00:00:00-04:00"
    assert _hours(edges) == [24, 25]


def test_a_day_that_a_zone_left_out_has_no_bucket() -> None:
    edges = _days("Pacific/Apia", "2011-12-29T10:00:00", "2011-12-31T10:00:00")

    assert [edge[:10] for edge in edges] == ["2011-12-29", "2011-12-31", "2012-01-01"]
    assert _hours(edges) == [24, 24]


def test_zones_beside_utc_by_a_part_of_an_hour_have_their_own_days() -> None:
    edges = _days("Asia/Kolkata", "2026-01-01T05:00:00", "2026-01-01T06:00:00")

    assert edges == ["2026-01-01T00:00:00+05:30", "2026-01-02T00:00:00+05:30"]


def test_a_day_past_the_calendar_is_an_error() -> None:
    last = int(datetime(9999, 12, 31, 23, tzinfo=UTC).timestamp())
    with pytest.raises((OverflowError, ValueError)):
        edges_of_days(last, last, ZoneInfo("UTC"))
