"""Events as a Parquet file, written as they come: one row group is all that is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from shared.events import Event

from query_api.columns import COLUMNS, Kind

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 20_000
"""Rows of a group, at least: about 20 MB of memory while it is written."""


class _Written:
    """A file that is only written to, and whose bytes are taken away as they come."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def parquet_file(chunks: Iterable[list[Event]], columns: Sequence[str]) -> Iterator[bytes]:
    """A Parquet file of the columns: zstd, times as UTC timestamps, lists as lists."""
    # Imported when first asked for: it is 50 MB of a process that may never need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow's own pool keeps what it once had: 15 MB more at the peak of a long export.
    pa.set_memory_pool(pa.system_memory_pool())
    schema = _schema(columns)
    getters = [COLUMNS[name].get for name in columns]
    written = _Written()
    # The footer stays in memory to the end; bounds of every column would be most of it.
    bounded = [name for name in columns if name == "timestamp"]
    with pq.ParquetWriter(written, schema, compression="zstd", write_statistics=bounded) as writer:
        for batches in _groups(_batches(chunks, schema, getters)):
            writer.write_table(pa.Table.from_batches(batches, schema))
            yield written.take()
    yield written.take()


def _schema(columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    kinds: dict[Kind, pa.DataType] = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "time": pa.timestamp("s", tz="UTC"),
    }
    return pa.schema([(name, kinds[COLUMNS[name].kind]) for name in columns])


def _batches(
    chunks: Iterable[list[Event]], schema: pa.Schema, getters: Sequence[Any]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for events in chunks:
        arrays = [
            pa.array([get(event) for event in events], type=kind)
            for get, kind in zip(getters, schema.types, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The batches in lists of ROW_GROUP rows or more, but for the last."""
    group: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        if rows >= ROW_GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group
