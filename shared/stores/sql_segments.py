"""A segment: packed cells of one cube, one grain and one block of time, as one value of a row.

Appending writes new segments and changes none, so writers never wait for one another; what several
segments hold is added up when they are read, and now and then they are replaced by their sum.

A segment carries the values that its cells are told apart by. When it goes nothing of them stays.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import numpy as np
import zstandard

from shared.stores.base import DimensionValue
from shared.stores.rollup import Cube
from shared.stores.sql_cells import COUNTERS, Cells, Column, Histograms

_VERSION = 1


class _Packed(msgspec.Struct, array_like=True):
    version: int
    starts: bytes
    values: list[list[str | int | bool | None]]
    codes: bytes
    counters: bytes
    sums: bytes
    cell: bytes
    bucket: bytes
    count: bytes


class _Zstandard(threading.local):
    """What compresses; one for each thread, because it may not be shared, kept as it is dear."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        self.decompressor = zstandard.ZstdDecompressor()


_zstandard = _Zstandard()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


def pack(cells: Cells, block: int) -> bytes:
    """Cells of the block that starts at `block`; it and the cube are the row's to know."""
    packed = _Packed(
        version=_VERSION,
        starts=_bytes(cells.start - block, "<u4"),
        values=[column.values for column in cells.columns.values()],
        codes=_bytes([column.codes for column in cells.columns.values()], "<u4"),
        counters=_bytes(cells.counters, "<i8"),
        sums=_bytes(cells.sums, "<f8"),
        cell=_bytes(cells.histograms.cell, "<u4"),
        bucket=_bytes(cells.histograms.bucket, "<u2"),
        count=_bytes(cells.histograms.count, "<i8"),
    )
    return _zstandard.compressor.compress(_encoder.encode(packed))


def unpack(data: bytes, cube: Cube, block: int) -> Cells:
    """The cells of a segment of `cube`."""
    packed = _decoder.decode(_zstandard.decompressor.decompress(data))
    if packed.version != _VERSION:
        raise ValueError(f"a rollup segment of version {packed.version}, known is {_VERSION}")
    counters = np.frombuffer(packed.counters, dtype="<i8").reshape(len(COUNTERS), -1)
    size = counters.shape[1]
    codes = np.frombuffer(packed.codes, dtype="<u4").astype(np.int64).reshape(-1, size)
    values: list[list[DimensionValue]] = packed.values
    return Cells(
        np.frombuffer(packed.starts, dtype="<u4").astype(np.int64) + block,
        {name: Column(values[n], codes[n]) for n, name in enumerate(cube.dimensions)},
        counters,
        np.frombuffer(packed.sums, dtype="<f8").reshape(-1, size),
        Histograms(
            np.frombuffer(packed.cell, dtype="<u4").astype(np.int64),
            np.frombuffer(packed.bucket, dtype="<u2").astype(np.int64),
            np.frombuffer(packed.count, dtype="<i8"),
        ),
    )


def _bytes(numbers: Any, kind: str) -> bytes:
    return np.asarray(numbers).astype(kind).tobytes()
