"""Rollups in a table of segments: written, read and merged.

Writers insert segments and change none, so MySQL, PostgreSQL and SQLite need no upsert.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from shared.stores.cells import Cells
from shared.stores.rollup import BLOCKS, CUBES, PARTED, Cube, Filters, Place, Span, part_of
from shared.stores.segments import pack, placed, unpack, worth_merging
from shared.stores.sql_schema import rollups

CROWD = 8
"""Those not worth merging, each thrice the size of the one before, are hardly ever so many."""
_RANGES_AT_ONCE = 50
_ROWS_AT_ONCE = 32

_PLACE = [rollups.c[name] for name in Place._fields]


def write(connection: sa.Connection, cells: Cells) -> list[Place]:
    """Add events, given as cells of all dimensions, to every cube; returns where."""
    rows = [_row(place, each) for place, each in placed(cells)]
    if rows:
        connection.execute(sa.insert(rollups), rows)
    return [Place(*(row[name] for name in Place._fields)) for row in rows]


def _row(place: Place, cells: Cells) -> dict[str, Any]:
    return {**place._asdict(), "segment": secrets.randbits(63), "cells": pack(cells, place.block)}


def read(
    connection: sa.Connection, cube: Cube, spans: Sequence[Span], filters: Filters
) -> Iterator[Cells]:
    """The cells of a cube that lie within `spans` and match."""
    chosen = sa.select(rollups.c.block, rollups.c.cells).where(rollups.c.cube == cube.name)
    if cube.name == PARTED and "api_key_id" in filters:
        parts = {part_of(value) for value in filters["api_key_id"]}
        chosen = chosen.where(rollups.c.part.in_(sorted(parts)))
    # A month of the long cube is a quarter of a gigabyte: it is read as it is summed.
    options = {"stream_results": cube.name == PARTED, "max_row_buffer": _ROWS_AT_ONCE}
    for grain in cube.grains:
        wanted = [span for span in spans if span.grain == grain]
        blocks = _blocks(wanted, BLOCKS[grain])
        for at in range(0, len(blocks), _RANGES_AT_ONCE):
            ranges = sa.or_(*map(_between, blocks[at : at + _RANGES_AT_ONCE]))
            asked = chosen.where(rollups.c.grain == grain, ranges)
            for block, data in connection.execute(asked, execution_options=options):
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


def _replace(
    connection: sa.Connection, place: Place, segments: Sequence[tuple[int, bytes]]
) -> None:
    cube = next(cube for cube in CUBES if cube.name == place.cube)
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
    for cube in CUBES:
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
