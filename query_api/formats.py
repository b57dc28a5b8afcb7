"""The formats of an export: how events become the bytes of a file, a chunk at a time."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import falcon
import msgspec
from shared.events import Event
from shared.openapi import BINARY, TEXT
from shared.stores.base import Selection

from query_api.columns import COLUMNS, DEFAULT_COLUMNS
from query_api.parquet import parquet_file

_json = msgspec.json.Encoder()

# OWASP's list of first characters that make a spreadsheet run a cell as a formula; the last four
# are the full-width forms that some locales read alike.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Chunks = Iterable[list[Event]]


class Period(msgspec.Struct):
    """The range of an export, in Unix seconds."""

    start: int
    end: int


class Document(msgspec.Struct):
    """An export as JSON."""

    events: list[Event]
    count: int
    period: Period


def json_document(chunks: Chunks, selection: Selection) -> Iterator[bytes]:
    """A `Document`, written as the events come."""
    count = 0
    yield b'{"events":['
    for events in chunks:
        yield (b"," if count else b"") + _json.encode(events)[1:-1]
        count += len(events)
    period = _json.encode(Period(selection.start, selection.end))
    yield b'],"count":%d,"period":%s}\n' % (count, period)


def ndjson_lines(chunks: Chunks) -> Iterator[bytes]:
    """One event a line."""
    for events in chunks:
        yield _json.encode_lines(events)


def csv_rows(chunks: Chunks, columns: Sequence[str]) -> Iterator[bytes]:
    """RFC 4180, with a header row. True and false in lower case, null as an empty cell."""
    getters = [COLUMNS[name].get for name in columns]
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
    if isinstance(value, list):
        value = " ".join(value)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file. `columns` are those of one that has columns, where none are chosen."""

    media_type: str
    schema: Any
    write: Callable[[Chunks, Selection, Sequence[str]], Iterator[bytes]]
    columns: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    "json": Format(
        media_type=falcon.MEDIA_JSON,
        schema=Document,
        write=lambda chunks, selection, columns: json_document(chunks, selection),
    ),
    "csv": Format(
        media_type="text/csv; charset=utf-8",
        schema=TEXT,
        write=lambda chunks, selection, columns: csv_rows(chunks, columns),
        columns=DEFAULT_COLUMNS,
    ),
    "ndjson": Format(
        media_type="application/x-ndjson",
        schema=TEXT,
        write=lambda chunks, selection, columns: ndjson_lines(chunks),
    ),
    "parquet": Format(
        media_type="application/vnd.apache.parquet",
        schema=BINARY,
        write=lambda chunks, selection, columns: parquet_file(chunks, columns),
        columns=tuple(COLUMNS),
    ),
}
"""By name, which is also the extension of the file."""
