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
import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from shared.errors import QueueFull, QueueUnavailable
from shared.http import ApiError, Right, Tokens, unexpected, write_error
from shared.settings import Settings
from shared.stream import EventQueue, pack

from ingest import native
from ingest.admission import Admission, Clock, Gate
from ingest.body import read_body
from ingest.committer import GroupCommitter
from ingest.metrics import IngestMetrics
from ingest.native import Malformed, Parser
from ingest.privacy import Scrubber

RETRY_AFTER_SECONDS = 1

_json = msgspec.json.Encoder()


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
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._queue.close()


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one request: bytes after decompression, and events."""

    body_bytes: int
    events: int


class EventsResource:
    """`POST`: events of one source, queued when the answer is 202."""

    def __init__(
        self,
        source: str,
        parsers: dict[str, Parser],
        *,
        gate: Gate,
        committer: GroupCommitter,
        tokens: Tokens,
        limits: Limits,
        metrics: IngestMetrics,
    ) -> None:
        self._source = source
        self._parsers = parsers
        self._gate = gate
        self._committer = committer
        self._tokens = tokens
        self._limits = limits
        self._commit_seconds = metrics.commit_seconds
        self._accepted = metrics.events.labels(source, "accepted")
        self._rejected = metrics.events.labels(source, "rejected")

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        self._tokens.require(request.get_header("Authorization"), Right.INGEST)
        parse = self._parser(request)
        body = await read_body(request, self._limits.body_bytes)
        admission = self._admit(parse, body)
        self._rejected.inc(len(admission.rejected))
        if admission.rejected and not admission.accepted:
            raise ApiError(
                falcon.HTTP_422,
                "unprocessable_entity",
                "no event in the request was good; `rejected` says why",
                extra={"rejected": msgspec.to_builtins(admission.rejected)},
            )
        if admission.accepted:
            await self._commit(admission)
        self._accepted.inc(len(admission.accepted))
        response.status = falcon.HTTP_202
        response.content_type = falcon.MEDIA_JSON
        response.data = _json.encode(
            {"accepted": len(admission.accepted), "rejected": admission.rejected}
        )

    def _parser(self, request: falcon.asgi.Request) -> Parser:
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        parse = self._parsers.get(content_type)
        if parse is None:
            accepted = ", ".join(self._parsers)
            given = repr(content_type) if content_type else "none"
            raise ApiError(
                falcon.HTTP_415,
                "unsupported_media_type",
                f"Content-Type {given} is not accepted; accepted are {accepted}",
            )
        return parse

    def _admit(self, parse: Parser, body: bytes) -> Admission:
        try:
            received = parse(body)
        except Malformed as error:
            message = f"the body is {error}"
            raise ApiError(falcon.HTTP_400, "invalid_request", message) from None
        if len(received) > self._limits.events:
            raise ApiError(
                falcon.HTTP_413,
                "payload_too_large",
                f"the request holds {len(received)} events, over the limit of "
                f"{self._limits.events} events; send smaller batches",
            )
        return self._gate.admit(received)

    async def _commit(self, admission: Admission) -> None:
        started = time.perf_counter()
        await self._committer.commit(pack(self._source, admission.accepted))
        self._commit_seconds.observe(time.perf_counter() - started)


class LiveResource:
    """`GET`: the process answers."""

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.media = {"status": "ok"}


class ReadyResource:
    """`GET`: the queue answers and has room."""

    def __init__(self, committer: GroupCommitter) -> None:
        self._committer = committer

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        await self._committer.check_room(max_age=0)
        response.media = {"status": "ok"}


class MetricsResource:
    """`GET`: Prometheus text."""

    def __init__(self, metrics: IngestMetrics) -> None:
        self._metrics = metrics

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest(self._metrics.registry)


class CountResponses:
    """Counts answers to posted events by status; the paths are bounded, so the series are."""

    def __init__(self, metrics: IngestMetrics, sources: dict[str, str]) -> None:
        self._responses = metrics.responses
        self._sources = sources

    async def process_response(
        self, request: Any, response: Any, resource: Any, succeeded: bool
    ) -> None:
        if request.method == "POST" and (source := self._sources.get(request.path)):
            status = falcon.http_status_to_code(response.status)
            self._responses.labels(source, str(status)).inc()


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
        queue, max_events=settings.max_backlog_events, max_bytes=settings.max_backlog_bytes
    )
    events = EventsResource(
        native.SOURCE,
        native.PARSERS,
        gate=Gate(
            Scrubber(key_salt=settings.key_salt, anonymize_ip=settings.anonymize_ip), clock=clock
        ),
        committer=committer,
        tokens=Tokens.of(settings),
        limits=Limits(settings.max_body_bytes, settings.max_batch_events),
        metrics=metrics,
    )
    app: Any = falcon.asgi.App(
        middleware=[
            Lifespan(committer, queue),
            CountResponses(metrics, {"/analytics/events": native.SOURCE}),
        ]
    )
    app.set_error_serializer(write_error)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(QueueUnavailable, _queue_unavailable)
    app.add_error_handler(QueueFull, _queue_full)
    app.add_route("/analytics/events", events)
    app.add_route("/healthz/live", LiveResource())
    app.add_route("/healthz/ready", ReadyResource(committer))
    app.add_route("/metrics", MetricsResource(metrics))
    return app
