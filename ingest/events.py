"""The resource that takes events: one for each source, all with the same promises."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from contextlib import suppress

import falcon
import falcon.asgi
import msgspec
from shared.errors import QueueFull
from shared.http import ApiError, Right, Tokens
from shared.stream import Packed, pack

from ingest import memory
from ingest.admission import Gate, Rejection
from ingest.body import Body, read_body
from ingest.committer import GroupCommitter
from ingest.docs import operation_of_source
from ingest.metrics import IngestMetrics
from ingest.source import Malformed, Parser, Source, TooManyEvents


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one request: bytes after decompression, and events."""

    body_bytes: int
    events: int


class Taken(msgspec.Struct):
    """What is left of one request: batches for the queue, their number of events, the refused."""

    batches: list[Packed]
    accepted: int
    rejected: list[Rejection]


class EventsResource:
    """`POST`: events of one source, queued when the answer is 202.

    `large_bodies` goes through what would keep the event loop from other requests.
    """

    def __init__(
        self,
        source: Source,
        *,
        gate: Gate,
        committer: GroupCommitter,
        tokens: Tokens,
        limits: Limits,
        metrics: IngestMetrics,
        large_bodies: Executor,
    ) -> None:
        self.operations = {"post": operation_of_source(source)}
        self._source = source.name
        self._parsers = source.parsers
        self._replies = source.replies
        self._gate = gate
        self._committer = committer
        self._tokens = tokens
        self._limits = limits
        self._large_bodies = large_bodies
        self._responses = metrics.responses.samples
        self._events = metrics.events.samples
        self._taken = (source.name, str(falcon.http_status_to_code(source.replies.status)))
        self._accepted = (source.name, "accepted")
        self._rejected = (source.name, "rejected")
        self._events.update({self._accepted: 0, self._rejected: 0})

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        if self._tokens:
            self._tokens.require(request.get_header("Authorization"), Right.INGEST)
        taken = await self._receive(self._parser(request), request)
        if taken.batches:
            try:
                await self._committer.commit(taken.batches)
            except QueueFull as error:
                raise self._replies.queue_full(error) from None
        # Counted once the answer is certain: a request that is refused whole will come again.
        self._events[self._accepted] += taken.accepted
        if taken.rejected:
            self._events[self._rejected] += len(taken.rejected)
        self._replies.taken(request, response, taken.accepted, taken.rejected)
        self._responses[self._taken] += 1

    def _parser(self, request: falcon.asgi.Request) -> Parser:
        content_type = request.content_type or ""
        parse = self._parsers.get(content_type)
        if parse is None:
            content_type = content_type.partition(";")[0].strip().lower()
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

    async def _receive(self, parse: Parser, request: falcon.asgi.Request) -> Taken:
        """What the body brings; a large one is gone through beside the event loop."""
        body = await read_body(request, self._limits.body_bytes)
        if not body.is_large:
            return self._take(parse, body)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._large_bodies, self._take, parse, body)
        finally:
            # By then the body is gone, and what was made of it.
            loop.call_later(1.0, self._tidy)

    def _tidy(self) -> None:
        with suppress(RuntimeError):  # the thread has ended: so does the process
            self._large_bodies.submit(memory.give_back)

    def _take(self, parse: Parser, body: Body) -> Taken:
        """Everything up to the queue.

        Body and events are let go on return, while they are still in the processor's cache: kept
        until the broker has answered they cost as much again.
        """
        try:
            received = parse(body.unpack(body.raw, self._limits.body_bytes), self._limits.events)
        except Malformed as error:
            message = f"the body is {error}"
            raise ApiError(falcon.HTTP_400, "invalid_request", message) from None
        except TooManyEvents as error:
            raise _too_many(error.count, self._limits.events) from None
        if len(received) > self._limits.events:
            raise _too_many(len(received), self._limits.events)
        admission = self._gate.admit(received)
        batches = pack(self._source, admission.accepted) if admission.accepted else []
        return Taken(batches, len(admission.accepted), admission.rejected)


def _too_many(count: int, limit: int) -> ApiError:
    return ApiError(
        falcon.HTTP_413,
        "payload_too_large",
        f"the request holds {count} events, over the limit of {limit} events; send smaller batches",
    )
