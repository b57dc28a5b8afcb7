"""`GET /analytics/export`: the events of a range as a file, streamed."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import falcon
import msgspec
from shared.events import Event
from shared.http import Right
from shared.openapi import TEXT, Answer, Operation, describe
from shared.stores.base import Selection, Store

from query_api.answers import BAD_PARAMETER, STORE_AWAY, Clock
from query_api.compress import accepts_gzip
from query_api.parameters import SELECTION, choice, names
from query_api.params import DAY, Params

_json = msgspec.json.Encoder()

Getter = Callable[[Event], Any]


def _part(group: str, name: str) -> Getter:
    def get(event: Event) -> Any:
        part = getattr(event, group)
        return None if part is None else getattr(part, name)

    return get


COLUMNS: dict[str, Getter] = {
    "id": lambda event: event.id,
    "timestamp": lambda event: event.timestamp,
    "endpoint": _part("request", "endpoint"),
    "method": _part("request", "method"),
    "model": _part("request", "model"),
    "stream": _part("request", "stream"),
    "status_code": _part("response", "status_code"),
    "success": lambda event: None if event.response is None else event.response.succeeded,
    "duration_ms": _part("performance", "duration_ms"),
    "input_tokens": lambda event: event.input_tokens,
    "output_tokens": lambda event: event.output_tokens,
    "backend": _part("routing", "backend"),
    "upstream_mode": _part("routing", "upstream_mode"),
    "request_size_bytes": _part("request", "size_bytes"),
    "message_count": _part("request", "message_count"),
    "user_agent": _part("request", "user_agent"),
    "client_ip": _part("request", "client_ip"),
    "response_size_bytes": _part("response", "size_bytes"),
    "error_message": _part("response", "error_message"),
    "ttfb_ms": _part("performance", "ttfb_ms"),
    "upstream_duration_ms": _part("performance", "upstream_duration_ms"),
    "tokens_per_second": _part("performance", "tokens_per_second"),
    "authenticated": _part("auth", "authenticated"),
    "api_key_id": _part("auth", "api_key_id"),
    "api_key_label": _part("auth", "api_key_label"),
    "auth_method": _part("auth", "auth_method"),
    "mcp_enabled": _part("routing", "mcp_enabled"),
    "mcp_servers": lambda event: " ".join(event.routing.mcp_servers),
    "system_prompt_applied": _part("routing", "system_prompt_applied"),
    "total_tokens": _part("token_usage", "total_tokens"),
    "cached_tokens": _part("token_usage", "cached_tokens"),
    "cache_write_tokens": _part("token_usage", "cache_write_tokens"),
    "reasoning_tokens": _part("token_usage", "reasoning_tokens"),
    "input_cost": _part("cost", "input_cost"),
    "output_cost": _part("cost", "output_cost"),
    "cached_cost": _part("cost", "cached_cost"),
    "total_cost": _part("cost", "total_cost"),
    "currency": _part("cost", "currency"),
    "pricing_model": _part("cost", "pricing_model"),
}
"""Every CSV column by name. `input_tokens` and `output_tokens` are the ones that are counted."""

DEFAULT_COLUMNS = tuple(COLUMNS)[:13]

# OWASP's list of first characters that make a spreadsheet run a cell as a formula; the last four
# are the full-width forms that some locales read alike.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def json_document(chunks: Iterable[list[Event]], selection: Selection) -> Iterator[bytes]:
    """`{"events": […], "count": n, "period": {"start", "end"}}`."""
    count = 0
    yield b'{"events":['
    for events in chunks:
        yield (b"," if count else b"") + _json.encode(events)[1:-1]
        count += len(events)
    period = {"start": selection.start, "end": selection.end}
    yield b'],"count":%d,"period":%s}\n' % (count, _json.encode(period))


def ndjson_lines(chunks: Iterable[list[Event]]) -> Iterator[bytes]:
    """One event a line."""
    for events in chunks:
        yield _json.encode_lines(events)


def csv_rows(chunks: Iterable[list[Event]], columns: list[str]) -> Iterator[bytes]:
    """RFC 4180, with a header row. True and false in lower case, null as an empty cell."""
    getters = [COLUMNS[name] for name in columns]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for events in chunks:
        writer.writerows([_cell(get(event)) for get in getters] for event in events)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA_STARTS) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts as one gzip stream."""
    pack = zlib.compressobj(level=6, wbits=31)
    for part in parts:
        if packed := pack.compress(part):
            yield packed
    yield pack.flush()


FORMATS = {
    "json": falcon.MEDIA_JSON,
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
}


FORMAT = choice("format", tuple(FORMATS), "json", about="What kind of file.")
CHOSEN = names("columns", tuple(COLUMNS), DEFAULT_COLUMNS, about="Columns of a CSV; `all`: each.")
PARAMETERS = (*SELECTION, FORMAT, CHOSEN)


class Period(msgspec.Struct):
    """The range of an export, in Unix seconds."""

    start: int
    end: int


class Document(msgspec.Struct):
    """An export as JSON."""

    events: list[Event]
    count: int
    period: Period


OPERATION = Operation(
    summary="The events of a range as a file, a day where none is given",
    about="Streamed: as large as you like. `Accept-Encoding: gzip` is honoured.",
    right=Right.QUERY,
    parameters=PARAMETERS,
    answers={
        200: Answer(
            about="The file",
            content={
                falcon.MEDIA_JSON: Document,
                "text/csv": TEXT,
                "application/x-ndjson": TEXT,
            },
            headers={"Content-Disposition": "The name of the file"},
        ),
        400: BAD_PARAMETER,
        503: STORE_AWAY,
    },
)


class ExportResource:
    """The events of a range as a file, streamed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @describe(OPERATION)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, PARAMETERS)
        selection = params.selection(self._clock(), default_span=DAY)
        name, columns = params[FORMAT], params[CHOSEN]
        chunks = _begun(self._store.scan(selection))
        if name == "csv":
            parts = csv_rows(chunks, columns)
        elif name == "ndjson":
            parts = ndjson_lines(chunks)
        else:
            parts = json_document(chunks, selection)
        if accepts_gzip(request):
            response.set_header("Content-Encoding", "gzip")
            parts = gzipped(parts)
        response.set_header("Vary", "Accept-Encoding")
        response.content_type = FORMATS[name]
        response.downloadable_as = f"analytics_{selection.start}_to_{selection.end}.{name}"
        response.stream = parts


def _begun(chunks: Iterator[list[Event]]) -> Iterator[list[Event]]:
    """`chunks` with the first already read, so that a store that is away is still an error."""
    first = next(chunks, None)
    return chunks if first is None else chain([first], chunks)
