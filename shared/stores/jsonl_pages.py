"""Whole events of a snapshot of the JSONL store: found in the index, read from the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from shared.events import Event
from shared.stores.base import Order, Position, Selection
from shared.stores.jsonl_engine import IndexUnreadable
from shared.stores.jsonl_reader import BLOCK, decode_block, decode_event, read_lines
from shared.stores.jsonl_selection import condition_of
from shared.stores.jsonl_view import Part, Snapshot


class Place(NamedTuple):
    """Where in the file an event's line is."""

    timestamp: int
    id: str
    offset: int
    length: int

    def key(self) -> tuple[int, bytes]:
        return (self.timestamp, self.id.encode())


def page(
    snapshot: Snapshot, selection: Selection, limit: int, order: Order, after: Position | None
) -> list[Event]:
    """The first `limit` events of the selection in `order`, those strictly past `after`."""
    if limit < 1:
        return []
    newest_first = order == "desc"
    if after is not None:
        selection = _up_to(selection, after.timestamp, order)
    found: list[Place] = []
    parts = snapshot.parts_of(selection.start, selection.end)
    parts.sort(key=lambda p: -p.newest if newest_first else p.oldest)
    for part in parts:
        if len(found) == limit:
            last = found[-1].timestamp
            if part.newest < last if newest_first else part.oldest > last:
                break
            selection = _up_to(selection, last, "asc" if newest_first else "desc")
        found += _places(snapshot, part, selection, limit, order, after)
        found.sort(key=Place.key, reverse=newest_first)
        del found[limit:]
    return [_event_at(snapshot.fd, place) for place in found]


def _up_to(selection: Selection, timestamp: int, order: Order) -> Selection:
    """What of the selection does not come before `timestamp` in `order`."""
    if order == "desc":
        return replace(selection, end=min(selection.end, timestamp))
    return replace(selection, start=max(selection.start, timestamp))


def _places(
    snapshot: Snapshot,
    part: Part,
    selection: Selection,
    limit: int,
    order: Order,
    after: Position | None,
) -> list[Place]:
    """The first places of one part.

    The time of the last one is asked for first, from the timestamps alone: with it almost every
    row group is passed over when the ids are read.
    """
    condition, parameters = condition_of(selection)
    parameters |= part.named | {"limit": limit}
    if after is not None:
        sign = "<" if order == "desc" else ">"
        condition += f" AND (timestamp {sign} $edge OR (timestamp = $edge AND id {sign} $edge_id))"
        parameters |= {"edge": after.timestamp, "edge_id": after.id}
    rows = snapshot.session.rows
    ((count, oldest, newest),) = rows(
        f"SELECT count(*), min(timestamp), max(timestamp) FROM (SELECT timestamp"
        f" FROM {part.source} WHERE {condition} ORDER BY timestamp {order} LIMIT $limit)",
        parameters,
    )
    if count == limit:
        parameters |= {"start": oldest} if order == "desc" else {"end": newest}
    found = rows(
        f'SELECT timestamp, id, "offset" + $at, length FROM {part.source} WHERE {condition}'
        f" ORDER BY timestamp {order}, id {order} LIMIT $limit",
        parameters | {"at": part.start},
    )
    return [Place(*row) for row in found]


def _event_at(fd: int, place: Place) -> Event:
    event = decode_event(os.pread(fd, place.length, place.offset))
    if event is None or event.id != place.id:
        raise IndexUnreadable(f"the line at {place.offset} is not the one that was indexed")
    return event


def ranges(snapshot: Snapshot, selection: Selection) -> list[tuple[int, int]]:
    """Ranges of whole lines, of about a block each, that hold the selection's indexed events."""
    condition, parameters = condition_of(selection)
    found: list[tuple[int, int]] = []
    for part in snapshot.parts_of(selection.start, selection.end):
        found += snapshot.session.rows(
            f'SELECT min("offset") + $at, max("offset" + length) + $at FROM {part.source}'
            f' WHERE {condition} GROUP BY "offset" // {BLOCK} ORDER BY 1',
            parameters | part.named | {"at": part.start},
        )
    return found


def blocks_in(fd: int, ranges: list[tuple[int, int]], tail: tuple[int, int]) -> Iterator[bytes]:
    """The lines of the ranges, then all of the tail's: they are not worth indexing for one pass."""
    for start, end in ranges:
        yield os.pread(fd, end - start, start)
    yield from read_lines(fd, *tail)


def events_in(blocks: Iterator[bytes], wanted: Selection) -> Iterator[list[Event]]:
    """The wanted events of the blocks, a chunk for each that has any."""
    for block in blocks:
        if chunk := [event for event in decode_block(block).events if wanted.matches(event)]:
            yield chunk
