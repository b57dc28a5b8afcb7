"""Rollups in a table of segments: written, read and kept few.

A writer inserts segments and changes none, so that writers never wait for one another and MySQL,
PostgreSQL and SQLite need no upsert. Segments of one place are summed when read; once a writer has
put `MERGE_AT` of them in one place, or a place has been quiet for a while, it replaces them by
their sum.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from shared.stores.base import Dimension, DimensionValue
from shared.stores.rollup import CUBES, DAY, HOUR, MINUTE, Cube, Span
from shared.stores.sql_cells import Cells, Ints, part_of
from shared.stores.sql_schema import rollups
from shared.stores.sql_segments import pack, unpack

PARTS = 16
PARTED = "everything"
"""This cube is long: its cells are kept in parts, told apart by the key they are of."""
KEPT: tuple[Cube, ...] = tuple(
    replace(cube, grains=(HOUR,)) if cube.name == PARTED else cube for cube in CUBES
)
"""A day of everything would be rewritten all day long; its hours are read as fast."""

BLOCKS = {MINUTE: HOUR, HOUR: DAY, DAY: DAY}
"""How many seconds of a grain's cells lie together. A minute by itself may hold a few events."""

MERGE_AT = 16
CROWD = 8
"""Those not worth merging, each thrice the size of the one before, are hardly ever so many."""
QUIET_SECONDS = 30.0
_RANGES_AT_ONCE = 50
_ENOUGH = 200_000

Filters = Mapping[Dimension, frozenset[DimensionValue]]


class Place(NamedTuple):
    """What the segments of one sum have in common."""

    cube: str
    grain: int
    block: int
    part: int

    def ended(self, horizon: int) -> bool:
        """Whether all of its time has ended."""
        return self.block + BLOCKS[self.grain] <= horizon + 1


_PLACE = [rollups.c[name] for name in Place._fields]


def cube_for(wanted: Iterable[Dimension]) -> Cube:
    """The smallest cube that is kept and knows every dimension of `wanted`."""
    dimensions = tuple(wanted)
    return next(cube for cube in KEPT if cube.knows(dimensions))


def write(connection: sa.Connection, cells: Cells) -> list[Place]:
    """Add events, given as cells of all dimensions, to every cube; returns where."""
    rows = [_row(place, each) for place, each in placed(cells)]
    if rows:
        connection.execute(sa.insert(rollups), rows)
    return [Place(*(row[name] for name in Place._fields)) for row in rows]


def placed(cells: Cells) -> Iterator[tuple[Place, Cells]]:
    """Events, given as cells of all dimensions, as what they add to each place."""
    for cube in KEPT:
        summed = cells
        for grain in reversed(cube.grains):
            summed = summed.coarser(cube.dimensions, grain)
            for block, each in summed.by_block(BLOCKS[grain]):
                parts = each.parts("api_key_id", PARTS) if cube.name == PARTED else [(0, each)]
                for part, piece in parts:
                    yield Place(cube.name, grain, block, part), piece


def _row(place: Place, cells: Cells) -> dict[str, Any]:
    return {**place._asdict(), "segment": secrets.randbits(63), "cells": pack(cells, place.block)}


def read(
    connection: sa.Connection, cube: Cube, spans: Sequence[Span], filters: Filters
) -> Iterator[Cells]:
    """The cells of a cube that lie within `spans` and match."""
    chosen = sa.select(rollups.c.block, rollups.c.cells).where(rollups.c.cube == cube.name)
    if cube.name == PARTED and "api_key_id" in filters:
        parts = {part_of(value, PARTS) for value in filters["api_key_id"]}
        chosen = chosen.where(rollups.c.part.in_(sorted(parts)))
    for grain in cube.grains:
        wanted = [span for span in spans if span.grain == grain]
        blocks = _blocks(wanted, BLOCKS[grain])
        for at in range(0, len(blocks), _RANGES_AT_ONCE):
            ranges = sa.or_(*map(_between, blocks[at : at + _RANGES_AT_ONCE]))
            rows = connection.execute(chosen.where(rollups.c.grain == grain, ranges))
            for block, data in rows:
                yield unpack(data, cube, block).within(wanted).where(filters)


def _blocks(spans: Sequence[Span], size: int) -> list[tuple[int, int]]:
    """The first and the last block of each run of blocks that spans lie in."""
    runs: list[tuple[int, int]] = []
    for span in spans:
        first, last = span.start // size * size, (span.stop - 1) // size * size
        if runs and first <= runs[-1][1] + size:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs


