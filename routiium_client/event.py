"""An event on its way out: only what the event's form has, encoded, with an id of its own.

The form is that of `POST /analytics/events`; all that it does not name is dropped here, in the
process of the sender, and so is every value that is no plain one: content has no way out.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any
from uuid import UUID

MAX_TEXT = 1_024
MAX_ERROR_MESSAGE = 2 * 2_048
"""Twice what is kept: ingest masks credentials before it cuts, and half of one is not known."""

FIELDS: Mapping[str, AbstractSet[str]] = {
    "request": {
        "endpoint",
        "method",
        "model",
        "stream",
        "size_bytes",
        "message_count",
        "input_tokens",
        "user_agent",
        "client_ip",
    },
    "response": {"status_code", "size_bytes", "output_tokens", "success", "error_message"},
    "performance": {"duration_ms", "ttfb_ms", "upstream_duration_ms", "tokens_per_second"},
    "auth": {"authenticated", "api_key_id", "api_key_label", "auth_method"},
    "routing": {"backend", "upstream_mode", "mcp_enabled", "system_prompt_applied"},
    "token_usage": {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    },
    "cost": {
        "input_cost",
        "output_cost",
        "cached_cost",
        "total_cost",
        "currency",
        "pricing_model",
    },
}
"""Group to its plain fields, as the event's form has them; `routing.mcp_servers` is a list."""

_PLAIN = (str, int, float)


def _as_text(value: object) -> str:
    """What may stand for an id or a timestamp besides plain values; all else is a TypeError."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} is no part of an event")


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_as_text).encode


def key_id(key: str, salt: bytes) -> str:
    """`key_` and the first 16 hex digits of HMAC-SHA256(salt, key). Ingest uses this, too."""
    digest = hmac.digest(salt, key.encode("utf-8", "surrogatepass"), "sha256")
    return "key_" + digest.hex()[:16]


def uuid7(now: float) -> str:
    """A version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, 74 random bits."""
    bits = (int(now * 1_000) << 80) | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def encode_event(event: Mapping[str, Any], salt: bytes, now: float) -> bytes:
    """The event as one line of JSON, without its newline.

    An id and a timestamp (Unix seconds, `now`) are added where they are missing, and a raw
    `auth.api_key` becomes `api_key_id`. An id may be a UUID, a timestamp a datetime. Where `event`
    is not of the form it raises whatever its values do.
    """
    kept: dict[str, Any] = {
        "id": event.get("id") or uuid7(now),
        "timestamp": event.get("timestamp") or now,
    }
    for group, fields in FIELDS.items():
        part = event.get(group)
        if part is not None:
            kept[group] = {
                name: value if type(value) is int else _shortened(name, value)
                for name, value in part.items()
                if name in fields and isinstance(value, _PLAIN)
            }
    servers = (event.get("routing") or {}).get("mcp_servers")
    if isinstance(servers, (list, tuple)):
        names = [name[:MAX_TEXT] for name in servers if isinstance(name, str)]
        kept["routing"]["mcp_servers"] = names
    if key := (event.get("auth") or {}).get("api_key"):
        kept["auth"]["api_key_id"] = key_id(key, salt)
    return _encode(kept).encode()


def _shortened(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value[: MAX_ERROR_MESSAGE if name == "error_message" else MAX_TEXT]
    return value
