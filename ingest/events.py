"""The resource that takes events: one for each source, all with the same promises."""

from __future__ import annotations

import time

import falcon
import falcon.asgi
import msgspec
from shared.http import ApiError, Right, Tokens
from shared.stream import pack

from ingest.admission import Admission, Gate
from ingest.body import read_body
from ingest.committer import GroupCommitter
from ingest.metrics import IngestMetrics
from ingest.native import Malformed, Parser

_json = msgspec.json.Encoder()


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
        if admission.accepted:
            await self._commit(admission)
        # Counted once the answer is certain: a request that is refused whole will come again.
        self._accepted.inc(len(admission.accepted))
        self._rejected.inc(len(admission.rejected))
        if admission.rejected and not admission.accepted:
            raise _no_good_event(admission)
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


def _no_good_event(admission: Admission) -> ApiError:
    return ApiError(
        falcon.HTTP_422,
        "unprocessable_entity",
        "no event in the request was good; `rejected` says why",
        extra={"rejected": msgspec.to_builtins(admission.rejected)},
    )
