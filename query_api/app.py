"""The query application: answers from the store, and clears it."""

from __future__ import annotations

import time
from typing import Any

import falcon
from shared.errors import QueueUnavailable, StoreBusy, StoreUnavailable
from shared.http import ApiError, Right, Tokens, unexpected, write_error
from shared.openapi import operation_of
from shared.queue_admin import QueueAdmin
from shared.settings import Settings
from shared.stores.base import Store

from query_api.aggregate import AggregateResource
from query_api.answers import Clock
from query_api.clear import ClearResource
from query_api.compress import Compress
from query_api.dashboard import FileResource, PageResource, load_assets
from query_api.dead_letters import DeadLettersResource, ReplayResource
from query_api.docs import documented
from query_api.events import EventsResource
from query_api.export import ExportResource
from query_api.health import LiveResource, ReadyResource
from query_api.metrics import CountRequests, MetricsResource, QueryMetrics
from query_api.pipeline import Limits, PipelineResource
from query_api.stats import StatsResource
from query_api.timeseries import TimeseriesResource
from query_api.top import TopResource

RETRY_AFTER_SECONDS = 2


class Authorize:
    """Demands the right that a responder's description names.

    A browser asks with OPTIONS, without a token, whether it may ask at all; that gives no data.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def process_resource(
        self, request: falcon.Request, response: falcon.Response, resource: Any, params: Any
    ) -> None:
        if request.method == "OPTIONS" or not hasattr(resource, f"on_{request.method.lower()}"):
            return  # The latter is about to be a 405.
        operation = operation_of(resource, request.method)
        right = Right.ADMIN if operation is None else operation.right
        if right:
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
    store: Store,
    queue: QueueAdmin,
    settings: Settings,
    *,
    clock: Clock = time.time,
    shared_metrics: bool = False,
) -> Any:
    """The query WSGI application on `store`; `queue` is what a clear empties first.

    `shared_metrics`: other processes serve this application too, and count together with this one.
    """
    tokens = Tokens.of(settings)
    metrics = QueryMetrics(queue, shared=shared_metrics)
    middleware: list[Any] = [CountRequests(metrics), Compress(), Authorize(tokens)]
    if settings.cors_origins:
        middleware.insert(1, falcon.CORSMiddleware(allow_origins=sorted(settings.cors_origins)))
    app: Any = falcon.App(middleware=middleware)
    app.set_error_serializer(write_error)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(StoreUnavailable, _store_unavailable)
    app.add_error_handler(QueueUnavailable, _queue_unavailable)
    app.add_error_handler(StoreBusy, _store_busy)
    assets = load_assets()
    routes = {
        "/": PageResource(assets),
        "/static/{name}": FileResource(assets),
        "/analytics/stats": StatsResource(store),
        "/analytics/events": EventsResource(store, clock),
        "/analytics/aggregate": AggregateResource(store, clock),
        "/analytics/timeseries": TimeseriesResource(store, clock),
        "/analytics/top": TopResource(store, clock),
        "/analytics/export": ExportResource(store, clock),
        "/analytics/clear": ClearResource(store, queue),
        "/analytics/pipeline": PipelineResource(queue, Limits.of(settings)),
        "/analytics/dead-letters": DeadLettersResource(queue.dead_letters, store.horizon),
        "/analytics/dead-letters/replay": ReplayResource(queue.dead_letters),
        "/metrics": MetricsResource(metrics),
        "/healthz/live": LiveResource(),
        "/healthz/ready": ReadyResource(store),
    }
    for path, resource in documented(routes, guarded=bool(tokens)).items():
        app.add_route(path, resource)
    return app
