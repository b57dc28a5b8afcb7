"""Files as batches of events, each a line of JSON with an id.

An event without an id gets one made from what its line says, so the same line is the same event
however often it is imported. Two lines that say the very same, id left out, are one event.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, BinaryIO, Protocol

import msgspec

from routiium_client.cli.service import Failure

BATCH_LINES = 5_000
BATCH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Between two records of a file: bytes and lines before it."""

    offset: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`numbers` are the lines' in the file, from 1; `end` is where the next batch begins."""

    lines: list[bytes]
    numbers: list[int]
    end: Place

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.lines) // 2
        return (
            Batch(self.lines[:middle], self.numbers[:middle], self.end),
            Batch(self.lines[middle:], self.numbers[middle:], self.end),
        )


class Reader(Protocol):
    """Reads a file from a place on; raises Failure where it is not of the format."""

    def __call__(self, file: BinaryIO, place: Place) -> Iterator[Batch]: ...


class _Known(msgspec.Struct):
    """All that must be known of a line."""

    id: Any = None


_known = msgspec.json.Decoder(_Known)
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.encode


def read_jsonl(file: BinaryIO, place: Place) -> Iterator[Batch]:
    """One event a line. What is no event goes on as it is: ingest says what is wrong with it.

    A last line without its newline may still be written to: it is sent, and read again next time.
    """
    file.seek(place.offset)
    while lines := _some_lines(file):
        numbers = range(place.line + 1, place.line + len(lines) + 1)
        finished = lines if lines[-1].endswith(b"\n") else lines[:-1]
        size = sum(map(len, finished))
        place = Place(place.offset + size, place.line + len(finished))
        kept = [(line, number) for line, number in zip(lines, numbers, strict=True) if line.strip()]
        yield Batch(_identified([line for line, _ in kept]), [n for _, n in kept], place)


def _some_lines(file: BinaryIO) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    for line in islice(file, BATCH_LINES):
        lines.append(line)
        size += len(line)
        if size >= BATCH_BYTES:
            break
    return lines


def _identified(lines: list[bytes]) -> list[bytes]:
    try:
        known = _known.decode_lines(b"".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [_with_id(line) for line in lines]
    if len(known) == len(lines) and all(one.id is not None for one in known):
        return lines
    return [_with_id(line) for line in lines]


def _with_id(line: bytes) -> bytes:
    try:
        if _known.decode(line).id is not None:
            return line
        event = _object.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    return _encode({**event, "id": content_id(line.strip())})


def content_id(content: bytes) -> str:
    """The id of an event that has none: it depends on nothing but what its line says."""
    return "line-" + blake2b(content, digest_size=16).hexdigest()


def read_csv(file: BinaryIO, place: Place) -> Iterator[Batch]:
    """Columns by the names that an export gives them; unknown ones are left out."""
    file.seek(0)
    counted = _Counted(file)
    columns = next(csv.reader(counted), [])
    if "endpoint" not in columns:
        raise Failure(f"the first line names no column endpoint, but: {', '.join(columns)[:200]}")
    if place.offset:
        file.seek(place.offset)
        counted.place = place
    rows = csv.reader(counted)
    while batch := _some_rows(rows, counted, columns):
        yield batch


def _some_rows(rows: Iterable[list[str]], counted: _Counted, columns: list[str]) -> Batch | None:
    lines, numbers = [], []
    for row in islice(rows, BATCH_LINES):
        if row:
            lines.append(_event_of(dict(zip(columns, row, strict=False))))
            numbers.append(counted.place.line)
    return Batch(lines, numbers, counted.place) if numbers else None


class _Counted:
    """A file's lines as text, and where they have come to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.place = Place()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self.place = Place(self.place.offset + len(line), self.place.line + 1)
        return line.decode("utf-8-sig" if self.place.line == 1 else "utf-8", "replace")


_GROUPS = {
    "endpoint": "request",
    "method": "request",
    "model": "request",
    "stream": "request",
    "request_size_bytes": "request",
    "message_count": "request",
    "user_agent": "request",
    "client_ip": "request",
    "input_tokens": "request",
    "status_code": "response",
    "success": "response",
    "response_size_bytes": "response",
    "error_message": "response",
    "output_tokens": "response",
    "duration_ms": "performance",
    "ttfb_ms": "performance",
    "upstream_duration_ms": "performance",
    "tokens_per_second": "performance",
    "authenticated": "auth",
    "api_key_id": "auth",
    "api_key_label": "auth",
    "auth_method": "auth",
    "backend": "routing",
    "upstream_mode": "routing",
    "mcp_enabled": "routing",
    "mcp_servers": "routing",
    "system_prompt_applied": "routing",
    "total_tokens": "token_usage",
    "cached_tokens": "token_usage",
    "cache_write_tokens": "token_usage",
    "reasoning_tokens": "token_usage",
    "input_cost": "cost",
    "output_cost": "cost",
    "cached_cost": "cost",
    "total_cost": "cost",
    "currency": "cost",
    "pricing_model": "cost",
}
"""Column of an export to the group of its field."""

_TEXTS = frozenset(
    {
        "endpoint",
        "method",
        "model",
        "user_agent",
        "client_ip",
        "error_message",
        "api_key_id",
        "api_key_label",
        "auth_method",
        "backend",
        "upstream_mode",
        "currency",
        "pricing_model",
    }
)
_FIELDS = {"request_size_bytes": "size_bytes", "response_size_bytes": "size_bytes"}


def _event_of(row: dict[str, str]) -> bytes:
    event: dict[str, Any] = {}
    for column, cell in row.items():
        if cell and (group := _GROUPS.get(column)):
            event.setdefault(group, {})[_FIELDS.get(column, column)] = _value(column, cell)
    _count_tokens(event)
    if at := row.get("timestamp"):
        event["timestamp"] = _number(at)
    event["id"] = row.get("id") or content_id("\0".join(row.values()).encode())
    return _encode(event)


def _count_tokens(event: dict[str, Any]) -> None:
    """An export's two counts are the ones that were counted: those of `token_usage` if it has it.

    Without a status there was no response, whatever else its columns say.
    """
    request, response = event.get("request", {}), event.get("response", {})
    if usage := event.get("token_usage"):
        usage["prompt_tokens"] = request.pop("input_tokens", 0)
        usage["completion_tokens"] = response.pop("output_tokens", 0)
    if "status_code" not in response:
        event.pop("response", None)


def _value(column: str, cell: str) -> Any:
    # An export puts a quote before a cell that a spreadsheet would run.
    plain = cell[1:] if cell.startswith("'") else cell
    if column == "mcp_servers":
        return plain.split()
    if column in _TEXTS:
        return plain
    return {"true": True, "false": False}.get(plain.lower(), _number(plain))


def _number(cell: str) -> int | float | str:
    """A number where it is one; ingest names the field of what is none."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell
