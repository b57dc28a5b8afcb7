"""The memory store: for development, and the model that the other stores are tested against."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from shared.events import Event
from shared.stores.base import (
    Aggregate,
    Dimension,
    Order,
    Point,
    Position,
    Selection,
    Store,
    StoreStats,
)
from shared.stores.fold import fold_aggregate, fold_timeseries

SCAN_CHUNK = 1_000


class MemoryStore(Store):
    """Events in a dict by id, in order of arrival, at most `max_events` of them.

    The oldest arrival is dropped first. As a store it has no other retention; `ttl_seconds` serves
    it as a model. All is lost on close.
    """

    backend_type = "memory"

    def __init__(
        self,
        *,
        max_events: int,
        ttl_seconds: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ttl_seconds=ttl_seconds, clock=clock)
        self._max_events = max_events
        self._events: dict[str, Event] = {}
        self._lock = threading.Lock()

    def append(self, events: Sequence[Event]) -> int:
        with self._lock:
            before = len(self._events)
            horizon = self.horizon()
            for event in events:
                if event.timestamp > horizon:
                    self._events.setdefault(event.id, event)
            new = len(self._events) - before
            self._drop_oldest(len(self._events) - self._max_events)
            return new

    def _drop_oldest(self, count: int) -> None:
        if count > 0:
            for event_id in list(islice(self._events, count)):
                del self._events[event_id]

    def query(
        self,
        selection: Selection,
        *,
        limit: int,
        order: Order = "desc",
        after: Position | None = None,
    ) -> list[Event]:
        return page(self._select(selection), limit=limit, order=order, after=after)

    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        events = self._select(selection)
        for start in range(0, len(events), SCAN_CHUNK):
            yield events[start : start + SCAN_CHUNK]

    def aggregate(self, selection: Selection) -> Aggregate:
        return fold_aggregate(self._select(selection))

    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        return fold_timeseries(self._select(selection), edges, group_by)

    def stats(self) -> StoreStats:
        horizon = self.horizon()
        with self._lock:
            times = [e.timestamp for e in self._events.values() if e.timestamp > horizon]
        return StoreStats(
            total_events=len(times),
            oldest_timestamp=min(times, default=None),
            newest_timestamp=max(times, default=None),
            max_events=self._max_events,
        )

    def ping(self) -> None:
        pass

    def expire(self) -> int:
        horizon = self.horizon()
        with self._lock:
            ended = [e.id for e in self._events.values() if e.timestamp <= horizon]
            for event_id in ended:
                del self._events[event_id]
        return len(ended)

    def clear(self) -> None:
        with self._lock:
            self._events.clear()

    def close(self) -> None:
        pass

    def _select(self, selection: Selection) -> list[Event]:
        wanted = self.alive(selection)
        with self._lock:
            return [event for event in self._events.values() if wanted.matches(event)]


def page(events: list[Event], *, limit: int, order: Order, after: Position | None) -> list[Event]:
    """The first `limit` of `events` in `order`, strictly past `after`."""
    keyed = [(Position.of(event).key(), event) for event in events]
    if after is not None:
        edge = after.key()
        keyed = [pair for pair in keyed if (pair[0] < edge if order == "desc" else pair[0] > edge)]
    keyed.sort(key=lambda pair: pair[0], reverse=order == "desc")
    return [event for _, event in keyed[:limit]]
