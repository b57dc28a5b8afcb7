"""Group commit: requests that arrive together share one write to the stream.

A request is answered when the write that carries it has been acknowledged by the broker. While a
write is under way the next requests gather, and leave together when it returns, or beside it once
they are as many as it carries: so the broker always has work, and groups stay large. No timer is
involved, and a lone request waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from shared.errors import QueueFull, QueueUnavailable
from shared.stream import Backlog, Packed, group_into_entries

MAX_GROUP_BYTES = 16 * 1024 * 1024
BACKLOG_AGE_SECONDS = 0.25
MAX_WRITES = 2
"""Writes under way at once, each on a connection of its own."""

logger = logging.getLogger(__name__)

_Waiting = tuple[list[Packed], "asyncio.Future[None]"]


class Queue(Protocol):
    """What the group commit needs of the stream."""

    async def add(self, entries: Sequence[Sequence[Packed]]) -> Backlog: ...

    async def backlog(self) -> Backlog: ...


class GroupCommitter:
    """Commits batches to the queue, many requests at once, and guards the queue's bound."""

    def __init__(
        self,
        queue: Queue,
        *,
        max_events: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        took: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`took` is told how many seconds each write to the queue took."""
        self._took = took
        self._queue = queue
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._held_events = 0
        self._held_bytes = 0
        """What waits or is being written: it counts like what the queue holds already."""
        self._writes: dict[asyncio.Task[None], int] = {}
        """Writes under way, each with the number of requests that it carries."""
        self._wake = asyncio.Event()
        self._stopping = False
        self._backlog = Backlog(0, 0)
        self._backlog_at = float("-inf")

    async def commit(self, batches: list[Packed]) -> None:
        """Return when the broker has the batches.

        Raises QueueFull at the backlog's bound, QueueUnavailable where the broker can't take them
        or `run` has ended.
        """
        if self._clock() - self._backlog_at > BACKLOG_AGE_SECONDS:
            await self._look()
        self._require_room()
        if self._stopping:
            raise QueueUnavailable("ingest is stopping")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((batches, done))
        for batch in batches:
            self._held_events += batch.count
            self._held_bytes += len(batch.data)
        self._wake.set()
        try:
            await done
        finally:
            # A failure in it would be tied to this frame, and so to the request's events.
            del done

    async def check_room(self, *, max_age: float = BACKLOG_AGE_SECONDS) -> None:
        """Raise QueueFull while the backlog, as it was `max_age` seconds ago, is at its bound."""
        if self._clock() - self._backlog_at > max_age:
            await self._look()
        self._require_room()

    async def _look(self) -> None:
        self._backlog_at = self._clock()
        self._backlog = await self._queue.backlog()

    def _require_room(self) -> None:
        events = self._backlog.events + self._held_events
        if events >= self._max_events:
            raise QueueFull(f"the queue holds {events} events, its bound")
        size = self._backlog.bytes + self._held_bytes
        if size >= self._max_bytes:
            raise QueueFull(f"the queue holds {size} bytes, its bound")

    def stop(self) -> None:
        """Take no more; `run` ends once what waits is written."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Write groups until stopped or cancelled; what waits then is told it was not queued."""
        try:
            while self._waiting or self._writes or not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting and self._may_write():
                    self._begin_write(self._take_group())
        finally:
            self._stopping = True
            self._settle(self._waiting, QueueUnavailable("ingest is stopping"))
            self._waiting.clear()
            for write in self._writes:
                write.cancel()
            await asyncio.gather(*self._writes, return_exceptions=True)

    def _may_write(self) -> bool:
        """Whether none is under way, or one that carries no more than what waits."""
        if not self._writes:
            return True
        return len(self._writes) < MAX_WRITES and len(self._waiting) >= max(self._writes.values())

    def _begin_write(self, group: list[_Waiting]) -> None:
        write = asyncio.create_task(self._write(group))
        self._writes[write] = len(group)
        write.add_done_callback(self._end_write)

    def _end_write(self, write: asyncio.Task[None]) -> None:
        del self._writes[write]
        self._wake.set()

    def _take_group(self) -> list[_Waiting]:
        size = 0
        for position, (batches, _) in enumerate(self._waiting):
            for batch in batches:
                size += len(batch.data)
            if size > MAX_GROUP_BYTES:
                group = self._waiting[: position + 1]
                del self._waiting[: position + 1]
                return group
        group, self._waiting = self._waiting, []
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        failure: QueueUnavailable | None = QueueUnavailable("ingest is stopping")
        try:
            entries = group_into_entries(batch for batches, _ in group for batch in batches)
            began = self._clock()
            self._backlog = await self._queue.add(entries)
            self._backlog_at = self._clock()
            self._took(self._backlog_at - began)
            failure = None
        except QueueUnavailable as error:
            # Its traceback names this frame, which holds it and the group.
            failure = error.with_traceback(None)
        except Exception:
            # Without this loop every later request would wait for ever.
            logger.exception("a write to the queue failed", extra={"requests": len(group)})
            failure = QueueUnavailable("the write failed; ingest's log has the reason")
        finally:
            self._settle(group, failure)

    def _settle(self, group: list[_Waiting], failure: QueueUnavailable | None) -> None:
        for batches, done in group:
            for batch in batches:
                self._held_events -= batch.count
                self._held_bytes -= len(batch.data)
            if done.done():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)
