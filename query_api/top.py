"""`GET /analytics/top`: the groups of a range that have the most of something."""

from __future__ import annotations

from collections.abc import Callable

import falcon
import msgspec
from shared.stores.base import Point, Selection, Store

from query_api.answers import Clock, answer
from query_api.params import HOUR, Params

DEFAULT_LIMIT = 10
MAX_LIMIT = 1_000

SORTS: dict[str, Callable[[Point], float]] = {
    "requests": lambda point: point.requests,
    "cost": lambda point: point.cost,
    "tokens": lambda point: point.input_tokens + point.output_tokens,
    "errors": lambda point: point.failed_requests,
    "avg_duration": lambda point: point.avg_duration_ms or 0.0,
    "p95": lambda point: point.latency_ms.p95 or 0.0,
}
"""What groups can be sorted by, the most first."""


class TopResource:
    """`GET`: start, end, by, sort, limit and the filters."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, self._clock())
        selection = params.selection(default_span=HOUR)
        by = params.required_dimension("by", "model")
        sort = params.choice("sort", tuple(SORTS), "requests")
        limit = params.integer("limit", DEFAULT_LIMIT, least=0, most=MAX_LIMIT)
        params.done()
        groups = self._store.timeseries(selection, _whole(selection), by)
        groups.sort(key=lambda point: (-SORTS[sort](point), str(point.group)))
        answer(
            response,
            {
                "by": by,
                "sort": sort,
                "start": selection.start,
                "end": selection.end,
                "total_groups": len(groups),
                "groups": [_group(point) for point in groups[:limit]],
            },
        )


def _whole(selection: Selection) -> tuple[int, int]:
    """The edges of one bucket that covers the range."""
    return selection.start, selection.end + 1


def _group(point: Point) -> dict[str, object]:
    figures = msgspec.to_builtins(point)
    del figures["start"]
    return {"value": figures.pop("group"), **figures}
