"""What the index knows of each line: the figures that are added up, and where the line is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from shared.events import Event
from shared.stores.jsonl_engine import Session
from shared.stores.jsonl_reader import decode_block

LATENCY_STEP = 1.015
"""The ratio of a latency bucket's bounds: the most that a percentile may be off by."""


class Row(msgspec.Struct, gc=False):
    """A line of the file. `success` is None where there is no response."""

    timestamp: int
    id: str
    offset: int
    length: int
    model: str | None
    endpoint: str
    backend: str
    api_key_id: str | None
    status_code: int | None
    success: bool | None
    upstream_mode: str
    stream: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    total_cost: float | None
    duration_ms: float
    tokens_per_second: float | None


_TYPES = {
    "timestamp": "BIGINT",
    "id": "VARCHAR",
    "offset": "BIGINT",
    "length": "BIGINT",
    "model": "VARCHAR",
    "endpoint": "VARCHAR",
    "backend": "VARCHAR",
    "api_key_id": "VARCHAR",
    "status_code": "INTEGER",
    "success": "BOOLEAN",
    "upstream_mode": "VARCHAR",
    "stream": "BOOLEAN",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cached_tokens": "BIGINT",
    "reasoning_tokens": "BIGINT",
    "total_cost": "DOUBLE",
    "duration_ms": "DOUBLE",
    "tokens_per_second": "DOUBLE",
}
_DECLARED = ", ".join(f"\"{name}\": '{kind}'" for name, kind in _TYPES.items())
# A duration of nothing, or as good as nothing, has the lowest bucket.
_BUCKET = (
    f"CASE WHEN duration_ms < 1e-200 THEN -32768"
    f" ELSE floor(ln(duration_ms) / ln({LATENCY_STEP})) END::SMALLINT"
)

CREATE_TAIL = (
    "CREATE OR REPLACE TABLE tail ("
    + ", ".join(f'"{name}" {kind}' for name, kind in _TYPES.items())
    + ", latency_bucket SMALLINT)"
)
ROWS = (
    f"SELECT *, {_BUCKET} AS latency_bucket FROM read_json(?, format = 'newline_delimited',"
    f" ignore_errors = true, maximum_object_size = ?, columns = {{{_DECLARED}}})"
)
"""A SELECT of the rows of a file of rows; its parameters are RowFile.parameters."""

_FAR = 2**62

_encoder = msgspec.json.Encoder()


def row_of(event: Event, offset: int, length: int) -> Row:
    """The row of an event whose line of `length` bytes begins at `offset`."""
    request, response, usage = event.request, event.response, event.token_usage
    return Row(
        event.timestamp,
        event.id,
        offset,
        length,
        request.model,
        request.endpoint,
        event.routing.backend,
        event.auth.api_key_id,
        None if response is None else response.status_code,
        None if response is None else response.succeeded,
        event.routing.upstream_mode,
        request.stream,
        event.input_tokens or 0,
        event.output_tokens or 0,
        0 if usage is None else usage.cached_tokens or 0,
        0 if usage is None else usage.reasoning_tokens or 0,
        event.total_cost,
        event.performance.duration_ms,
        event.performance.tokens_per_second,
    )


class RowFile:
    """Rows on their way into DuckDB: a temporary file that it reads with both its threads.

    Six times as fast as parameters of an INSERT.
    """

    def __init__(self, folder: Path) -> None:
        self._fd, name = tempfile.mkstemp(suffix=".rows", dir=folder)
        self.path = Path(name)
        self.rows = 0
        self.malformed = 0
        self.times = (_FAR, -_FAR)
        """The oldest and the newest timestamp."""
        self._longest = 1 << 16

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        self.path.unlink(missing_ok=True)

    def add(self, block: bytes, offset: int) -> None:
        """Take in the events of a block of lines; `offset` is what the first row's is to be."""
        lines = decode_block(block)
        self.malformed += lines.malformed
        if not lines.events:
            return
        rows = [
            row_of(event, offset + start, length)
            for event, start, length in zip(lines.events, lines.starts, lines.lengths, strict=True)
        ]
        self._note_times([row.timestamp for row in rows])
        self.rows += len(rows)
        encoded = memoryview(_encoder.encode_lines(rows))
        # No row is longer than all of them.
        self._longest = max(self._longest, len(encoded))
        while encoded:
            encoded = encoded[os.write(self._fd, encoded) :]

    def _note_times(self, times: list[int]) -> None:
        oldest, newest = self.times
        self.times = max(-_FAR, min(oldest, *times)), min(_FAR, max(newest, *times))

    @property
    def parameters(self) -> list[object]:
        """The parameters of `ROWS`."""
        return [str(self.path), self._longest]

    def insert_into_tail(self, session: Session) -> None:
        if self.rows:
            session.rows(f"INSERT INTO tail {ROWS}", self.parameters)
