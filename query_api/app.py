"""The query application: answers from the store, and clears it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import falcon
import msgspec
from shared.errors import QueueUnavailable, StoreBusy, StoreUnavailable
from shared.http import ApiError, Right, Tokens, unexpected, write_error
from shared.settings import Settings
from shared.stores.base import Position, Store
from shared.stream import QueueAdmin

from query_api.export import ExportResource
from query_api.params import HOUR, Cursor, Params

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000
RETRY_AFTER_SECONDS = 2

Clock = Callable[[], float]

_json = msgspec.json.Encoder()


def _answer(response: falcon.Response, body: Any) -> None:
    response.content_type = falcon.MEDIA_JSON
    response.data = _json.encode(body)


class StatsResource:
    """`GET`: what the store holds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, 0).done()
        stats = self._store.stats()
        _answer(
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


class EventsResource:
    """`GET`: events of a range, a page at a time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, self._clock())
        cursor = params.cursor()
        selection = params.selection(default_span=HOUR, cursor=cursor)
        limit = params.integer("limit", DEFAULT_LIMIT, least=0, most=MAX_LIMIT)
        order = params.order()
        params.done()
        after = cursor.position if cursor else None
        # One more than asked for tells whether another page follows.
        found = (
            self._store.query(selection, limit=limit + 1, order=order, after=after) if limit else []
        )
        events = found[:limit]
        following = None
        if len(found) > limit:
            last = Position.of(events[-1])
            following = Cursor(selection.start, selection.end, last.timestamp, last.id).encode()
        _answer(
            response,
            {
                "events": events,
                "count": len(events),
                "start": selection.start,
                "end": selection.end,
                "next_cursor": following,
            },
        )


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
        _answer(response, body)


class ClearResource:
    """`POST`: remove everything that was accepted before the call."""

    def __init__(self, store: Store, queue: QueueAdmin) -> None:
        self._store = store
        self._queue = queue

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, 0).done()
        self._queue.drop_all()
        self._store.clear()
        _answer(response, {"success": True, "message": "Analytics data cleared"})


class LiveResource:
    """`GET`: the process answers."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        _answer(response, {"status": "ok"})


class ReadyResource:
    """`GET`: the store answers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        self._store.ping()
        _answer(response, {"status": "ok"})


class Authorize:
    """Demands a right for each path but the health checks: admin to change, query to read."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def process_resource(
        self, request: falcon.Request, response: falcon.Response, resource: Any, params: Any
    ) -> None:
        if request.path.startswith("/healthz/"):
            return
        right = Right.QUERY if request.method in ("GET", "HEAD", "OPTIONS") else Right.ADMIN
        self._tokens.require(request.get_header("Authorization"), right)


def _store_unavailable(request: Any, response: Any, error: StoreUnavailable, params: Any) -> None:
    raise ApiError(
        falcon.HTTP_503,
        "store_unavailable",
        "the store can't be reached; try again later",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _queue_unavailable(request: Any, response: Any, error: QueueUnavailable, params: Any) -> None:
    raise ApiError(
        falcon.HTTP_503,
        "queue_unavailable",
        "the queue can't be reached, so nothing was done; try again later",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _store_busy(request: Any, response: Any, error: StoreBusy, params: Any) -> None:
    raise ApiError(
        falcon.HTTP_503,
        "store_busy",
        f"the queue was emptied but the store was not: {error}; try again",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _unexpected(request: Any, response: Any, error: Exception, params: Any) -> None:
    raise unexpected(error, request.path)


def create_app(
    store: Store, queue: QueueAdmin, settings: Settings, *, clock: Clock = time.time
) -> Any:
    """The query WSGI application on `store`; `queue` is what a clear empties first."""
    middleware: list[Any] = [Authorize(Tokens.of(settings))]
    if settings.cors_origins:
        middleware.insert(0, falcon.CORSMiddleware(allow_origins=sorted(settings.cors_origins)))
    app: Any = falcon.App(middleware=middleware)
    app.set_error_serializer(write_error)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(StoreUnavailable, _store_unavailable)
    app.add_error_handler(QueueUnavailable, _queue_unavailable)
    app.add_error_handler(StoreBusy, _store_busy)
    app.add_route("/analytics/stats", StatsResource(store))
    app.add_route("/analytics/events", EventsResource(store, clock))
    app.add_route("/analytics/aggregate", AggregateResource(store, clock))
    app.add_route("/analytics/export", ExportResource(store, clock=clock))
    app.add_route("/analytics/clear", ClearResource(store, queue))
    app.add_route("/healthz/live", LiveResource())
    app.add_route("/healthz/ready", ReadyResource(store))
    return app
