"""Reads events out of Redis, in order and by filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from shared.events import Event
from shared.stores.base import Order, Position, Selection
from shared.stores.redis_layout import Keys, index_field, seconds_of, unpack_event
from shared.stores.redis_server import Command, RedisServer
from shared.stores.rollup import HOUR

CHUNK = 1_000
"""Most events that are read at once."""
_FIRST = 100
_HOURS = 64
_SPARSE = 4
"""An hour with this many times more events than seconds to look at is read by the second."""

Entry = tuple[bytes, int]
"""An id and its timestamp, as the timeline holds them."""


class Reader:
    """The events of one generation of the store."""

    def __init__(self, server: RedisServer, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    def hours(self, start: int, end: int) -> list[int]:
        """The hours that have events, from the one of `start` to the one of `end`."""
        first = start - start % HOUR
        found = self._server.call("ZRANGEBYSCORE", self._keys.hours, first, end)
        return [int(hour) for hour in found]

    def matching(
        self, selection: Selection, order: Order = "asc", after: Position | None = None
    ) -> Iterator[list[Event]]:
        """The events of the selection in `order`, those strictly past `after`, in chunks."""
        start, end = selection.start, selection.end
        if after is not None:
            if order == "asc" and after.timestamp >= start:
                start = after.timestamp
            elif order == "desc" and after.timestamp <= end:
                end = after.timestamp
            else:
                after = None
        if start > end:
            return
        spans = self._spans(selection, start, end, order) if selection.filters else [(start, end)]
        for span in spans:
            chunks = (
                self._walk(*span, order, after)
                if isinstance(span, tuple)
                else self._seconds(span, order, after)
            )
            for events in chunks:
                if found := [event for event in events if selection.matches(event)]:
                    yield found

    def page(
        self, start: int, end: int, order: Order, after: Position | None, count: int
    ) -> list[Entry]:
        """The first entries of the timeline from `start` to `end` in `order`, past `after`."""
        edge = start if order == "asc" else end
        beyond: list[str] = []
        if after is not None and start <= after.timestamp <= end:
            edge, beyond = after.timestamp, [after.id]
        found = self._server.page(self._keys.timeline, order, edge, count, *beyond)
        if order == "desc":
            found.reverse()
        return [entry for entry in found if start <= entry[1] <= end]

    def fetch(self, entries: Sequence[Entry]) -> list[Event]:
        """The events of `entries`, in their order; those that have gone meanwhile are left out."""
        commands: list[Command] = []
        for hour, of_hour in groupby(entries, key=lambda entry: entry[1] - entry[1] % HOUR):
            ids = [event_id for event_id, _ in of_hour]
            commands.append(("HMGET", self._keys.events(hour), *ids))
        packed = [value for reply in self._server.pipeline(commands) for value in reply]
        return [
            unpack_event(event_id, timestamp, value)
            for (event_id, timestamp), value in zip(entries, packed, strict=True)
            if value is not None
        ]

    def _walk(
        self, start: int, end: int, order: Order, after: Position | None
    ) -> Iterator[list[Event]]:
        """Every event from `start` to `end`."""
        count = _FIRST
        while entries := self.page(start, end, order, after, count):
            yield self.fetch(entries)
            if len(entries) < count:
                return
            after = Position(entries[-1][1], entries[-1][0].decode())
            count = CHUNK

    def _seconds(
        self, seconds: list[int], order: Order, after: Position | None
    ) -> Iterator[list[Event]]:
        """Every event of these seconds, which are in `order`."""
        timeline = self._keys.timeline
        replies = self._server.pipeline([("ZRANGEBYSCORE", timeline, s, s) for s in seconds])
        found = [
            (event_id, second)
            for second, ids in zip(seconds, replies, strict=True)
            for event_id in (ids if order == "asc" else reversed(ids))
        ]
        if after is not None:
            edge, asc = (after.timestamp, after.id.encode()), order == "asc"
            found = [e for e in found if (_key(e) > edge if asc else _key(e) < edge)]
        for at in range(0, len(found), CHUNK):
            yield self.fetch(found[at : at + CHUNK])

    def _spans(
        self, selection: Selection, start: int, end: int, order: Order
    ) -> Iterator[tuple[int, int] | list[int]]:
        """Where the index says that matching events may be, in `order`: ranges, or seconds."""
        waiting: list[int] = []
        most = _FIRST
        for hour, seconds in self._candidates(selection, start, end, order):
            if seconds is not None:
                within = [second for second in seconds if start <= second <= end]
                waiting += sorted(within, reverse=order == "desc")
            if waiting and (seconds is None or len(waiting) >= most):
                yield waiting
                waiting, most = [], CHUNK
            if seconds is None:
                yield max(start, hour), min(end, hour + HOUR - 1)
        if waiting:
            yield waiting

    def _candidates(
        self, selection: Selection, start: int, end: int, order: Order
    ) -> Iterator[tuple[int, set[int] | None]]:
        """For each hour the seconds that every filter has, or None: better read it whole."""
        fields = [
            [index_field(name, value) for value in values]
            for name, values in selection.filters.items()
        ]
        if not all(fields):
            return
        hours = self.hours(start, end)
        if order == "desc":
            hours.reverse()
        at, count = 0, 1
        while some := hours[at : at + count]:
            replies = iter(self._server.pipeline(self._questions(some, fields)))
            for hour in some:
                size = next(replies)
                yield hour, _seconds(hour, size, [next(replies) for _ in fields])
            at, count = at + count, min(4 * count, _HOURS)

    def _questions(self, hours: Sequence[int], fields: Sequence[Sequence[bytes]]) -> list[Command]:
        commands: list[Command] = []
        for hour in hours:
            commands.append(("HLEN", self._keys.events(hour)))
            commands += [("HMGET", self._keys.index(hour), *some) for some in fields]
        return commands


def _seconds(hour: int, size: int, found: Sequence[Sequence[bytes | None]]) -> set[int] | None:
    """The seconds of an hour of `size` events that are in every one of `found`."""
    packed = [b"".join(value for value in values if value) for values in found]
    if _SPARSE * min(map(len, packed)) // 2 >= size:
        return None
    return set.intersection(*(seconds_of(hour, each) for each in packed))


def _key(entry: Entry) -> tuple[int, bytes]:
    return (entry[1], entry[0])
