"""The event: the form that producers send, and the form that is stored.

`Received…` types are the wire form in. Their constraints are the bounds of the event, checked
while msgspec decodes. `Event` and its parts are the stored form: one line of the JSONL store and
one element of `GET /analytics/events`. What lies between the two is `ingest` (checks, strips,
hashes) and `worker.normalise` (works out what was absent).

Times are Unix seconds UTC, durations milliseconds, sizes bytes, costs in `currency` units.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

MAX_ID = 128
MAX_TEXT = 1_024
MAX_ERROR_MESSAGE = 2_048
MAX_MCP_SERVERS = 64
MAX_COUNT = 2**53
"""The largest integer that every JSON reader keeps exact; a count above it is an error."""
MAX_NUMBER = 1e15
MIN_TIMESTAMP = 946_684_800
"""2000-01-01T00:00:00Z."""
MAX_AHEAD_SECONDS = 86_400

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
ErrorText = Annotated[str, Meta(max_length=MAX_ERROR_MESSAGE)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Meta(ge=0, le=MAX_NUMBER)]
StatusCode = Annotated[int, Meta(ge=100, le=599)]


class ReceivedRequest(Struct, omit_defaults=True, gc=False):
    endpoint: Text
    method: Text = "POST"
    model: Text | None = None
    stream: bool = False
    size_bytes: Count = 0
    message_count: Count | None = None
    input_tokens: Count | None = None
    user_agent: Text | None = None
    client_ip: Text | None = None


class ReceivedResponse(Struct, omit_defaults=True, gc=False):
    status_code: StatusCode = 200
    size_bytes: Count = 0
    output_tokens: Count | None = None
    success: bool | None = None
    error_message: ErrorText | None = None


class ReceivedPerformance(Struct, omit_defaults=True, gc=False):
    duration_ms: Number = 0.0
    ttfb_ms: Number | None = None
    upstream_duration_ms: Number | None = None
    tokens_per_second: Number | None = None


class ReceivedAuth(Struct, omit_defaults=True, gc=False):
    authenticated: bool = False
    api_key: str | None = None
    """The raw key. Ingest replaces it by `api_key_id`; it is never queued."""
    api_key_id: Text | None = None
    api_key_label: Text | None = None
    auth_method: Text | None = None


class ReceivedRouting(Struct, omit_defaults=True, gc=False):
    backend: Text = "unknown"
    upstream_mode: Text = "unknown"
    mcp_enabled: bool = False
    mcp_servers: Annotated[tuple[Text, ...], Meta(max_length=MAX_MCP_SERVERS)] = ()
    system_prompt_applied: bool = False


class ReceivedTokenUsage(Struct, omit_defaults=True, gc=False):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count | None = None
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class ReceivedCost(Struct, omit_defaults=True, gc=False):
    input_cost: Number = 0.0
    output_cost: Number = 0.0
    cached_cost: Number | None = None
    total_cost: Number | None = None
    currency: Text = "USD"
    pricing_model: Text | None = None


class ReceivedEvent(Struct, omit_defaults=True, gc=False):
    """An event as a producer sends it; after ingest's checks, as it lies on the stream.

    Unknown fields are dropped by the decoder, at every level.
    """

    request: ReceivedRequest
    id: str | None = None
    timestamp: int | float | str | None = None
    response: ReceivedResponse | None = None
    performance: ReceivedPerformance = field(default_factory=ReceivedPerformance)
    auth: ReceivedAuth = field(default_factory=ReceivedAuth)
    routing: ReceivedRouting = field(default_factory=ReceivedRouting)
    token_usage: ReceivedTokenUsage | None = None
    cost: ReceivedCost | None = None


class Request(Struct, gc=False):
    endpoint: str
    method: str = "POST"
    model: str | None = None
    stream: bool = False
    size_bytes: int = 0
    message_count: int | None = None
    input_tokens: int | None = None
    user_agent: str | None = None
    client_ip: str | None = None


class Response(Struct, gc=False):
    status_code: int = 200
    size_bytes: int = 0
    output_tokens: int | None = None
    success: bool | None = None
    error_message: str | None = None

    @property
    def succeeded(self) -> bool:
        """`success`, or what the status says where the sender left it out."""
        return 200 <= self.status_code < 400 if self.success is None else self.success


class Performance(Struct, gc=False):
    duration_ms: float = 0.0
    ttfb_ms: float | None = None
    upstream_duration_ms: float | None = None
    tokens_per_second: float | None = None


class Auth(Struct, gc=False):
    authenticated: bool = False
    api_key_id: str | None = None
    api_key_label: str | None = None
    auth_method: str | None = None


class Routing(Struct, gc=False):
    backend: str = "unknown"
    upstream_mode: str = "unknown"
    mcp_enabled: bool = False
    mcp_servers: list[str] = field(default_factory=list)
    system_prompt_applied: bool = False


class TokenUsage(Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class Cost(Struct, gc=False):
    input_cost: float = 0.0
    output_cost: float = 0.0
    cached_cost: float | None = None
    total_cost: float | None = None
    currency: str = "USD"
    pricing_model: str | None = None


class Event(Struct, gc=False):
    """One request/response cycle of a gateway, as it is stored and returned."""

    id: str
    timestamp: int
    request: Request
    response: Response | None = None
    performance: Performance = field(default_factory=Performance)
    auth: Auth = field(default_factory=Auth)
    routing: Routing = field(default_factory=Routing)
    token_usage: TokenUsage | None = None
    cost: Cost | None = None

    @property
    def input_tokens(self) -> int | None:
        """Prompt tokens of `token_usage` where present, else `request.input_tokens`."""
        if self.token_usage is not None:
            return self.token_usage.prompt_tokens
        return self.request.input_tokens

    @property
    def output_tokens(self) -> int | None:
        """Completion tokens of `token_usage` where present, else `response.output_tokens`."""
        if self.token_usage is not None:
            return self.token_usage.completion_tokens
        return None if self.response is None else self.response.output_tokens

    @property
    def total_cost(self) -> float | None:
        """What the request cost, or None where it has no price."""
        return None if self.cost is None else self.cost.total_cost
