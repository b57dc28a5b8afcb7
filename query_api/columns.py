"""The columns of exports in rows: by name, what each holds of an event, and its type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from shared.events import Event

Getter = Callable[[Event], Any]
Kind = Literal["text", "texts", "boolean", "integer", "number", "time"]
"""`time` is Unix seconds; `texts` a list."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value of an event; None where the event has none."""

    kind: Kind
    get: Getter


def _part(kind: Kind, group: str, name: str) -> Column:
    def get(event: Event) -> Any:
        part = getattr(event, group)
        return None if part is None else getattr(part, name)

    return Column(kind, get)


COLUMNS: dict[str, Column] = {
    "id": Column("text", lambda event: event.id),
    "timestamp": Column("time", lambda event: event.timestamp),
    "endpoint": _part("text", "request", "endpoint"),
    "method": _part("text", "request", "method"),
    "model": _part("text", "request", "model"),
    "stream": _part("boolean", "request", "stream"),
    "status_code": _part("integer", "response", "status_code"),
    "success": Column(
        "boolean", lambda event: None if event.response is None else event.response.succeeded
    ),
    "duration_ms": _part("number", "performance", "duration_ms"),
    "input_tokens": Column("integer", lambda event: event.input_tokens),
    "output_tokens": Column("integer", lambda event: event.output_tokens),
    "backend": _part("text", "routing", "backend"),
    "upstream_mode": _part("text", "routing", "upstream_mode"),
    "request_size_bytes": _part("integer", "request", "size_bytes"),
    "message_count": _part("integer", "request", "message_count"),
    "user_agent": _part("text", "request", "user_agent"),
    "client_ip": _part("text", "request", "client_ip"),
    "response_size_bytes": _part("integer", "response", "size_bytes"),
    "error_message": _part("text", "response", "error_message"),
    "ttfb_ms": _part("number", "performance", "ttfb_ms"),
    "upstream_duration_ms": _part("number", "performance", "upstream_duration_ms"),
    "tokens_per_second": _part("number", "performance", "tokens_per_second"),
    "authenticated": _part("boolean", "auth", "authenticated"),
    "api_key_id": _part("text", "auth", "api_key_id"),
    "api_key_label": _part("text", "auth", "api_key_label"),
    "auth_method": _part("text", "auth", "auth_method"),
    "mcp_enabled": _part("boolean", "routing", "mcp_enabled"),
    "mcp_servers": Column("texts", lambda event: event.routing.mcp_servers),
    "system_prompt_applied": _part("boolean", "routing", "system_prompt_applied"),
    "total_tokens": _part("integer", "token_usage", "total_tokens"),
    "cached_tokens": _part("integer", "token_usage", "cached_tokens"),
    "cache_write_tokens": _part("integer", "token_usage", "cache_write_tokens"),
    "reasoning_tokens": _part("integer", "token_usage", "reasoning_tokens"),
    "input_cost": _part("number", "cost", "input_cost"),
    "output_cost": _part("number", "cost", "output_cost"),
    "cached_cost": _part("number", "cost", "cached_cost"),
    "total_cost": _part("number", "cost", "total_cost"),
    "currency": _part("text", "cost", "currency"),
    "pricing_model": _part("text", "cost", "pricing_model"),
}
"""Every column by name. `input_tokens` and `output_tokens` are the ones that are counted."""

DEFAULT_COLUMNS = tuple(COLUMNS)[:13]
