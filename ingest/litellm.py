"""The LiteLLM source: what its generic callback (`GenericAPILogger`) posts, as it posts it.

A body is a JSON array of StandardLoggingPayload, one object, or one object a line; all three come
labelled `application/json`. Elements may be null: calls that LiteLLM made no payload of. Messages,
responses and tracebacks are skipped by the decoder. Messages of exceptions are as well: they quote
prompts. Source: litellm/types/utils.py and litellm/integrations/generic_api, LiteLLM 1.110.

Times are Unix seconds. Their difference is the duration: `response_time` is that of the first token
where the answer was streamed. A retry and its success may share an id, so the event's id is made of
the id, the status and the time of the start.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import falcon
import msgspec
from routiium_client.usage import token_usage
from shared.events import MAX_ID, MIN_TIMESTAMP, ReceivedEvent

from ingest.admission import Rejection
from ingest.plain import receive
from ingest.replies import Replies
from ingest.source import NO_LIMIT, Malformed, Received, Source, require_few


class _ToolCall(msgspec.Struct):
    mcp_server_name: Any = None


class _Metadata(msgspec.Struct):
    user_api_key_hash: Any = None
    user_api_key_alias: Any = None
    requester_ip_address: Any = None
    user_agent: Any = None
    mcp_tool_call_metadata: _ToolCall | None = None
    usage_object: dict[str, Any] | None = None


class _Error(msgspec.Struct):
    error_code: Any = None
    error_class: Any = None
    error_rate_limit_category: Any = None


class _CostBreakdown(msgspec.Struct):
    """`input_cost` includes `cache_read_cost`, whatever its comment says."""

    input_cost: float | None = None
    output_cost: float | None = None
    cache_read_cost: float | None = None
    total_cost: float | None = None


class _Payload(msgspec.Struct):
    """Of a StandardLoggingPayload what is read. None of it is text that a user wrote."""

    id: str
    startTime: float
    status: str | None = None
    endTime: float | None = None
    completionStartTime: float | None = None
    call_type: str | None = None
    stream: bool | None = None
    cache_hit: bool | None = None
    custom_llm_provider: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    response_cost: float | None = None
    cost_breakdown: _CostBreakdown | None = None
    metadata: _Metadata | None = None
    requester_ip_address: Any = None
    user_agent: Any = None
    error_information: _Error | None = None


_NOT_THE_FORMAT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_array = msgspec.json.Decoder(list[_Payload | None])
_one = msgspec.json.Decoder(_Payload | None)
_patient = json.JSONDecoder(parse_constant=lambda name: None)
_OPENING = re.compile(r"[ \t\r\n]*\[[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*(?:,[ \t\r\n]*+(?!\])|(?=\]))")
_ENDING = re.compile(r"[ \t\r\n]*\][ \t\r\n]*\Z")

_ENDPOINTS = {
    "completion": ("/v1/chat/completions", "chat"),
    "text_completion": ("/v1/completions", "completions"),
    "responses": ("/v1/responses", "responses"),
    "anthropic_messages": ("/v1/messages", "messages"),
    "embedding": ("/v1/embeddings", "embeddings"),
    "moderation": ("/v1/moderations", "moderations"),
    "rerank": ("/v1/rerank", "rerank"),
    "image_generation": ("/v1/images/generations", "images"),
    "image_edit": ("/v1/images/edits", "images"),
    "transcription": ("/v1/audio/transcriptions", "audio"),
    "speech": ("/v1/audio/speech", "audio"),
    "realtime": ("/v1/realtime", "realtime"),
}
"""Call type, without what says that it was asynchronous, to path and mode."""


def parse(body: bytes, limit: int = NO_LIMIT) -> Received:
    """What each element of a post is; None for a null, which is no event. Raises Malformed."""
    if not body.strip():
        raise Malformed("empty")
    try:
        payloads = _decode(body)
    except _NOT_THE_FORMAT:
        values = _read_patiently(body)
        require_few(values, limit)
        payloads = [_mend(index, value) for index, value in enumerate(values)]
    require_few(payloads, limit)
    return [_receive(index, payload) for index, payload in enumerate(payloads)]


def _decode(body: bytes) -> list[_Payload | Rejection | None]:
    if body[:64].lstrip()[:1] == b"[":
        return [*_array.decode(body)]
    try:
        return [_one.decode(body)]
    except msgspec.DecodeError:
        return [*_one.decode_lines(body)]


def _read_patiently(body: bytes) -> list[Any]:
    """The elements as plain objects, null for the NaN and Infinity that LiteLLM may write."""
    is_array = body.lstrip()[:1] == b"["
    try:
        return list(_elements(body)) if is_array else [_loads(body)]
    except RecursionError:
        raise Malformed("not valid JSON: it is nested too deeply") from None
    except ValueError as error:
        lines = [line for line in body.split(b"\n") if line.strip()]
        if is_array or len(lines) < 2:
            raise Malformed(f"not valid JSON: {_place(error)}") from None
    return [_read_line(line) for line in lines]


def _elements(body: bytes) -> Iterator[Any]:
    """The elements of an array, one by one: one call for all would hold up every other thread."""
    text = body.decode("utf-8", "surrogatepass")
    at = _after(_OPENING, text, 0)
    while not _ENDING.match(text, at):
        value, at = _patient.raw_decode(text, at)
        yield value
        at = _after(_BETWEEN, text, at)


def _after(mark: re.Pattern[str], text: str, at: int) -> int:
    found = mark.match(text, at)
    if found is None:
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return found.end()


def _loads(text: bytes) -> Any:
    return json.loads(text, parse_constant=lambda name: None)


def _place(error: ValueError) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else "it holds what is not UTF-8"


def _read_line(line: bytes) -> Any:
    try:
        return _loads(line)
    except (ValueError, RecursionError):
        return "a line that is not JSON"


def _mend(index: int, value: Any) -> _Payload | Rejection | None:
    """The payload in `value`; fields that are not of their type are left out."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return Rejection(index, None, "a LiteLLM payload must be an object")
    with suppress(msgspec.ValidationError):
        return msgspec.convert(value, _Payload)
    with suppress(msgspec.ValidationError):
        return msgspec.convert(_usable(_Payload, value), _Payload)
    missing = "id" if not isinstance(value.get("id"), str) else "startTime"
    return Rejection(index, None, f"{missing}: is missing, or not of its type")


