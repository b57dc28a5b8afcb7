"""`GET /analytics/stats`."""

from __future__ import annotations

import msgspec
from shared.stores.base import Store

from query_api.answers import answers
from query_api.params import Params


class Stats(msgspec.Struct):
    """What the store holds. Times are Unix seconds, None of an empty store."""

    total_events: int
    backend_type: str
    ttl_seconds: int | None
    max_events: int | None
    oldest_timestamp: int | None
    newest_timestamp: int | None
    size_bytes: int | None


class StatsResource:
    """What the store holds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @answers()
    def on_get(self, params: Params) -> Stats:
        """How many events the store holds, since when, and how large it is."""
        stats = self._store.stats()
        return Stats(
            total_events=stats.total_events,
            backend_type=self._store.backend_type,
            ttl_seconds=self._store.ttl_seconds,
            max_events=stats.max_events,
            oldest_timestamp=stats.oldest_timestamp,
            newest_timestamp=stats.newest_timestamp,
            size_bytes=stats.size_bytes,
        )
