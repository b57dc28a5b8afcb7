"""The ingest application: checks, strips and queues events.

`SOURCES` are the formats that it takes. All of them share the same limits, the same gate and the
same group commit, and so make the same promises.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import falcon
import falcon.asgi
from shared.entries import Backlog
from shared.errors import QueueUnavailable
from shared.http import ApiError, Tokens, unexpected
from shared.settings import Settings
from shared.stream import EventQueue

from ingest import litellm, native, otlp
from ingest.admission import Clock, Gate
from ingest.committer import GroupCommitter
from ingest.docs import documented
from ingest.events import EventsResource, Limits
from ingest.health import RETRY_AFTER_SECONDS, LiveResource, ReadyResource
from ingest.metrics import CountErrors, IngestMetrics, MetricsResource
from ingest.privacy import Scrubber
from ingest.refusals import AnswerFirst, answer_with
from ingest.source import Source

SOURCES: tuple[Source, ...] = (native.NATIVE, litellm.LITELLM, otlp.OTLP)
STOP_SECONDS = 2.0
LOOK_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Lifespan:
    """Runs the group commit for as long as the application serves, and looks at its broker once."""

    def __init__(self, committer: GroupCommitter, queue: EventQueue) -> None:
        self._committer = committer
        self._queue = queue
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def process_startup(self, scope: Any, event: Any) -> None:
        self._task = asyncio.create_task(self._committer.run())
        self._looking = asyncio.create_task(_look_at_broker(self._queue))

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._task is not None:
            self._committer.stop()
            _, late = await asyncio.wait([self._task], timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._queue.close()


async def _look_at_broker(queue: EventQueue) -> None:
    """Log in which ways the broker may lose events, as soon as it is there to be asked."""
    while True:
        try:
            broker = await queue.broker()
        except QueueUnavailable as error:
            logger.warning("the queue is away", extra={"reason": str(error)})
            await asyncio.sleep(LOOK_SECONDS)
        else:
            break
    for warning in broker.warnings():
        logger.warning(warning)


def _queue_unavailable(request: Any, error: QueueUnavailable) -> ApiError:
    return ApiError(
        falcon.HTTP_503,
        "queue_unavailable",
        "the queue can't be reached; send the request again, with the same ids",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _unexpected(request: Any, error: Exception) -> ApiError:
    return unexpected(error, request.path)


def create_app(queue: EventQueue, settings: Settings, *, clock: Clock = time.time) -> Any:
    """The ingest ASGI application on `queue`.

    It starts its group commit on ASGI lifespan startup, and closes `queue` on shutdown.
    """
    metrics = IngestMetrics(Backlog(settings.max_backlog_events, settings.max_backlog_bytes))
    committer = GroupCommitter(
        queue,
        max_events=settings.max_backlog_events,
        max_bytes=settings.max_backlog_bytes,
        took=metrics.commit_seconds.observe,
    )
    scrubber = Scrubber(key_salt=settings.key_salt, anonymize_ip=settings.anonymize_ip)
    app: Any = falcon.asgi.App(middleware=[Lifespan(committer, queue)])
    count_errors = CountErrors(metrics, {source.path: source for source in SOURCES})
    serialize = AnswerFirst(count_errors)
    app.set_error_serializer(serialize)
    app.add_error_handler(Exception, answer_with(_unexpected, serialize))
    app.add_error_handler(QueueUnavailable, answer_with(_queue_unavailable, serialize))
    tokens = Tokens.of(settings)
    # One thread: more would only take turns, and hold more bodies unpacked at a time.
    large_bodies = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
    routes: dict[str, object] = {
        source.path: EventsResource(
            source,
            gate=Gate(scrubber, clock=clock),
            committer=committer,
            tokens=tokens,
            limits=Limits(source.max_body_bytes(settings), settings.max_batch_events),
            metrics=metrics,
            large_bodies=large_bodies,
        )
        for source in SOURCES
    }
    routes |= {
        "/healthz/live": LiveResource(),
        "/healthz/ready": ReadyResource(committer),
        "/metrics": MetricsResource(metrics, queue, tokens),
    }
    for path, resource in documented(routes, guarded=bool(tokens)).items():
        app.add_route(path, resource)
    return app
