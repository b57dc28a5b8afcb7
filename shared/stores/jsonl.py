"""The JSONL store: the file is the truth, and every answer is the file's.

Answers come from the index where there is one (`jsonl_segments`, `jsonl_builder`) and from the
file's tail where there is none yet (`jsonl_view`); both are put to DuckDB (`jsonl_figures`,
`jsonl_pages`).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from shared.errors import StoreUnavailable
from shared.events import Event
from shared.stores import jsonl_figures, jsonl_pages
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
from shared.stores.jsonl_builder import IndexPolicy
from shared.stores.jsonl_engine import Engine, IndexUnreadable
from shared.stores.jsonl_expiry import Rewrite, ended, is_due
from shared.stores.jsonl_file import Appender
from shared.stores.jsonl_reader import open_for_reading, unavailable_where_it_fails
from shared.stores.jsonl_rows import CREATE_TAIL
from shared.stores.jsonl_view import Snapshot, View

logger = logging.getLogger(__name__)

ID_WINDOW = 1_000_000
_TRIES = 4
_DEFAULT_POLICY = IndexPolicy()

T = TypeVar("T")
E = TypeVar("E")


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
        index: IndexPolicy = _DEFAULT_POLICY,
    ) -> None:
        super().__init__(ttl_seconds=ttl_seconds, clock=clock)
        self._path = path
        self._appender = Appender(path, window=ID_WINDOW)
        self._engine = Engine(CREATE_TAIL)
        self._view = View(path, self._engine, index)

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
        wanted = self.alive(selection)
        return self._ask(
            lambda snapshot: jsonl_pages.page(snapshot, wanted, limit, order, after), empty=[]
        )

    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        wanted = self.alive(selection)

        def begin(snapshot: Snapshot) -> tuple[int, list[tuple[int, int]], tuple[int, int]]:
            ranges = jsonl_pages.ranges(snapshot, wanted)
            return os.dup(snapshot.fd), ranges, (snapshot.end, snapshot.size)

        begun = self._ask(begin, empty=None, tail=False)
        if begun is None:
            return
        fd, ranges, tail = begun
        try:
            with unavailable_where_it_fails(self._path):
                blocks = jsonl_pages.blocks_in(fd, ranges, tail)
                yield from jsonl_pages.events_in(blocks, wanted)
        finally:
            os.close(fd)

    def aggregate(self, selection: Selection) -> Aggregate:
        wanted = self.alive(selection)
        return self._ask(
            lambda snapshot: jsonl_figures.aggregate(snapshot, wanted), empty=Aggregate()
        )

    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        wanted = self.alive(selection)
        return self._ask(
            lambda snapshot: jsonl_figures.timeseries(snapshot, wanted, edges, group_by), empty=[]
        )

    def stats(self) -> StoreStats:
        horizon = self.horizon()
        return self._ask(
            lambda snapshot: jsonl_figures.stats(snapshot, horizon),
            empty=StoreStats(size_bytes=0),
        )

    def ping(self) -> None:
        """A file that is not there yet is an empty store; one that can't be read is away."""
        with unavailable_where_it_fails(self._path), suppress(FileNotFoundError):
            os.close(open_for_reading(self._path))

    def expire(self) -> int:
        """Write the file anew without what has ended, where that is due (`jsonl_expiry`)."""
        if self.ttl_seconds is None:
            return 0
        return self._ask(self._expire, empty=0)

    def maintain(self) -> bool:
        """Bring the index closer to the end of the file: about a second's work."""
        with unavailable_where_it_fails(self._path):
            return self._view.maintain()

    def clear(self) -> None:
        fresh = self._appender.fresh_path()
        with self._appender.locked():
            fresh.touch(exist_ok=False)
            with suppress(FileNotFoundError):
                shutil.copymode(self._path, fresh)
            self._appender.replace(fresh)
            self._appender.remove_leftovers()
        self._view.index.keep_only(None)

    def close(self) -> None:
        self._appender.close()
        self._view.close()
        self._engine.close()

    def _expire(self, snapshot: Snapshot) -> int:
        assert self.ttl_seconds is not None
        horizon = self.horizon()
        found = ended(snapshot, horizon)
        if not is_due(found, size=snapshot.end, horizon=horizon, ttl_seconds=self.ttl_seconds):
            return 0
        index = self._view.index
        with index.locked(wait=True):
            rewrite = Rewrite(self._path, self._appender, self._engine, index, horizon)
            return found.events if rewrite.run(snapshot) else 0

    def _ask(self, question: Callable[[Snapshot], T], *, empty: E, tail: bool = True) -> T | E:
        """The answer from the file as it is now; `empty` where there is no file.

        Another process may merge segments or throw the index away while it is read: then it is
        read again. Where that does not help the index itself is at fault.
        """
        reason = ""
        for attempt in range(_TRIES):
            try:
                with (
                    unavailable_where_it_fails(self._path),
                    self._view.snapshot(tail=tail) as snapshot,
                ):
                    return empty if snapshot is None else question(snapshot)
            except IndexUnreadable as error:
                reason = str(error)
                if attempt:
                    self._view.discard(reason)
        raise StoreUnavailable(f"{self._path}: {reason}")
