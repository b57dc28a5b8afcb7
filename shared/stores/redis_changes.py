"""What an append or an expiry changes in Redis, worked out before the script runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from shared.events import Event
from shared.stores.base import DIMENSIONS, DimensionValue
from shared.stores.redis_layout import (
    CUBES,
    SECONDS,
    Keys,
    cell_field,
    index_field,
    pack_event,
    pack_summary,
)
from shared.stores.rollup import DAY, HOUR, Cell, Summary, summarise, values_of


def _encode(change: list[Any]) -> bytes:
    # Redis' own cmsgpack knows no bin type, only strings; msgspec would write bytes as bin.
    packed: bytes = msgpack.packb(change, use_bin_type=False)
    return packed


GRACE = DAY
"""Seconds by which Redis itself drops a key after all in it has ended, should nobody else. It is
the coarsest grain: when events go in that way, every cell they are in has ended as well."""


def additions(keys: Keys, events: Sequence[Event], ttl_seconds: int | None) -> bytes:
    """The change that stores `events`, for the script."""
    hours = _by_hour(events)
    cells = summarise(events, cubes=CUBES)
    lasting = {} if ttl_seconds is None else _lasting(keys, hours, cells, ttl_seconds + GRACE)
    return _encode(
        [
            [event.id for event in events],
            [event.timestamp for event in events],
            [_hour(keys, hour, of_hour, adding=True) for hour, of_hour in hours.items()],
            _cells(keys, cells),
            list(lasting.items()),
        ]
    )


def removals(keys: Keys, entries: Sequence[tuple[bytes, int]], events: Sequence[Event]) -> bytes:
    """The change that takes `entries` of the timeline away; `events` are those still stored."""
    hours: dict[int, list[Event]] = {at - at % HOUR: [] for _, at in entries}
    hours.update(_by_hour(events))
    return _encode(
        [
            [event_id.decode() for event_id, _ in entries],
            [timestamp for _, timestamp in entries],
            [_hour(keys, hour, of_hour, adding=False) for hour, of_hour in hours.items()],
            _cells(keys, summarise(events, -1, cubes=CUBES)),
        ]
    )


def _by_hour(events: Sequence[Event]) -> dict[int, list[Event]]:
    hours: dict[int, list[Event]] = {}
    for event in events:
        hours.setdefault(event.timestamp - event.timestamp % HOUR, []).append(event)
    return hours


def _hour(keys: Keys, hour: int, events: list[Event], *, adding: bool) -> list[Any]:
    if adding:
        stored = [part for event in events for part in (event.id, pack_event(event))]
    else:
        stored = [event.id for event in events]
    index = _index(hour, events)
    return [keys.events(hour), keys.index(hour), hour, stored, list(index), list(index.values())]


def _index(hour: int, events: list[Event]) -> dict[bytes, bytes]:
    """The seconds of each value of each dimension."""
    seconds: list[dict[DimensionValue, set[bytes]]] = [{} for _ in DIMENSIONS]
    for event in events:
        second = SECONDS[event.timestamp - hour]
        for value, of_dimension in zip(values_of(event), seconds, strict=True):
            found = of_dimension.get(value)
            if found is None:
                of_dimension[value] = {second}
            else:
                found.add(second)
    return {
        index_field(dimension, value): b"".join(sorted(found))
        for dimension, of_dimension in zip(DIMENSIONS, seconds, strict=True)
        for value, found in of_dimension.items()
    }


def _cells(keys: Keys, cells: dict[Cell, Summary]) -> list[tuple[str, list[bytes], list[bytes]]]:
    """Key, fields and changes of each hash of cells."""
    hashes: dict[tuple[str, int, int], tuple[str, list[bytes], list[bytes]]] = {}
    for cell, summary in cells.items():
        place = (cell.cube.name, cell.grain, cell.start)
        found = hashes.get(place)
        if found is None:
            found = hashes[place] = (keys.cells(cell.cube, cell.grain, cell.start), [], [])
        found[1].append(cell_field(cell.values))
        found[2].append(pack_summary(summary))
    return list(hashes.values())


def _lasting(
    keys: Keys, hours: dict[int, list[Event]], cells: dict[Cell, Summary], seconds: int
) -> dict[str, int]:
    """When Redis itself drops each key, in Unix seconds: `seconds` after the end of its time."""
    ends = {keys.cells(c.cube, c.grain, c.start): c.start + c.grain + seconds for c in cells}
    for hour in hours:
        ends[keys.events(hour)] = ends[keys.index(hour)] = hour + HOUR + seconds
    return ends
