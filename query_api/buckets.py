"""The buckets of a time series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from query_api.params import DAY, HOUR

MINUTE = 60
INTERVALS = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "1h": HOUR, "1d": DAY}
"""Lengths in seconds; a day of a zone may be an hour longer or shorter."""


def edges_of_length(start: int, end: int, length: int) -> Sequence[int]:
    """Edges at whole multiples of `length` in Unix seconds, the first at or before `start`.

    The last is past `end`, so that n buckets have n + 1 edges.
    """
    first, last = start - start % length, end - end % length
    return range(first, last + length + 1, length)


def edges_of_days(start: int, end: int, zone: ZoneInfo) -> Sequence[int]:
    """Edges at the first second of each day of `zone`, from the day of `start` to that of `end`.

    Raises OverflowError where a day is past the calendar's end.
    """
    day = datetime.fromtimestamp(start, zone).date()
    edges = [_first_second(day, zone)]
    while edges[-1] <= end:
        day += timedelta(days=1)
        # A zone that moved across the date line has left out a day: it has no length.
        if (edge := _first_second(day, zone)) > edges[-1]:
            edges.append(edge)
    return edges


def _first_second(day: date, zone: ZoneInfo) -> int:
    """Where the clocks go forward at midnight this is the second at which they do."""
    return int(datetime.combine(day, time(), zone).timestamp())
