"""The OpenTelemetry source: OTLP/HTTP traces, as protobuf or JSON, and OTLP's answers.

Spans that are no model call are taken and dropped. Source of the protocol:
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import falcon
import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from shared.events import ReceivedEvent
from shared.openapi import BINARY, Answer

from ingest.admission import Rejection
from ingest.genai import WANTED, Span, event_of
from ingest.plain import receive
from ingest.replies import Replies
from ingest.source import NO_LIMIT, Malformed, Received, Source, require_few

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
SPANS_AN_EVENT = 10
"""Spans of any kind that a request may hold for each event that it may."""

_ERROR_STATUS = 2
_EXCEPTION_TYPE = "exception.type"
_REASONS = 5


class _Attribute(msgspec.Struct):
    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"{}")


class _Event(msgspec.Struct):
    attributes: list[_Attribute] = []


class _Status(msgspec.Struct):
    code: int | str = 0


class _JsonSpan(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Attribute] = []
    events: list[_Event] = []
    status: _Status | None = None


class _ScopeSpans(msgspec.Struct, rename="camel"):
    spans: list[msgspec.Raw] = []


class _ResourceSpans(msgspec.Struct, rename="camel"):
    scope_spans: list[_ScopeSpans] = []


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] = []


class _AnyValue(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None


_request = msgspec.json.Decoder(_Request)
_json_span = msgspec.json.Decoder(_JsonSpan)
_any_value = msgspec.json.Decoder(_AnyValue)
_NOT_THE_FORMAT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_protobuf(body: bytes, limit: int = NO_LIMIT) -> Received:
    """The model calls among the spans. Raises Malformed."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise Malformed("not a valid protobuf ExportTraceServiceRequest") from None
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    spans = [span for scope in scopes for span in scope.spans]
    require_few(spans, limit * SPANS_AN_EVENT)
    return _few(_received(map(_from_protobuf, spans)), limit)


def _from_protobuf(span: trace_pb2.Span) -> Span:
    exceptions = (_read(event.attributes, (_EXCEPTION_TYPE,)) for event in span.events)
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == _ERROR_STATUS,
        _read(span.attributes, WANTED),
        _exception_type(exceptions),
    )


def _read(attributes: Any, wanted: Any) -> dict[str, Any]:
    found = {}
    attribute: KeyValue
    for attribute in attributes:
        if attribute.key in wanted:
            kind = attribute.value.WhichOneof("value")
            if kind in ("string_value", "int_value", "double_value", "bool_value"):
                found[attribute.key] = getattr(attribute.value, kind)
    return found


def parse_json(body: bytes, limit: int = NO_LIMIT) -> Received:
    """The model calls among the spans. Raises Malformed."""
    try:
        request = _request.decode(body)
    except _NOT_THE_FORMAT as error:
        raise Malformed(f"not valid OTLP/JSON: {error}") from None
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    raws = [raw for scope in scopes for raw in scope.spans]
    require_few(raws, limit * SPANS_AN_EVENT)
    return _few(_received(map(_from_json, raws)), limit)


def _from_json(raw: msgspec.Raw) -> Span | None:
    """None where it is no span."""
    try:
        span = _json_span.decode(raw)
        exceptions = (_read_json(event.attributes, (_EXCEPTION_TYPE,)) for event in span.events)
        return Span(
            span.trace_id.lower(),
            span.span_id.lower(),
            int(span.start_time_unix_nano),
            int(span.end_time_unix_nano),
            span.status is not None and span.status.code in (2, "2", "STATUS_CODE_ERROR"),
            _read_json(span.attributes, WANTED),
            _exception_type(exceptions),
        )
    except (*_NOT_THE_FORMAT, ValueError):
        return None


def _read_json(attributes: list[_Attribute], wanted: Any) -> dict[str, Any]:
    values = {
        attribute.key: _value(_any_value.decode(attribute.value))
        for attribute in attributes
        if attribute.key in wanted
    }
    return {key: value for key, value in values.items() if value is not None}


def _value(value: _AnyValue) -> str | int | float | None:
    """What the value holds. 64-bit integers are text in JSON, and doubles may be, such as NaN."""
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    return value.bool_value


