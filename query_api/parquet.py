"""Events as a Parquet file, written as they come: one row group is all that is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from shared.events import Event

from query_api.columns import COLUMNS, Kind

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROW_GROUP = 40_000
"""Rows of a group, at least: about 35 MB of memory while it is written. Each adds 32 KB to the
footer, which is in memory to the end."""


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

    schema = _schema(columns)
    getters = [COLUMNS[name].get for name in columns]
    written = _Written()
    with _writer(written, schema) as writer:
        for batches in _groups(_batches(chunks, schema, getters)):
            writer.write_table(pa.Table.from_batches(batches, schema))
            # Else it would stay until the next one is whole.
            batches.clear()
            yield written.take()
    yield written.take()


def _writer(written: _Written, schema: pa.Schema) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        written,
        schema,
        compression="zstd",
        # Bounds of every column would be most of the footer.
        write_statistics=[name for name in schema.names if name == "timestamp"],
        # Numbers and ids repeat too little: their dictionaries made a file a fifth larger.
        use_dictionary=[
            name for name in schema.names if COLUMNS[name].kind == "text" and name != "id"
        ],
    )


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
