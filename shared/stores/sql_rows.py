"""An event as a row: columns for what is filtered, grouped and added up, and `details`, the rest.

The columns are the only place of what they hold exactly; `details` is msgpack, arrays in the order
of the fields of `shared.events`, so a field may be added there at the end of a group and nowhere
else. Kept so a row is a third of the event's JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from shared.events import (
    Auth,
    Cost,
    Event,
    Performance,
    Request,
    Response,
    Routing,
    TokenUsage,
)
from shared.stores.base import DimensionValue
from shared.stores.cells import Measures

MEASURES = (
    "timestamp",
    "endpoint",
    "model",
    "stream",
    "status_code",
    "success",
    "backend",
    "upstream_mode",
    "api_key_id",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "duration_ms",
    "tokens_per_second",
)
"""The columns that cells are made of."""
COLUMNS = ("id", *MEASURES, "details")

Row = tuple[Any, ...]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def row_of(event: Event) -> Row:
    """The row of an event, in the order of `COLUMNS`."""
    request, response, performance = event.request, event.response, event.performance
    auth, routing, usage = event.auth, event.routing, event.token_usage
    return (
        event.id,
        event.timestamp,
        request.endpoint,
        request.model,
        request.stream,
        None if response is None else response.status_code,
        None if response is None else response.succeeded,
        routing.backend,
        routing.upstream_mode,
        auth.api_key_id,
        event.input_tokens,
        event.output_tokens,
        None if usage is None else usage.cached_tokens,
        None if usage is None else usage.reasoning_tokens,
        event.total_cost,
        performance.duration_ms,
        performance.tokens_per_second,
        _details(event),
    )


def _details(event: Event) -> bytes:
    request, response, performance = event.request, event.response, event.performance
    auth, routing, usage, cost = event.auth, event.routing, event.token_usage, event.cost
    return _encode(
        (
            (
                request.method,
                request.size_bytes,
                request.message_count,
                request.input_tokens,
                request.user_agent,
                request.client_ip,
            ),
            response
            and (
                response.size_bytes,
                response.output_tokens,
                response.success,
                response.error_message,
            ),
            (performance.ttfb_ms, performance.upstream_duration_ms),
            (auth.authenticated, auth.api_key_label, auth.auth_method),
            (routing.mcp_enabled, routing.mcp_servers, routing.system_prompt_applied),
            usage and astuple(usage),
            cost and astuple(cost),
        )
    )


def event_of(row: Row) -> Event:
    """The event of a row, exactly as it was."""
    (
        event_id,
        timestamp,
        endpoint,
        model,
        stream,
        status,
        _,
        backend,
        upstream_mode,
        key,
        *_,
        duration,
        rate,
        details,
    ) = row
    request, response, performance, auth, routing, usage, cost = _decode(details)
    method, *request_rest = request
    ttfb, upstream_duration = performance
    authenticated, *auth_rest = auth
    return Event(
        event_id,
        timestamp,
        Request(endpoint, method, model, stream, *request_rest),
        None if response is None else Response(status, *response),
        Performance(duration, ttfb, upstream_duration, rate),
        Auth(authenticated, key, *auth_rest),
        Routing(backend, upstream_mode, *routing),
        None if usage is None else TokenUsage(*usage),
        None if cost is None else Cost(*cost),
    )


def measures_of(rows: Sequence[Row]) -> Measures:
    """What rows bring to their cells; each begins with `MEASURES`."""
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(MEASURES)
    named: dict[str, Sequence[Any]] = dict(zip(MEASURES, columns, strict=False))
    success: list[DimensionValue] = [None if s is None else bool(s) for s in named["success"]]
    return Measures(
        timestamp=named["timestamp"],
        dimensions={
            "model": named["model"],
            "endpoint": named["endpoint"],
            "backend": named["backend"],
            "api_key_id": named["api_key_id"],
            "status_code": named["status_code"],
            "success": success,
            "upstream_mode": named["upstream_mode"],
            "stream": [bool(value) for value in named["stream"]],
        },
        input_tokens=named["input_tokens"],
        output_tokens=named["output_tokens"],
        cached_tokens=named["cached_tokens"],
        reasoning_tokens=named["reasoning_tokens"],
        cost=named["cost"],
        duration_ms=named["duration_ms"],
        rate=named["tokens_per_second"],
    )
