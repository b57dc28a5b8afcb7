"""A span of a model call, as an event. Pure; `ingest.otlp` reads the spans.

Read are OpenTelemetry's GenAI conventions, current and old names, those of OpenLLMetry that came
before them, and OpenInference's. Attributes that carry content are not among them.
Sources: opentelemetry.io/docs/specs/semconv/gen-ai, openinference's semantic_conventions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from routiium_client.usage import token_usage

Attributes = Mapping[str, Any]
"""Name to text, number or boolean; of the names in `WANTED` alone."""


class Span(NamedTuple):
    """What is read of a span: ids in lower-case hex, times in Unix nanoseconds.

    `exception` is the type of an exception that was recorded, if one was.
    """

    trace_id: str
    span_id: str
    start: int
    end: int
    failed: bool
    attributes: Attributes
    exception: str | None = None


_OPERATION = "gen_ai.operation.name"
_KIND = "openinference.span.kind"
_TRACELOOP_KIND = "traceloop.span.kind"
_API_TYPE = "openai.api.type"
_REQUEST_TYPE = "llm.request.type"
_ERROR = "error.type"
_PARAMETERS = "llm.invocation_parameters"

_MODEL = (
    "gen_ai.request.model",
    "llm.request.model_name",
    "llm.model_name",
    "gen_ai.response.model",
    "llm.response.model_name",
    "embedding.model_name",
)
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_STREAM = ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming")
_FIRST_CHUNK = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
_STATUS = ("http.response.status_code", "http.status_code")
_USER_AGENT = ("user_agent.original", "http.user_agent")
_CLIENT = ("client.address", "http.client_ip")
_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_OUTPUT = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
)
_CACHED = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_CACHE_WRITE = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_REASONING = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)
_COST = ("llm.cost.total", "gen_ai.usage.cost")
_COST_IN = ("llm.cost.prompt",)
_COST_OUT = ("llm.cost.completion",)

WANTED = frozenset(
    [
        *(_OPERATION, _KIND, _TRACELOOP_KIND, _API_TYPE, _REQUEST_TYPE, _ERROR, _PARAMETERS),
        *(*_MODEL, *_PROVIDER, *_STREAM, *_FIRST_CHUNK, *_STATUS, *_USER_AGENT, *_CLIENT),
        *(*_INPUT, *_OUTPUT, *_CACHED, *_CACHE_WRITE, *_REASONING, *_COST, *_COST_IN, *_COST_OUT),
    ]
)
"""The attributes that are read; all others stay undecoded."""

_ERRORS = {
    "BadRequestError": 400,
    "AuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "ConflictError": 409,
    "UnprocessableEntityError": 422,
    "RateLimitError": 429,
    "APITimeoutError": 504,
    "timeout": 504,
}
"""Exceptions of the `openai` and `anthropic` clients to the status that they stand for."""

_CALLS = {
    "chat": ("/v1/chat/completions", "chat"),
    "responses": ("/v1/responses", "responses"),
    "generate_content": ("/v1/generateContent", "generate_content"),
    "text_completion": ("/v1/completions", "completions"),
    "completion": ("/v1/completions", "completions"),
    "embeddings": ("/v1/embeddings", "embeddings"),
    "embedding": ("/v1/embeddings", "embeddings"),
    "LLM": ("/v1/chat/completions", "chat"),
    "EMBEDDING": ("/v1/embeddings", "embeddings"),
}
"""Operation, request type or span kind of a model call to path and mode."""


def event_of(span: Span) -> dict[str, Any] | None:
    """The event in wire form; None where the span is no model call."""
    attributes = span.attributes
    call = _call_of(attributes)
    if call is None:
        return None
    endpoint, mode = call
    first_chunk = _number(attributes, _FIRST_CHUNK)
    asked = _parameters(attributes)
    return {
        "id": f"{span.trace_id}-{span.span_id}",
        "timestamp": span.start,
        "request": {
            "endpoint": endpoint,
            "model": _text(attributes, _MODEL) or asked.model,
            "stream": True in (_first(attributes, _STREAM), asked.stream, first_chunk is not None),
            "user_agent": _text(attributes, _USER_AGENT),
            "client_ip": _text(attributes, _CLIENT),
        },
        "response": _response(span),
        "performance": {
            "duration_ms": max(0, span.end - span.start) / 1_000_000,
            "ttfb_ms": None if first_chunk is None else first_chunk * 1_000,
        },
        "routing": {
            "backend": _text(attributes, _PROVIDER) or "unknown",
            "upstream_mode": mode,
        },
        "token_usage": _usage(attributes),
        "cost": _cost(attributes),
    }


def _call_of(attributes: Attributes) -> tuple[str, str] | None:
    """Path and mode of a model call.

    Agents, workflows and tools carry other operations and kinds: they repeat what the calls within
    them used. A span that names neither is one where it names its model.
    """
    operation, kind = attributes.get(_OPERATION), attributes.get(_KIND)
    named = [name for name in (operation, kind) if isinstance(name, str)]
    if any(name not in _CALLS for name in named):
        return None
    if not named and (_TRACELOOP_KIND in attributes or _text(attributes, _MODEL) is None):
        return None
    name = named[0] if named else attributes.get(_REQUEST_TYPE)
    if operation in ("chat", None) and attributes.get(_API_TYPE) == "responses":
        name = "responses"
    return _CALLS.get(name if isinstance(name, str) else "chat", _CALLS["chat"])


class _Parameters(msgspec.Struct):
    """OpenInference's parameters of a call, JSON in text. The rest of them is skipped."""

    model: str | None = None
    stream: bool | None = None


