"""The ingest application: checks, strips and queues events.

A source is a set of parsers by content type; `create_app` gives each its path. All sources share
the same limits, the same gate and the same group commit, and so make the same promises.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import falcon
import falcon.asgi
from shared.errors import QueueFull, QueueUnavailable
from shared.http import ApiError, Tokens, unexpected
from shared.settings import Settings
from shared.stream import EventQueue

from ingest import native
from ingest.admission import Clock, Gate
from ingest.committer import GroupCommitter
from ingest.events import EventsResource, Limits
from ingest.health import RETRY_AFTER_SECONDS, LiveResource, ReadyResource
from ingest.metrics import CountErrors, IngestMetrics, MetricsResource
from ingest.native import Parser
from ingest.privacy import Scrubber

SOURCES: dict[str, tuple[str, dict[str, Parser]]] = {
    "/analytics/events": (native.SOURCE, native.PARSERS),
}
"""Path to a source's name and its parsers."""
STOP_SECONDS = 2.0


class Lifespan:
    """Runs the group commit for as long as the application serves."""

    def __init__(self, committer: GroupCommitter, queue: EventQueue) -> None:
        self._committer = committer
        self._queue = queue
        self._task: asyncio.Task[None] | None = None

    async def process_startup(self, scope: Any, event: Any) -> None:
        self._task = asyncio.create_task(self._committer.run())

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        if self._task is not None:
            self._committer.stop()
            _, late = await asyncio.wait([self._task], timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._queue.close()


async def _queue_full(request: Any, response: Any, error: QueueFull, params: Any) -> None:
    raise ApiError(
        falcon.HTTP_429,
        "queue_full",
        f"{error}; nothing of this request was queued, send it again later",
        retry_after=RETRY_AFTER_SECONDS,
    )


async def _queue_unavailable(
    request: Any, response: Any, error: QueueUnavailable, params: Any
) -> None:
    raise ApiError(
        falcon.HTTP_503,
        "queue_unavailable",
        "the queue can't be reached; send the request again, with the same ids",
        retry_after=RETRY_AFTER_SECONDS,
    )


async def _unexpected(request: Any, response: Any, error: Exception, params: Any) -> None:
    raise unexpected(error, request.path)


def create_app(queue: EventQueue, settings: Settings, *, clock: Clock = time.time) -> Any:
    """The ingest ASGI application on `queue`.

    It starts its group commit on ASGI lifespan startup, and closes `queue` on shutdown.
    """
    metrics = IngestMetrics()
    committer = GroupCommitter(
        queue,
        max_events=settings.max_backlog_events,
        max_bytes=settings.max_backlog_bytes,
        took=metrics.commit_seconds.observe,
    )
    scrubber = Scrubber(key_salt=settings.key_salt, anonymize_ip=settings.anonymize_ip)
    names = {path: name for path, (name, _) in SOURCES.items()}
    app: Any = falcon.asgi.App(middleware=[Lifespan(committer, queue)])
    app.set_error_serializer(CountErrors(metrics, names))
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(QueueUnavailable, _queue_unavailable)
    app.add_error_handler(QueueFull, _queue_full)
    for path, (name, parsers) in SOURCES.items():
        resource = EventsResource(
            name,
            parsers,
            gate=Gate(scrubber, clock=clock),
            committer=committer,
            tokens=Tokens.of(settings),
            limits=Limits(settings.max_body_bytes, settings.max_batch_events),
            metrics=metrics,
        )
        app.add_route(path, resource)
    app.add_route("/healthz/live", LiveResource())
    app.add_route("/healthz/ready", ReadyResource(committer))
    app.add_route("/metrics", MetricsResource(metrics))
    return app
