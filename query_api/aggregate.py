"""`GET /analytics/aggregate`."""

from __future__ import annotations

import falcon
import msgspec
from shared.stores.base import Store

from query_api.answers import Clock, answer
from query_api.params import HOUR, Params


class AggregateResource:
    """`GET`: figures over a range."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, self._clock())
        selection = params.selection(default_span=HOUR)
        params.done()
        body = msgspec.to_builtins(self._store.aggregate(selection))
        body["period_start"] = selection.start
        body["period_end"] = selection.end
        answer(response, body)