def _exception_type(exceptions: Iterator[dict[str, Any]]) -> str | None:
    found = (attributes.get(_EXCEPTION_TYPE) for attributes in exceptions)
    return next((name for name in found if isinstance(name, str) and name), None)


def _received(spans: Iterator[Span | None]) -> Iterator[ReceivedEvent | Rejection]:
    for index, span in enumerate(spans):
        if span is None:
            yield Rejection(index, None, "a span is not as OTLP/JSON has it")
        elif (event := event_of(span)) is not None:
            problem = _problem(span)
            yield Rejection(index, None, problem) if problem else receive(index, _finite(event))


def _few(received: Iterator[ReceivedEvent | Rejection], limit: int) -> Received:
    """All of them; TooManyEvents as soon as they are too many, with those counted until then."""
    taken = list(islice(received, limit + 1))
    require_few(taken, limit)
    return taken


def _problem(span: Span) -> str | None:
    for name, value, length in (("trace_id", span.trace_id, 32), ("span_id", span.span_id, 16)):
        if len(value) != length or not value.strip("0") or value.strip("0123456789abcdef"):
            return f"{name}: must be {length // 2} bytes, not all zero"
    return None if span.start else "start_time_unix_nano: is required"


def _finite(event: dict[str, Any]) -> dict[str, Any]:
    """Without the NaN that a double attribute may hold."""
    for group in ("performance", "cost"):
        numbers = event[group]
        if numbers is not None:
            event[group] = {
                name: value
                for name, value in numbers.items()
                if not (isinstance(value, float) and not math.isfinite(value))
            }
    return event


class OtlpReplies(Replies):
    """OTLP's answers, in the content type of the request. What was dropped is a partial success."""

    status = falcon.HTTP_200

    def taken(self, request: Any, response: Any, accepted: int, rejected: list[Rejection]) -> None:
        response.status = falcon.HTTP_200
        reasons = "; ".join(sorted({rejection.error for rejection in rejected})[:_REASONS])
        response.content_type = _content_type(request)
        if response.content_type == PROTOBUF:
            partial = ExportTracePartialSuccess(rejected_spans=len(rejected), error_message=reasons)
            whole = ExportTraceServiceResponse(partial_success=partial if rejected else None)
            response.data = whole.SerializeToString()
        else:
            told = {"rejectedSpans": str(len(rejected)), "errorMessage": reasons}
            response.data = msgspec.json.encode({"partialSuccess": told} if rejected else {})

    def failed(self, request: Any, response: Any, error: falcon.HTTPError) -> None:
        """A google.rpc.Status; in JSON our own error stands beside its message."""
        super().failed(request, response, error)
        content_type = _content_type(request)
        body = msgspec.json.decode(response.data)
        message = body["error"]["message"]
        if content_type == PROTOBUF:
            response.content_type = PROTOBUF
            response.data = _status(message)
        elif content_type == JSON:
            response.data = msgspec.json.encode({"message": message, **body})

    def described(self) -> dict[int, Answer]:
        answers = super().described()
        del answers[202], answers[422]
        taken = {JSON: {"type": "object"}, PROTOBUF: BINARY}
        about = "Queued: safe from now on. Spans that are no model call are left out"
        return {200: Answer(about=about, content=taken), **answers}


def _content_type(request: Any) -> str:
    return (request.content_type or "").partition(";")[0].strip().lower()


def _status(message: str) -> bytes:
    """A google.rpc.Status in protobuf: its field 2, `message`."""
    text = message.encode("utf-8", "replace")
    length, size = len(text), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return b"\x12" + bytes([*size, length]) + text


OTLP = Source(
    name="otlp",
    path="/v1/traces",
    summary="Post OpenTelemetry traces: OTLP/HTTP, protobuf or JSON",
    about="Each span of a model call, by the GenAI or the OpenInference conventions, is an event. "
    "Other spans are taken and dropped; so are agents' and workflows', which repeat what the calls "
    "in them used. Attributes that carry content are never kept.",
    parsers={PROTOBUF: parse_protobuf, JSON: parse_json},
    body={PROTOBUF: BINARY, JSON: {"type": "object"}},
    replies=OtlpReplies(),
)