def _usable(kind: Any, value: dict[str, Any]) -> dict[str, Any]:
    """Members of `value` that convert to the fields of `kind`; groups are gone through as well."""
    usable = {}
    for field in msgspec.structs.fields(kind):
        part = value.get(field.encode_name)
        group = _GROUPS.get(field.name)
        if group is not None and isinstance(part, dict):
            part = _usable(group, part)
        with suppress(msgspec.ValidationError):
            msgspec.convert(part, field.type)
            usable[field.encode_name] = part
    return usable


_GROUPS = {
    "cost_breakdown": _CostBreakdown,
    "metadata": _Metadata,
    "mcp_tool_call_metadata": _ToolCall,
    "error_information": _Error,
}


def _receive(index: int, payload: _Payload | Rejection | None) -> ReceivedEvent | Rejection | None:
    if payload is None or isinstance(payload, Rejection):
        return payload
    return receive(index, _event(payload))


def _event(payload: _Payload) -> dict[str, Any]:
    """The event in wire form; `receive` bounds and checks it like any other."""
    metadata = payload.metadata or _Metadata()
    endpoint, mode = _endpoint_of(payload.call_type or "unknown")
    usage = _usage(payload, metadata)
    server = metadata.mcp_tool_call_metadata and metadata.mcp_tool_call_metadata.mcp_server_name
    return {
        "id": _event_id(payload),
        "timestamp": payload.startTime,
        "request": {
            "endpoint": endpoint,
            "model": _model(payload),
            "stream": payload.stream is True,
            "user_agent": _text(payload.user_agent) or _text(metadata.user_agent),
            "client_ip": _text(payload.requester_ip_address)
            or _text(metadata.requester_ip_address),
        },
        "response": _response(payload),
        "performance": _performance(payload),
        "auth": _auth(metadata),
        "routing": {
            "backend": payload.custom_llm_provider or "unknown",
            "upstream_mode": mode,
            "mcp_enabled": bool(server),
            "mcp_servers": [server] if isinstance(server, str) else [],
        },
        "token_usage": usage,
        "cost": _cost(payload),
    }


def _event_id(payload: _Payload) -> str:
    whole = f"{payload.id}:{payload.status}:{payload.startTime!r}"
    if len(whole) <= MAX_ID and whole.isprintable():
        return whole
    return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()


