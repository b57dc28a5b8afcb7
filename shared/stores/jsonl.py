"""The JSONL store: the file is the truth, and every answer is read from it."""

from __future__ import annotations

import heapq
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

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
from shared.stores.jsonl_file import Appender, encode_line
from shared.stores.jsonl_reader import (
    Malformed,
    open_for_reading,
    read_events,
    unavailable_where_it_fails,
)

ID_WINDOW = 1_000_000


class JsonlStore(Store):
    """Events in a file, one a line. Removing or truncating the file clears the store.

    An id counts as stored while it is among the newest `ID_WINDOW` ids of the file.
    """

    backend_type = "jsonl"

    def __init__(
        self,
        path: Path,
        *,
        ttl_seconds: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ttl_seconds=ttl_seconds, clock=clock)
        self._path = path
        self._appender = Appender(path, window=ID_WINDOW)
        self._malformed = Malformed(path)

    def append(self, events: Sequence[Event]) -> int:
        if self.ttl_seconds is not None:
            horizon = self.horizon()
            events = [event for event in events if event.timestamp > horizon]
        return self._appender.append(events)

    def query(
        self,
        selection: Selection,
        *,
        limit: int,
        order: Order = "desc",
        after: Position | None = None,
    ) -> list[Event]:
        events: Iterable[Event] = self._select(selection)
        if after is not None:
            edge, newest_first = after.key(), order == "desc"
            events = (e for e in events if (_key(e) < edge if newest_first else _key(e) > edge))
        pick = heapq.nlargest if order == "desc" else heapq.nsmallest
        return pick(limit, events, key=_key)

    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        wanted = self.alive(selection)
        for events in read_events(self._path, self._malformed):
            if chunk := [event for event in events if wanted.matches(event)]:
                yield chunk

    def aggregate(self, selection: Selection) -> Aggregate:
        return fold_aggregate(self._select(selection))

    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        return fold_timeseries(self._select(selection), edges, group_by)

    def stats(self) -> StoreStats:
        horizon = self.horizon()
        count, oldest, newest = 0, None, None
        for events in read_events(self._path, self._malformed):
            times = [event.timestamp for event in events if event.timestamp > horizon]
            if times:
                count += len(times)
                oldest = min(times) if oldest is None else min(oldest, *times)
                newest = max(times) if newest is None else max(newest, *times)
        return StoreStats(
            total_events=count,
            oldest_timestamp=oldest,
            newest_timestamp=newest,
            size_bytes=self._size(),
        )

    def ping(self) -> None:
        """A file that is not there yet is an empty store; one that can't be read is away."""
        with unavailable_where_it_fails(self._path), suppress(FileNotFoundError):
            os.close(open_for_reading(self._path))

    def expire(self) -> int:
        """Write the file anew without what has ended, where anything has."""
        horizon = self.horizon()
        if not any(event.timestamp <= horizon for event in self._all()):
            return 0
        with self._appender.locked():
            return self._rewrite(self._all(), lambda event: event.timestamp > horizon)

    def clear(self) -> None:
        with self._appender.locked():
            self._rewrite((), lambda event: False)

    def close(self) -> None:
        self._appender.close()

    def _rewrite(self, events: Iterable[Event], keep: Callable[[Event], bool]) -> int:
        """Put a file of the events to keep in this one's place; readers finish with the old one.

        Returns how many were not kept. Where it fails the file stays as it was.
        """
        fresh = self._path.with_name(self._path.name + ".new")
        gone = 0
        try:
            with open(fresh, "wb") as file:
                for event in events:
                    if keep(event):
                        file.write(encode_line(event))
                    else:
                        gone += 1
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                shutil.copymode(self._path, fresh)
            self._appender.replace(fresh)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        return gone

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _all(self) -> Iterator[Event]:
        return chain.from_iterable(read_events(self._path, self._malformed))

    def _select(self, selection: Selection) -> Iterator[Event]:
        return chain.from_iterable(self.scan(selection))


def _key(event: Event) -> tuple[int, bytes]:
    return (event.timestamp, event.id.encode())
