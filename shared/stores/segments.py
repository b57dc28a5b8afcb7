"""A segment: packed cells of one cube, one grain and one block of time, as one value of a row.

Appending writes new segments and changes none, so writers never wait for one another; what several
segments of one place hold is added up when they are read. Once a writer has put `MERGE_AT` of them
in one place, or a place has been quiet for a while, they are replaced by their sum.

A segment carries the values that its cells are told apart by. When it goes nothing of them stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import zstandard

from shared.stores.base import DimensionValue
from shared.stores.cells import COUNTERS, Cells
from shared.stores.columns import Column, Histograms
from shared.stores.rollup import BLOCKS, CUBES, PARTED, Cube, Place

MERGE_AT = 16
QUIET_SECONDS = 30.0
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


def placed(cells: Cells) -> Iterator[tuple[Place, Cells]]:
    """Events, given as cells of all dimensions, as what they add to each place."""
    for cube in CUBES:
        summed = cells
        for grain in reversed(cube.grains):
            summed = summed.coarser(cube.dimensions, grain)
            for block, each in summed.by_block(BLOCKS[grain]):
                parts = each.parts() if cube.name == PARTED else [(0, each)]
                for part, piece in parts:
                    yield Place(cube.name, grain, block, part), piece


class Tally:
    """How many segments this process has put where since it last merged them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count: dict[Place, int] = {}
        self._last: dict[Place, float] = {}

    def add(self, places: Iterable[Place]) -> None:
        now = self._clock()
        for place in places:
            self._count[place] = self._count.get(place, 0) + 1
            self._last[place] = now

    def take_due(self) -> list[Place]:
        """The places to merge now; the tally begins anew for them."""
        quiet = self._clock() - QUIET_SECONDS
        due = []
        for place, count in list(self._count.items()):
            if count < MERGE_AT and self._last[place] > quiet:
                continue
            del self._count[place], self._last[place]
            if count > 1:
                due.append(place)
        return due


def worth_merging(sizes: Sequence[int]) -> int:
    """How many of the sizes, ascending, to merge: up to the last that is no more than twice as
    large as those before it together.

    So a byte is rewritten as often as the logarithm of what it ends up in, and of what is left
    each is thrice the size of the one before.
    """
    worth = min(1, len(sizes))
    total = 0
    for count, size in enumerate(sizes, start=1):
        if size <= 2 * total:
            worth = count
        total += size
    return worth
