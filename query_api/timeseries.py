"""`GET /analytics/timeseries`: figures for each bucket of a range."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import falcon
from shared.stores.base import Dimension, DimensionValue, Point, Selection, Store

from query_api.answers import Clock, answer
from query_api.buckets import INTERVALS, edges_of_days, edges_of_length
from query_api.params import HOUR, Params, bad_parameter

MAX_POINTS = 5_000
DEFAULT_INTERVAL = "1h"


class TimeseriesResource:
    """`GET`: start, end, interval, group_by, tz and the filters.

    Every bucket that touches the range is there, whether or not it has events; the first and the
    last count only what is inside the range. With `group_by` each bucket has a point for each
    value that the range has. `tz` is the zone whose days `interval=1d` counts; the shorter
    buckets are aligned in UTC, and the answer says so.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, self._clock())
        selection = params.selection(default_span=HOUR)
        interval = params.choice("interval", tuple(INTERVALS), DEFAULT_INTERVAL)
        group_by = params.dimension("group_by")
        zone = params.zone("tz")
        params.done()
        edges = _edges(selection, interval, zone)
        found = self._store.timeseries(selection, edges, group_by)
        answer(
            response,
            {
                "interval": interval,
                "tz": zone.key if interval == "1d" else "UTC",
                "group_by": group_by,
                "start": selection.start,
                "end": selection.end,
                "points": _filled(found, edges, group_by),
            },
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
