"""`GET /analytics/timeseries`: figures for each bucket of a range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from zoneinfo import ZoneInfo

import msgspec
from shared.stores.base import DIMENSIONS, Dimension, DimensionValue, Point, Selection, Store

from query_api.answers import Clock, answers
from query_api.buckets import INTERVALS, edges_of_days, edges_of_length
from query_api.parameters import SELECTION, Parameter, choice, zone
from query_api.params import HOUR, Params, bad_parameter

MAX_POINTS = 5_000

INTERVAL = choice("interval", tuple(INTERVALS), "1h", about="Length of a bucket.")
GROUP_BY = choice("group_by", ("none", *DIMENSIONS), "none", about="One series for each value.")
ZONE: Parameter[ZoneInfo] = Parameter(
    name="tz",
    parse=zone,
    default=ZoneInfo("UTC"),
    schema={"type": "string", "format": "iana-time-zone", "default": "UTC"},
    about="IANA zone whose days `interval=1d` counts, such as Europe/Berlin.",
)


class Series(msgspec.Struct):
    """The points of a range, by bucket and group. `tz` is the zone of the buckets."""

    interval: str
    tz: str
    group_by: Dimension | None
    start: int
    end: int
    points: list[Point]


class TimeseriesResource:
    """Figures for each bucket of a range."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @answers(*SELECTION, INTERVAL, GROUP_BY, ZONE)
    def on_get(self, params: Params) -> Series:
        """Figures for each bucket of a range.

        Every bucket that touches the range is there, whether or not it has events; the first and
        the last count only what is inside the range. With `group_by` each bucket has a point for
        each value that the range has. Buckets shorter than a day are aligned in UTC. More than
        5,000 points are refused. Percentiles are within 2 % of the exact value.
        """
        selection = params.selection(self._clock(), default_span=HOUR)
        interval, tz = params[INTERVAL], params[ZONE]
        group_by = None if params[GROUP_BY] == "none" else cast(Dimension, params[GROUP_BY])
        edges = _edges(selection, interval, tz)
        found = self._store.timeseries(selection, edges, group_by)
        return Series(
            interval=interval,
            tz=tz.key if interval == "1d" else "UTC",
            group_by=group_by,
            start=selection.start,
            end=selection.end,
            points=_filled(found, edges, group_by),
        )


def _edges(selection: Selection, interval: str, zone: ZoneInfo) -> Sequence[int]:
    length = INTERVALS[interval]
    _bound((selection.end - selection.start) // length, "interval", "a longer one")
    if interval != "1d":
        edges = edges_of_length(selection.start, selection.end, length)
    else:
        try:
            edges = edges_of_days(selection.start, selection.end, zone)
        except (OverflowError, ValueError):
            raise bad_parameter("end", "has no day after it in this zone") from None
    _bound(len(edges) - 1, "interval", "a longer one")
    return edges


def _bound(points: int, param: str, way_out: str) -> None:
    if points > MAX_POINTS:
        raise bad_parameter(
            param,
            f"gives {points} points, more than {MAX_POINTS}; take {way_out} or a shorter range",
        )


def _filled(found: list[Point], edges: Sequence[int], group_by: Dimension | None) -> list[Point]:
    """The points of every bucket and group, those that the store left out empty."""
    groups: list[DimensionValue] = [None]
    if group_by is not None:
        groups = sorted({point.group for point in found}, key=_group_order)
        _bound((len(edges) - 1) * len(groups), "group_by", "a longer interval")
    known = {(point.start, point.group): point for point in found}
    return [
        known.get((start, group)) or Point(start=start, group=group)
        for start in edges[:-1]
        for group in groups
    ]


def _group_order(value: DimensionValue) -> tuple[bool, str]:
    return (value is not None, str(value))