def _endpoint_of(call_type: str) -> tuple[str, str]:
    """Path and mode; `acompletion` is `completion`, and `_arealtime` is `realtime`."""
    for name in (call_type, call_type.removeprefix("_").removeprefix("a")):
        if name in _ENDPOINTS:
            return _ENDPOINTS[name]
    return f"/{call_type}", call_type


def _model(payload: _Payload) -> str | None:
    """`bedrock/…` of a call to Bedrock is the model without it: the backend says the rest."""
    prefix = f"{payload.custom_llm_provider}/"
    return payload.model.removeprefix(prefix) if payload.model else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _response(payload: _Payload) -> dict[str, Any]:
    if payload.status != "failure":
        return {"status_code": 200}
    error = payload.error_information or _Error()
    parts = [_text(error.error_class) or "error", _text(error.error_rate_limit_category)]
    return {
        "status_code": _status_code(error.error_code),
        "success": False,
        "error_message": ": ".join(part for part in parts if part),
    }


def _status_code(code: Any) -> int:
    """LiteLLM has it as text, and empty where an exception has none."""
    status = int(code) if str(code).isascii() and str(code).isdigit() and len(str(code)) == 3 else 0
    return status if 400 <= status <= 599 else 500


def _performance(payload: _Payload) -> dict[str, float]:
    start, end, first = payload.startTime, payload.endTime, payload.completionStartTime
    performance = {"duration_ms": _milliseconds(start, end)} if end is not None else {}
    if payload.stream and first is not None:
        performance["ttfb_ms"] = _milliseconds(start, first)
    return performance


def _milliseconds(start: float, end: float) -> float:
    return max(0.0, round((end - start) * 1_000, 3))


def _auth(metadata: _Metadata) -> dict[str, Any]:
    key = _text(metadata.user_api_key_hash)
    if key is None:
        return {}
    return {
        "authenticated": True,
        "api_key_id": key,
        "api_key_label": _text(metadata.user_api_key_alias),
        "auth_method": "bearer",
    }


def _usage(payload: _Payload, metadata: _Metadata) -> dict[str, int] | None:
    """The usage in its details, or the two sums; None where nothing was used."""
    usage = token_usage(metadata.usage_object) if metadata.usage_object else None
    if usage is None and (payload.prompt_tokens or payload.completion_tokens):
        sums = {
            "prompt_tokens": payload.prompt_tokens,
            "completion_tokens": payload.completion_tokens,
        }
        usage = token_usage(sums)
    return usage


def _cost(payload: _Payload) -> dict[str, Any] | None:
    """The cost that LiteLLM worked out.

    It says 0 of a model that it has no price of, too, but then breaks nothing down: that is left
    to the worker's prices.
    """
    parts = payload.cost_breakdown or _CostBreakdown()
    total = payload.response_cost if payload.response_cost is not None else parts.total_cost
    known = payload.cost_breakdown is not None or payload.cache_hit or payload.status == "failure"
    if total is None or not (total or known):
        return None
    cached = parts.cache_read_cost
    return {
        "input_cost": max(0.0, (parts.input_cost or 0.0) - (cached or 0.0)),
        "output_cost": max(0.0, parts.output_cost or 0.0),
        "cached_cost": cached,
        "total_cost": max(0.0, total),
        "pricing_model": "litellm",
    }


_PAYLOAD = {
    "type": "object",
    "required": ["id", "startTime"],
    "properties": {
        "id": {"type": "string"},
        "startTime": {"type": "number", "minimum": MIN_TIMESTAMP},
    },
    "description": "A LiteLLM payload; `startTime` is Unix seconds",
}

# It sends a null for what it had nothing to say of; that is no event, and no error.
_PAYLOADS = {"type": "array", "items": {"anyOf": [_PAYLOAD, {"type": "null"}]}}

LITELLM = Source(
    name="litellm",
    path="/sources/litellm",
    summary="Post what LiteLLM's generic callback sends",
    about="An array of LiteLLM's StandardLoggingPayload, one of them, or one a line. Messages, "
    "responses and the text of errors are never kept. A full queue is a 503: LiteLLM repeats no "
    "429.",
    parsers={"application/json": parse, "application/x-ndjson": parse},
    body={
        "application/json": {"anyOf": [_PAYLOADS, _PAYLOAD, {"type": "null"}]},
        "application/x-ndjson": _PAYLOADS,
    },
    replies=Replies(full=falcon.HTTP_503),
    max_body_bytes=lambda settings: settings.litellm_max_body_bytes,
)
