"""OTLP trace requests, as protobuf and as JSON, from the same description."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

START = 1_700_000_000_250_000_000
PROTOBUF, JSON = "application/x-protobuf", "application/json"

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A span; `milliseconds` is how long it took, `events` are the attributes of its events."""

    attributes: dict[str, Any] = field(default_factory=lambda: dict(CHAT))
    trace_id: str = "0af7651916cd43dd8448eb211c80319c"
    span_id: str = "b7ad6b7169203331"
    milliseconds: float = 1_500.0
    failed: bool = False
    message: str = ""
    events: Sequence[dict[str, Any]] = ()

    @property
    def end(self) -> int:
        return START + int(self.milliseconds * 1_000_000)


def as_protobuf(spans: Sequence[Sent]) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _fill(resource.resource.attributes, {"service.name": "gateway"})
    scope = resource.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai_v2"
    for sent in spans:
        span = scope.spans.add(
            trace_id=bytes.fromhex(sent.trace_id),
            span_id=bytes.fromhex(sent.span_id),
            name="chat gpt-4o",
            start_time_unix_nano=START,
            end_time_unix_nano=sent.end,
        )
        _fill(span.attributes, sent.attributes)
        for attributes in sent.events:
            _fill(span.events.add(name="exception").attributes, attributes)
        span.status.code = 2 if sent.failed else 0
        span.status.message = sent.message
    body: bytes = request.SerializeToString()
    return body


def _fill(target: Any, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        attribute: KeyValue = target.add(key=key)
        if isinstance(value, list):
            for item in value:
                attribute.value.array_value.values.add(string_value=item)
        else:
            setattr(attribute.value, _KINDS[type(value)][0], value)


_KINDS = {
    bool: ("bool_value", "boolValue"),
    int: ("int_value", "intValue"),
    float: ("double_value", "doubleValue"),
    str: ("string_value", "stringValue"),
}


def as_json(spans: Sequence[Sent]) -> bytes:
    listed = [
        {
            "traceId": sent.trace_id.upper(),
            "spanId": sent.span_id,
            "name": "chat gpt-4o",
            "kind": 3,
            "startTimeUnixNano": str(START),
            "endTimeUnixNano": str(sent.end),
            "attributes": _listed(sent.attributes),
            "events": [
                {"name": "exception", "attributes": _listed(attributes)}
                for attributes in sent.events
            ],
            "status": {"code": 2, "message": sent.message} if sent.failed else {},
        }
        for sent in spans
    ]
    scope = {"scope": {"name": "openai"}, "spans": listed}
    resource = {"attributes": _listed({"service.name": "gateway"})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}).encode()


def _listed(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    if isinstance(value, float) and value != value:
        return {"doubleValue": "NaN"}
    shown = str(value) if type(value) is int else value
    return {_KINDS[type(value)][1]: shown}


ENCODINGS: list[tuple[str, Callable[[Sequence[Sent]], bytes]]] = [
    (PROTOBUF, as_protobuf),
    (JSON, as_json),
]