_read_parameters = msgspec.json.Decoder(_Parameters)


def _parameters(attributes: Attributes) -> _Parameters:
    text = attributes.get(_PARAMETERS)
    if isinstance(text, str):
        with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            return _read_parameters.decode(text)
    return _Parameters()


def _first(attributes: Attributes, names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


def _text(attributes: Attributes, names: tuple[str, ...]) -> str | None:
    value = _first(attributes, names)
    return value if isinstance(value, str) and value else None


def _number(attributes: Attributes, names: tuple[str, ...]) -> float | None:
    value = _first(attributes, names)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if usable else None


def _response(span: Span) -> dict[str, Any]:
    """Success, or the kind of error; what its message says may quote the prompt."""
    given = span.attributes.get(_ERROR)
    if not span.failed and given is None:
        return {"status_code": 200}
    kind = (given if isinstance(given, str) and given else span.exception) or "error"
    status = _number(span.attributes, _STATUS)
    if status is None or not 400 <= status <= 599:
        status = _status_of(kind)
    return {"status_code": int(status), "success": False, "error_message": kind}


def _status_of(kind: str) -> int:
    """What an error's type says of the status: it is one, or an exception of a known client."""
    if len(kind) == 3 and kind[0] in "45" and kind.isascii() and kind.isdecimal():
        return int(kind)
    return _ERRORS.get(kind.rpartition(".")[2], 500)


def _usage(attributes: Attributes) -> dict[str, int] | None:
    prompt, completion = _first(attributes, _INPUT), _first(attributes, _OUTPUT)
    if prompt is None and completion is None:
        return None
    cached, written = _first(attributes, _CACHED), _first(attributes, _CACHE_WRITE)
    if isinstance(prompt, int):
        parts = sum(part for part in (cached, written) if isinstance(part, int))
        # The conventions count cached tokens in; some instrumentations of Anthropic do not.
        prompt = prompt + parts if parts > prompt else prompt
    return token_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "reasoning_tokens": _first(attributes, _REASONING),
        }
    )


def _cost(attributes: Attributes) -> dict[str, float] | None:
    total = _number(attributes, _COST)
    if total is None:
        return None
    parts = {
        "input_cost": _number(attributes, _COST_IN),
        "output_cost": _number(attributes, _COST_OUT),
        "total_cost": total,
    }
    return {name: value for name, value in parts.items() if value is not None}
