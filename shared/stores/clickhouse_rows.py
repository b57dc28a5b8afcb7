"""Events as rows of ClickHouse's table: the columns, and both directions.

A row is flat, in the order of the event's own fields. A group that an event may lack (`response`,
`token_usage`, `cost`) is null in the first of its columns, which is never null where it is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import msgspec
from msgspec.structs import astuple

from shared.events import Auth, Cost, Event, Performance, Request, Response, Routing, TokenUsage

T = TypeVar("T", bound=msgspec.Struct)
Row = tuple[Any, ...]
ROW_FORMAT = "JSONCompactEachRow"

_TEXT = "ZSTD(1)"
_COUNT = "T64, ZSTD(1)"
_NUMBER = "ZSTD(1)"
_FAST = "LZ4"
"""For what figures and filters read: ZSTD costs three times the time to read it."""


class Column(NamedTuple):
    """`plain` is the type that a batch is parsed as: LowCardinality takes three times as long."""

    name: str
    plain: str
    codec: str = _FAST
    low_cardinality: bool = False

    @property
    def type(self) -> str:
        return f"LowCardinality({self.plain})" if self.low_cardinality else self.plain


def _words(name: str, *, nullable: bool = False) -> Column:
    """Text of few different values."""
    return Column(name, "Nullable(String)" if nullable else "String", low_cardinality=True)


COLUMNS = (
    Column("id", "String", _TEXT),
    Column("timestamp", "DateTime('UTC')", "Delta, LZ4"),
    _words("endpoint"),
    _words("method"),
    _words("model", nullable=True),
    Column("stream", "Bool"),
    Column("request_size_bytes", "UInt64", _COUNT),
    Column("message_count", "Nullable(UInt64)", _COUNT),
    Column("request_input_tokens", "Nullable(UInt64)", _COUNT),
    _words("user_agent", nullable=True),
    Column("client_ip", "Nullable(String)", _TEXT),
    Column("status_code", "Nullable(UInt16)"),
    Column("response_size_bytes", "UInt64", _COUNT),
    Column("response_output_tokens", "Nullable(UInt64)", _COUNT),
    Column("response_success", "Nullable(Bool)"),
    Column("error_message", "Nullable(String)", _TEXT),
    Column("duration_ms", "Float64"),
    Column("ttfb_ms", "Nullable(Float64)", _NUMBER),
    Column("upstream_duration_ms", "Nullable(Float64)", _NUMBER),
    Column("tokens_per_second", "Nullable(Float64)"),
    Column("authenticated", "Bool"),
    _words("api_key_id", nullable=True),
    _words("api_key_label", nullable=True),
    _words("auth_method", nullable=True),
    _words("backend"),
    _words("upstream_mode"),
    Column("mcp_enabled", "Bool"),
    Column("mcp_servers", "Array(String)", _TEXT),
    Column("system_prompt_applied", "Bool"),
    Column("prompt_tokens", "Nullable(UInt64)", _COUNT),
    Column("completion_tokens", "UInt64", _COUNT),
    Column("total_tokens", "Nullable(UInt64)", _COUNT),
    Column("cached_tokens", "Nullable(UInt64)", "T64, LZ4"),
    Column("cache_write_tokens", "Nullable(UInt64)", _COUNT),
    Column("reasoning_tokens", "Nullable(UInt64)", "T64, LZ4"),
    Column("input_cost", "Nullable(Float64)", _NUMBER),
    Column("output_cost", "Float64", _NUMBER),
    Column("cached_cost", "Nullable(Float64)", _NUMBER),
    Column("total_cost", "Nullable(Float64)"),
    _words("currency"),
    _words("pricing_model", nullable=True),
)
NAMES = tuple(column.name for column in COLUMNS)

_GROUPS: tuple[type[msgspec.Struct], ...] = (
    Request,
    Response,
    Performance,
    Auth,
    Routing,
    TokenUsage,
    Cost,
)


def _nothing(group: type[msgspec.Struct]) -> Row:
    return (None,) * len(group.__struct_fields__)


_NO_RESPONSE, _NO_USAGE, _NO_COST = _nothing(Response), _nothing(TokenUsage), _nothing(Cost)


def row_of(event: Event) -> Row:
    """The event's values in the order of `COLUMNS`."""
    response, usage, cost = event.response, event.token_usage, event.cost
    return (
        event.id,
        event.timestamp,
        *astuple(event.request),
        *(_NO_RESPONSE if response is None else astuple(response)),
        *astuple(event.performance),
        *astuple(event.auth),
        *astuple(event.routing),
        *(_NO_USAGE if usage is None else astuple(usage)),
        *(_NO_COST if cost is None else astuple(cost)),
    )


def _slices() -> list[slice]:
    """Where each group's values are in a row."""
    found, start = [], 2
    for group in _GROUPS:
        stop = start + len(group.__struct_fields__)
        found.append(slice(start, stop))
        start = stop
    return found


_REQUEST, _RESPONSE, _PERFORMANCE, _AUTH, _ROUTING, _USAGE, _COST = _slices()


def event_of(row: Row) -> Event:
    """The event that `row_of` made the row of."""
    return Event(
        row[0],
        row[1],
        Request(*row[_REQUEST]),
        _present(Response, row[_RESPONSE]),
        Performance(*row[_PERFORMANCE]),
        Auth(*row[_AUTH]),
        Routing(*row[_ROUTING]),
        _present(TokenUsage, row[_USAGE]),
        _present(Cost, row[_COST]),
    )


def _present(group: type[T], values: Row) -> T | None:
    return None if values[0] is None else group(*values)


def _row_type() -> Any:
    """A row's type, taken from the event's parts; a value of a missing group is null or empty."""
    types: list[Any] = [str, int]
    for group in _GROUPS:
        hints = get_type_hints(group)
        first, *rest = (hints[name] for name in group.__struct_fields__)
        missing = group in (Response, TokenUsage, Cost)
        types += [first | None if missing else first, *rest]
    return tuple[tuple(types)]  # type: ignore[misc]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_row_type())


def encode_rows(rows: Iterable[Row]) -> bytes:
    """Rows in ROW_FORMAT."""
    return _encoder.encode_lines(rows)


def decode_events(data: bytes) -> list[Event]:
    """The events of rows in ROW_FORMAT."""
    return [event_of(row) for row in cast("list[Row]", _decoder.decode_lines(data))]
