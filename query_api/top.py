"""`GET /analytics/top`: the groups of a range that have the most of something."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from shared.stores.base import (
    Dimension,
    DimensionValue,
    Latency,
    Point,
    Selection,
    Store,
)

from query_api.answers import Clock, answers
from query_api.parameters import SELECTION, choice, dimension, integer
from query_api.params import HOUR, Params

SORTS: dict[str, Callable[[Point], float]] = {
    "requests": lambda point: point.requests,
    "cost": lambda point: point.cost,
    "tokens": lambda point: point.input_tokens + point.output_tokens,
    "errors": lambda point: point.failed_requests,
    "avg_duration": lambda point: point.avg_duration_ms or 0.0,
    "p95": lambda point: point.latency_ms.p95 or 0.0,
}
"""What groups can be sorted by, the most first."""

BY = dimension("by", "model", about="What the groups are of.")
SORT = choice("sort", tuple(SORTS), "requests", about="What the first group has the most of.")
LIMIT = integer("limit", 10, least=0, most=1_000, about="Most groups in the answer.")


class Group(msgspec.Struct):
    """The figures of one value of `by`; durations in ms."""

    value: DimensionValue
    requests: int
    successful_requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int
    cost: float
    unpriced_requests: int
    avg_duration_ms: float | None
    latency_ms: Latency

    @classmethod
    def of(cls, point: Point) -> Group:
        figures = {name: getattr(point, name) for name in cls.__struct_fields__ if name != "value"}
        return cls(value=point.group, **figures)


class Top(msgspec.Struct):
    """The first groups of a range, and how many there are in all."""

    by: Dimension
    sort: str
    start: int
    end: int
    total_groups: int
    groups: list[Group]


class TopResource:
    """The groups of a range that have the most of something."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @answers(*SELECTION, BY, SORT, LIMIT)
    def on_get(self, params: Params) -> Top:
        """The models, keys, endpoints … of a range that have the most of something."""
        selection = params.selection(self._clock(), default_span=HOUR)
        by, sort = params[BY], params[SORT]
        points = self._store.timeseries(selection, _whole(selection), by)
        points.sort(key=lambda point: (-SORTS[sort](point), str(point.group)))
        return Top(
            by=by,
            sort=sort,
            start=selection.start,
            end=selection.end,
            total_groups=len(points),
            groups=[Group.of(point) for point in points[: params[LIMIT]]],
        )


def _whole(selection: Selection) -> tuple[int, int]:
    """The edges of one bucket that covers the range."""
    return selection.start, selection.end + 1
