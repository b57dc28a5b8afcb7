"""What a handler knows of its request and no middleware can see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypedDict, Unpack


class Notes(TypedDict, total=False):
    """`usage` is the provider's own object, or the event's `token_usage`; durations are in ms."""

    backend: str
    upstream_mode: str
    upstream_duration_ms: float
    mcp_servers: Sequence[str]
    system_prompt_applied: bool
    usage: Mapping[str, Any] | Any
    model: str
    authenticated: bool
    api_key_id: str
    api_key_label: str
    error_message: str


current: ContextVar[Notes | None] = ContextVar("routiium_client_notes", default=None)
"""Notes of the request that is being served here; None where no middleware is about it."""


def annotate(**notes: Unpack[Notes]) -> None:
    """Add to the event of the request that is being served; nothing happens outside of one.

    A later note replaces an earlier one of its name, and what the middleware itself has seen.
    """
    noted = current.get()
    if noted is not None:
        noted.update(notes)