def _between(run: tuple[int, int]) -> sa.ColumnElement[bool]:
    return rollups.c.block.between(*run)


class Adder:
    """Sums cells as they come, so that a long range needs no more memory than its answer."""

    def __init__(self, dimensions: Sequence[Dimension], start_of: Callable[[Ints], Ints]) -> None:
        self._dimensions = dimensions
        self._start_of = start_of
        self._sums: list[Cells] = []
        self._waiting: list[Cells] = []
        self._waiting_weight = 0
        self._allowed = _ENOUGH

    def add(self, cells: Cells) -> None:
        self._waiting.append(cells)
        self._waiting_weight += cells.weight
        if self._waiting_weight >= _ENOUGH:
            self._reduce()
            if sum(each.weight for each in self._sums) > self._allowed:
                self._join()

    def _reduce(self) -> None:
        if self._waiting:
            found = Cells.join(self._waiting)
            self._sums.append(found.regrouped(self._dimensions, self._start_of(found.start)))
        self._waiting, self._waiting_weight = [], 0

    def _join(self) -> None:
        if len(self._sums) > 1:
            joined = Cells.join(self._sums)
            self._sums = [joined.regrouped(self._dimensions, joined.start)]
            # What did not shrink is the answer itself; it is not sorted again for every addition.
            self._allowed = max(_ENOUGH, 2 * self._sums[0].weight)

    def sum(self) -> Cells | None:
        """The cells of all, by new start and `dimensions`; None of nothing."""
        self._reduce()
        self._join()
        return self._sums[0] if self._sums and len(self._sums[0]) else None


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


def merge(connection: sa.Connection, places: Sequence[Place], *, fully: bool = False) -> None:
    """Replace segments of each place by their sum: all of them (`fully`), or the small ones."""
    found = connection.execute(
        sa.select(*_PLACE, rollups.c.segment, rollups.c.cells)
        .where(sa.or_(*map(_at, places)))
        .order_by(*_PLACE, rollups.c.segment)
        .with_for_update(skip_locked=True)
    )
    for place, rows in groupby(found.all(), key=lambda row: Place(*row[:4])):
        segments = sorted(((row[4], row[5]) for row in rows), key=lambda each: len(each[1]))
        chosen = segments if fully else segments[: worth_merging([len(d) for _, d in segments])]
        if len(chosen) > 1 or fully:
            _replace(connection, place, chosen)


def worth_merging(sizes: Sequence[int]) -> int:
    """How many of the sizes, ascending, to merge: none that is far larger than those before it.

    So a byte is rewritten as often as the logarithm of what it ends up in.
    """
    total = 0
    for count, size in enumerate(sizes):
        if count and size > 2 * total:
            return count
        total += size
    return len(sizes)


def _replace(
    connection: sa.Connection, place: Place, segments: Sequence[tuple[int, bytes]]
) -> None:
    cube = next(cube for cube in KEPT if cube.name == place.cube)
    joined = Cells.join([unpack(data, cube, place.block) for _, data in segments])
    summed = joined.regrouped(cube.dimensions, joined.start)
    if len(segments) == 1 and len(summed) == len(joined):
        return
    ids = [segment for segment, _ in segments]
    connection.execute(sa.delete(rollups).where(_at(place), rollups.c.segment.in_(ids)))
    if len(summed):
        connection.execute(sa.insert(rollups), [_row(place, summed)])


def _at(place: Place) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == value for column, value in zip(_PLACE, place, strict=True)))


def places_before(connection: sa.Connection, stop: int, *, limit: int) -> list[Place]:
    """Up to `limit` places of each grain that lie wholly before `stop`."""
    found: list[Place] = []
    for cube in KEPT:
        for grain in cube.grains:
            chosen = (
                sa.select(*_PLACE)
                .where(rollups.c.cube == cube.name, rollups.c.grain == grain)
                .where(rollups.c.block <= stop - BLOCKS[grain])
                .distinct()
                .limit(limit)
            )
            found += [Place(*row) for row in connection.execute(chosen)]
    return found


def crowded_places(connection: sa.Connection, *, limit: int) -> list[Place]:
    """Up to `limit` places with so many segments that some of them are worth merging."""
    chosen = sa.select(*_PLACE).group_by(*_PLACE).having(sa.func.count() >= CROWD).limit(limit)
    return [Place(*row) for row in connection.execute(chosen)]


def zeros(starts: Ints) -> Ints:
    """One start for all cells."""
    return np.zeros(len(starts), dtype=np.int64)
