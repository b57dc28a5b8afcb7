"""`GET /analytics/stats`."""

from __future__ import annotations

import falcon
from shared.stores.base import Store

from query_api.answers import answer
from query_api.params import Params


class StatsResource:
    """`GET`: what the store holds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, 0).done()
        stats = self._store.stats()
        answer(
            response,
            {
                "total_events": stats.total_events,
                "backend_type": self._store.backend_type,
                "ttl_seconds": self._store.ttl_seconds,
                "max_events": stats.max_events,
                "oldest_timestamp": stats.oldest_timestamp,
                "newest_timestamp": stats.newest_timestamp,
                "size_bytes": stats.size_bytes,
            },
        )
