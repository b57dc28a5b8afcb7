"""CSV as an export writes it, as batches of events."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from routiium_client.cli import lines as files
from routiium_client.cli.lines import Batch, Place, content_id
from routiium_client.cli.service import Failure

_encode = msgspec.json.encode


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
    for row in islice(rows, files.BATCH_LINES):
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
