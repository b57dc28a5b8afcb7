"""What an append or an expiry changes in Redis, worked out before the script runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from shared.events import Event
from shared.stores.base import DIMENSIONS, DimensionValue
from shared.stores.redis_layout import SECONDS, Block, Keys, blocks_of, index_field, pack_event
from shared.stores.redis_rollups import new_id, segments_of
from shared.stores.rollup import HOUR, Place, values_of


class Change(NamedTuple):
    """What the script is told, and the places of the cells that it changes."""

    packed: bytes
    places: list[Place]


def additions(keys: Keys, events: Sequence[Event]) -> Change:
    """The change that stores `events`."""
    hours = _by_hour(events)
    entries = [(event.id, event.timestamp) for event in events]
    return _change(keys, entries, hours, segments_of(events), adding=True)


def removals(keys: Keys, entries: Sequence[tuple[bytes, int]], events: Sequence[Event]) -> Change:
    """The change that takes `entries` of the timeline away; `events` are those still stored."""
    hours: dict[int, list[Event]] = {at - at % HOUR: [] for _, at in entries}
    hours.update(_by_hour(events))
    named = [(event_id.decode(), timestamp) for event_id, timestamp in entries]
    return _change(keys, named, hours, segments_of(events, -1), adding=False)


def _change(
    keys: Keys,
    entries: Sequence[tuple[str, int]],
    hours: dict[int, list[Event]],
    segments: dict[Place, bytes],
    *,
    adding: bool,
) -> Change:
    change = [
        [event_id for event_id, _ in entries],
        [timestamp for _, timestamp in entries],
        [_hour(keys, hour, events, adding=adding) for hour, events in hours.items()],
        _blocks(keys, hours, segments),
    ]
    # Redis' own cmsgpack knows no bin type, only strings.
    packed: bytes = msgpack.packb(change, use_bin_type=False)
    return Change(packed, list(segments))


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


def _blocks(keys: Keys, hours: dict[int, list[Event]], segments: dict[Place, bytes]) -> list[Any]:
    """For each block: its start and stop, all its keys, and key, id and segment of what is new."""
    added: dict[Block, list[Any]] = {block: [] for hour in hours for block in blocks_of(hour)}
    for place, segment in segments.items():
        block = Block(place.cube, place.grain, place.block)
        added[block] += (keys.cells(place), new_id(), segment)
    return [
        [block.start, block.stop, [keys.cells(place) for place in block.places()], new]
        for block, new in added.items()
    ]
