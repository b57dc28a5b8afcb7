"""The Redis store: events, an index and rollups, all changed together by one script.

What is stored is as durable as the server makes it: with `appendfsync always` it is on disk when
`append` returns, with `everysec` a power cut costs up to a second of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from shared.errors import StoreUnavailable
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
from shared.stores.cells import Cells
from shared.stores.columns import Ints
from shared.stores.figures import aggregate_cells, points_of_cells, zeros
from shared.stores.redis_changes import additions, removals
from shared.stores.redis_layout import CLEARING, GENERATION, ROOT, Keys, generation_of
from shared.stores.redis_reader import CHUNK, Reader
from shared.stores.redis_rollups import merge, sum_up
from shared.stores.redis_server import Command, RedisServer
from shared.stores.rollup import DAY, Place
from shared.stores.segments import Tally

logger = logging.getLogger(__name__)

_TRIES = 100


class RedisStore(Store):
    """Events in one Redis of version 6.2 or later, or a Valkey.

    `expire` takes what has ended out of every key. Should nobody call it, Redis drops a key by
    itself a day after all in it has ended.
    """

    backend_type = "redis"

    def __init__(
        self,
        url: str,
        *,
        ttl_seconds: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connects when first used. Raises ValueError where `url` is not one of Redis."""
        super().__init__(ttl_seconds=ttl_seconds, clock=clock)
        self._server = RedisServer(url)
        self._tally = Tally()

    def append(self, events: Sequence[Event]) -> int:
        self._server.check_once()
        firsts: dict[str, Event] = {}
        horizon = self.horizon()
        for event in events:
            if self.ttl_seconds is None or event.timestamp > horizon:
                firsts.setdefault(event.id, event)
        if not firsts:
            return 0
        for _ in range(_TRIES):
            keys = self._keys()
            new = self._unknown(keys, list(firsts.values()))
            if not new:
                return 0
            change = additions(keys, new)
            ttl = "" if self.ttl_seconds is None else str(self.ttl_seconds)
            if self._change(keys, "add", ttl, change.packed):
                self._tally.add(change.places)
                self._merge(keys, self._tally.take_due())
                return len(new)
        raise StoreUnavailable("Redis: other writers were always faster")

    def query(
        self,
        selection: Selection,
        *,
        limit: int,
        order: Order = "desc",
        after: Position | None = None,
    ) -> list[Event]:
        chunks = self._reader().matching(self.alive(selection), order, after)
        return list(islice(chain.from_iterable(chunks), limit))

    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        yield from self._reader().matching(self.alive(selection))

    def aggregate(self, selection: Selection) -> Aggregate:
        wanted = self.alive(selection)
        edges = [wanted.start, wanted.end + 1]
        cells = self._sum_up(wanted, edges, ("model", "endpoint", "backend"), zeros)
        return Aggregate() if cells is None else aggregate_cells(cells)

    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        bounds = np.array(edges, dtype=np.int64)

        def bucket_of(starts: Ints) -> Ints:
            return bounds[np.searchsorted(bounds, starts, side="right") - 1]

        grouped = () if group_by is None else (group_by,)
        cells = self._sum_up(self.alive(selection), edges, grouped, bucket_of)
        return [] if cells is None else points_of_cells(cells, group_by)

    def _sum_up(
        self,
        wanted: Selection,
        edges: Sequence[int],
        dimensions: Sequence[Dimension],
        start_of: Callable[[Ints], Ints],
    ) -> Cells | None:
        if edges[0] >= edges[-1] or not all(wanted.filters.values()):
            return None
        return sum_up(self._server, self._keys(), wanted, edges, dimensions, start_of)

    def stats(self) -> StoreStats:
        keys = self._keys()
        alive = f"({self.horizon()}"
        if self.ttl_seconds is None:
            alive = "-inf"
        total, oldest, newest = self._server.pipeline(
            [
                ("ZCOUNT", keys.timeline, alive, "+inf"),
                ("ZRANGEBYSCORE", keys.timeline, alive, "+inf", "WITHSCORES", "LIMIT", 0, 1),
                ("ZREVRANGEBYSCORE", keys.timeline, "+inf", alive, "WITHSCORES", "LIMIT", 0, 1),
            ],
            atomic=True,
        )
        return StoreStats(
            total_events=total,
            oldest_timestamp=int(oldest[1]) if oldest else None,
            newest_timestamp=int(newest[1]) if newest else None,
        )

    def ping(self) -> None:
        self._server.call("PING")

    def expire(self) -> int:
        """Remove what has ended, some thousand events at a time.

        It also finishes a clear that was cut short, and lets keys that were written under another
        `ttl_seconds` last as long as they should under this one.
        """
        self._sweep()
        gone = 0 if self.ttl_seconds is None else self._expire(self.horizon())
        self._renew_lasting()
        self._merge(self._keys(), self._tally.take_due())
        return gone

    def clear(self) -> None:
        """Begin a new generation, which is empty, then remove the keys of those before it."""
        self._server.clear(GENERATION, CLEARING)
        self._sweep()

    def close(self) -> None:
        self._server.close()

    def _keys(self) -> Keys:
        return Keys(int(self._server.call("GET", GENERATION) or 0))

    def _reader(self) -> Reader:
        return Reader(self._server, self._keys())

    def _change(self, keys: Keys, *arguments: str | bytes) -> bool:
        names = (GENERATION, keys.timeline, keys.hours, keys.lasting)
        return self._server.change(names, str(keys.generation), *arguments)

    def _unknown(self, keys: Keys, events: list[Event]) -> list[Event]:
        chunks = [events[at : at + CHUNK] for at in range(0, len(events), CHUNK)]
        replies = self._server.pipeline(
            [("ZMSCORE", keys.timeline, *[event.id for event in chunk]) for chunk in chunks]
        )
        scores = chain.from_iterable(replies)
        return [e for e, score in zip(events, scores, strict=True) if score is None]

    def _expire(self, horizon: int) -> int:
        gone = 0
        touched: set[Place] = set()
        while True:
            keys = self._keys()
            reader = Reader(self._server, keys)
            entries = reader.page(-(2**53), horizon, "asc", None, CHUNK)
            if not entries:
                break
            change = removals(keys, entries, reader.fetch(entries))
            if self._change(keys, "remove", "", change.packed):
                gone += len(entries)
                touched.update(change.places)
        self._merge(keys, [place for place in touched if not place.ended(horizon)], fully=True)
        return gone

    def _merge(self, keys: Keys, places: Sequence[Place], *, fully: bool = False) -> None:
        """Tidy up. By then the events are stored: nothing that goes wrong here may hide that."""
        try:
            merge(self._server, keys, sorted(places), fully=fully)
        except StoreUnavailable as error:
            logger.warning("segments stay unmerged", extra={"reason": str(error)})
        except Exception:
            logger.exception("segments stay unmerged")

    def _sweep(self) -> None:
        """Remove the keys of generations that have been cleared."""
        cleared = self._server.call("GET", CLEARING)
        if cleared is None:
            return
        current = int(cleared)
        for found in self._server.scan(ROOT + "*"):
            old = [key for key in found if _is_before(key, current)]
            if old:
                self._server.call("UNLINK", *old)
        self._server.forget(CLEARING, current)

    def _renew_lasting(self) -> None:
        keys = self._keys()
        written = self._server.call("GET", keys.lasting)
        if self.ttl_seconds == (None if written is None else int(written)):
            return
        hours = Reader(self._server, keys).hours(0, 2**53)
        for at in range(0, len(hours), 24):
            named = {key: end for hour in hours[at : at + 24] for key, end in keys.of_hour(hour)}
            self._server.pipeline([self._last(key, end + DAY) for key, end in named.items()])
        ttl = "" if self.ttl_seconds is None else str(self.ttl_seconds)
        self._server.last((keys.timeline, keys.hours, keys.lasting), ttl)

    def _last(self, key: str, ended: int) -> Command:
        if self.ttl_seconds is None:
            return ("PERSIST", key)
        return ("EXPIREAT", key, ended + self.ttl_seconds)


def _is_before(key: bytes, generation: int) -> bool:
    found = generation_of(key)
    return found is not None and found < generation
