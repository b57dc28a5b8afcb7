"""Group commit: requests that arrive together share one write to the stream.

A request is answered when the write that carries it has been acknowledged by the broker. While one
write is under way the next requests gather; no timer is involved, so a lone request waits for
nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from shared.errors import QueueFull, QueueUnavailable
from shared.stream import Backlog, EventQueue, Packed, group_into_entries

MAX_GROUP_BYTES = 16 * 1024 * 1024
BACKLOG_AGE_SECONDS = 0.25


class GroupCommitter:
    """Commits batches to the queue, many requests at once, and guards the queue's bound."""

    def __init__(
        self,
        queue: EventQueue,
        *,
        max_events: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._clock = clock
        self._waiting: list[tuple[list[Packed], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._backlog = Backlog(0, 0)
        self._backlog_at = float("-inf")

    async def commit(self, batches: list[Packed]) -> None:
        """Return when the broker has the batches.

        Raises QueueFull at the backlog's bound, QueueUnavailable where the broker can't take them.
        """
        await self.check_room()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((batches, done))
        self._wake.set()
        await done

    async def check_room(self, *, max_age: float = BACKLOG_AGE_SECONDS) -> None:
        """Raise QueueFull while the backlog, as it was `max_age` seconds ago, is at its bound."""
        if self._clock() - self._backlog_at > max_age:
            self._backlog_at = self._clock()
            self._backlog = await self._queue.backlog()
        backlog = self._backlog
        if backlog.events >= self._max_events:
            raise QueueFull(f"the queue holds {backlog.events} events, its bound")
        if backlog.bytes >= self._max_bytes:
            raise QueueFull(f"the queue holds {backlog.bytes} bytes, its bound")

    async def run(self) -> None:
        """Write groups until cancelled; what waits then is told that it was not queued."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._write(self._take_group())
        finally:
            for _, done in self._waiting:
                if not done.done():
                    done.set_exception(QueueUnavailable("ingest is stopping"))
            self._waiting.clear()

    def _take_group(self) -> list[tuple[list[Packed], asyncio.Future[None]]]:
        size = 0
        for position, (batches, _) in enumerate(self._waiting):
            size += sum(len(batch.data) for batch in batches)
            if size > MAX_GROUP_BYTES:
                group = self._waiting[: position + 1]
                del self._waiting[: position + 1]
                return group
        group, self._waiting = self._waiting, []
        return group

    async def _write(self, group: list[tuple[list[Packed], asyncio.Future[None]]]) -> None:
        entries = group_into_entries(batch for batches, _ in group for batch in batches)
        failure: QueueUnavailable | None = None
        try:
            self._backlog = await self._queue.add(entries)
            self._backlog_at = self._clock()
        except QueueUnavailable as error:
            failure = error
        except BaseException:
            failure = QueueUnavailable("ingest is stopping")
            raise
        finally:
            for _, done in group:
                if done.done():
                    continue
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)
