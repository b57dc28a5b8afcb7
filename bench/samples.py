"""What the benchmarks send: complete events of 870 to 1,000 bytes, and requests that carry them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

MODELS = (
    ("gpt-4o-2024-08-06", "openai"),
    ("gpt-4o-mini", "openai"),
    ("claude-sonnet-4-20250514", "anthropic"),
    ("llama-3.3-70b-instruct", "fireworks"),
)
FAILS_EVERY = 25


def complete_event(number: int, *, timestamp: int | None = None) -> dict[str, Any]:
    """A plain event with every group that a gateway fills in; one in FAILS_EVERY has failed."""
    failed = number % FAILS_EVERY == 0
    model, backend = MODELS[number % len(MODELS)]
    prompt, completion = 400 + number % 1_700, 0 if failed else 60 + number % 900
    duration = 350.25 + number % 4_000
    return {
        "id": f"018f3a2c-5d1e-7c44-9b1a-{number:012x}",
        "timestamp": int(time.time()) if timestamp is None else timestamp,
        "request": {
            "endpoint": "/v1/responses" if number % 3 == 0 else "/v1/chat/completions",
            "method": "POST",
            "model": model,
            "stream": number % 2 == 0,
            "size_bytes": 2_000 + number % 9_000,
            "message_count": 1 + number % 12,
            "input_tokens": prompt,
            "user_agent": "OpenAI/Python 1.82.0",
            "client_ip": f"203.0.113.{number % 250}",
        },
        "response": _failure() if failed else _success(completion),
        "performance": {
            "duration_ms": duration,
            "ttfb_ms": 180.5,
            "upstream_duration_ms": duration - 4.5,
        },
        "auth": {
            "authenticated": True,
            "api_key_id": f"key_{number % 50:016x}",
            "api_key_label": "team-search",
            "auth_method": "bearer",
        },
        "routing": {
            "backend": backend,
            "upstream_mode": "chat",
            "mcp_enabled": False,
            "mcp_servers": [],
            "system_prompt_applied": True,
        },
        "token_usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cached_tokens": prompt // 4,
        },
        "cost": {"input_cost": 0.0021, "output_cost": 0.0034, "total_cost": 0.0055},
    }


def _success(completion: int) -> dict[str, Any]:
    return {
        "status_code": 200,
        "size_bytes": 4_096,
        "output_tokens": completion,
        "success": True,
        "error_message": None,
    }


def _failure() -> dict[str, Any]:
    message = "Rate limit reached for requests; try again in 20 s"
    return {"status_code": 429, "size_bytes": 180, "success": False, "error_message": message}


def bodies(count: int, size: int) -> Iterator[bytes]:
    """`count` JSON bodies of `size` different events each; one event is an object by itself."""
    for start in range(0, count * size, size):
        events = [complete_event(number) for number in range(start, start + size)]
        yield msgspec.json.encode(events[0] if size == 1 else events)


def request(body: bytes) -> bytes:
    """The bytes of a POST of `body` to ingest, on a connection that stays open."""
    head = (
        "POST /analytics/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def query(target: str) -> bytes:
    """The bytes of a GET of `target`, on a connection that stays open."""
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
