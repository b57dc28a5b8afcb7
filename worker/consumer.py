"""The consumer: takes entries from the stream, writes their events, and only then lets them go.

It knows nothing of what hosts it. One loop, one batch at a time: reclaim what others left, read,
decode, normalise, append, acknowledge. An entry is acknowledged after `append` has returned, so a
death at any moment costs a redelivery, which the store's unique id turns into nothing.

Progress is published when events were written or the queue was found empty, and at no other time:
a worker whose append hangs, or whose store is away, shows none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shared.entries import Entry, Progress
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.events import Event
from shared.stores.base import Store
from shared.stream import EventQueue

from worker.decode import Item, Work, decode, not_cleared
from worker.normalise import STEPS, Step

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a consumer spends its time. Seconds, unless the name says otherwise."""

    read_entries: int = 32
    block_ms: int = 1_000
    reclaim_every: float = 5.0
    reclaim_idle_ms: int = 10_000
    publish_every: float = 1.0
    announce_every: float = 2.0
    """How often an append that lasts is announced anew; below the life of an announcement."""
    hold_for: float = 60.0
    """How long an append keeps its entries from other consumers."""
    tries: int = 5
    first_backoff: float = 0.1
    longest_backoff: float = 5.0


class GivenBack(Exception):
    """The consumer is stopping with a batch that the store does not take: others shall have it."""


class Every:
    """True once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def again(self) -> None:
        """Be due at the next question."""
        self._next = 0.0


class Consumer:
    """One member of the consumer group, writing into one store."""

    def __init__(
        self,
        queue: EventQueue,
        store: Store,
        name: str,
        *,
        max_dead_letters: int,
        max_combinations: int,
        steps: Sequence[Step] = STEPS,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._store = store
        self._name = name
        self._max_dead_letters = max_dead_letters
        self._max_combinations = max_combinations
        self._steps = steps
        self._pace = pace or Pace()
        self._clock = clock
        self._progress = Progress(started=clock(), at=clock())
        self._append: asyncio.Future[int] | None = None
        self._stopping = asyncio.Event()
        self._reclaiming = Every(self._pace.reclaim_every)
        self._publishing = Every(self._pace.publish_every)

    @property
    def writing(self) -> bool:
        """Whether the store is at work on an append, even where `run` was cancelled meanwhile."""
        return self._append is not None and not self._append.done()

    async def run(self) -> None:
        """Consume until `stop`. Outlives an absent broker and a lost group."""
        backoff = self._pace.first_backoff
        joined = False
        while not self._stopping.is_set():
            try:
                if not joined:
                    await self._join()
                    joined = True
                await self._turn()
                backoff = self._pace.first_backoff
            except QueueUnavailable as error:
                joined = False
                logger.warning("the queue is away", extra={"reason": str(error)})
                backoff = await self._back_off(backoff)
            except Exception:
                joined = False
                logger.exception("a turn of the consumer failed; its entries will be reclaimed")
                backoff = await self._back_off(backoff)

    def stop(self) -> None:
        """Let `run` return after the batch in hand."""
        self._stopping.set()

    async def _join(self) -> None:
        await self._queue.create_group()
        await self._queue.publish(self._name, self._progress)

    async def _turn(self) -> None:
        entries = await self._next_entries()
        if entries:
            await self._process(entries)
        elif self._publishing.due():
            self._progress.at = self._clock()
            await self._queue.publish(self._name, self._progress)

    async def _next_entries(self) -> list[Entry]:
        pace = self._pace
        if self._reclaiming.due():
            reclaimed = await self._queue.reclaim(
                self._name, count=pace.read_entries, idle_ms=pace.reclaim_idle_ms
            )
            if reclaimed:
                self._reclaiming.again()
                logger.info("entries reclaimed", extra={"entries": len(reclaimed)})
                return reclaimed
        return await self._queue.read(self._name, count=pace.read_entries, block_ms=pace.block_ms)

    async def _process(self, entries: list[Entry]) -> None:
        work = decode(entries, self._clock(), self._steps)
        try:
            await self._write(work)
        except GivenBack:
            await self._queue.give_back(self._name, work.ids)
            logger.warning("entries given back", extra={"entries": len(entries)})
            return
        await self._acknowledge(work)

    async def _acknowledge(self, work: Work) -> None:
        progress = Progress(
            started=self._progress.started,
            at=self._clock(),
            last_entry=work.ids[-1],
            written=self._progress.written + work.new,
            duplicates=self._progress.duplicates + work.seen,
        )
        await self._queue.acknowledge(
            self._name,
            work.entries,
            new=work.new,
            seen=work.seen,
            progress=progress,
            letters=work.letters,
            max_letters=self._max_dead_letters,
            traffic=work.traffic(),
            max_combinations=self._max_combinations,
        )
        self._progress = progress
        for _, letter in work.letters:
            logger.error(
                "event dead-lettered",
                extra={"event_id": letter.event_id, "reason": letter.reason},
            )

    async def _write(self, work: Work) -> None:
        """Append until it holds. What fails again and again is split."""
        backoff = self._pace.first_backoff
        for attempt in range(1, self._pace.tries + 1):
            try:
                return await self._append_patiently(work, work.items)
            except (QueueUnavailable, GivenBack):
                raise
            except Exception as error:
                # Whatever a store raises, the events must end in it or in the dead letters.
                logger.warning("a batch failed", exc_info=error, extra={"events": len(work.items)})
                if attempt == self._pace.tries:
                    return await self._split(work, work.items, error)
            backoff = await self._back_off_with(work, backoff)

    async def _split(self, work: Work, items: list[Item], failure: Exception) -> None:
        """Store what can be stored of a batch that keeps failing; bury what can't."""
        if len(items) == 1:
            work.bury(items[0], failure, self._clock(), self._pace.tries)
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            try:
                await self._append_patiently(work, half)
            except (QueueUnavailable, GivenBack):
                raise
            except Exception as error:
                await self._split(work, half, error)

    async def _append_patiently(self, work: Work, items: list[Item]) -> None:
        """Append once the store is there; any other error of the store is the caller's."""
        backoff = self._pace.first_backoff
        while True:
            try:
                return await self._append_announced(work, items)
            except StoreUnavailable as error:
                logger.warning("the store is away", extra={"reason": str(error)})
            backoff = await self._back_off_with(work, backoff)

    async def _append_announced(self, work: Work, items: list[Item]) -> None:
        """Append what no clear has dropped, announced so that a clear waits for it."""
        cleared = await self._queue.begin_write(self._name, work.ids[-1], self._progress)
        wanted = not_cleared(items, cleared)
        if not wanted:
            return
        events = [item.event for item in wanted]
        try:
            new = await self._append_in_thread(work, events)
        except Exception:
            await self._queue.end_write(self._name)
            raise
        work.written(events, new)

    async def _append_in_thread(self, work: Work, events: list[Event]) -> int:
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        self._append = append = loop.run_in_executor(None, self._store.append, events)
        append.add_done_callback(_take_note)
        while not (await asyncio.wait({append}, timeout=self._pace.announce_every))[0]:
            with suppress(QueueUnavailable):
                await self._queue.begin_write(self._name, work.ids[-1], self._progress)
                if time.monotonic() - started < self._pace.hold_for:
                    await self._queue.hold(self._name, work.ids)
        return append.result()

    async def _back_off_with(self, work: Work, seconds: float) -> float:
        """Back off with entries in hand: they stay ours, unless the consumer is to stop."""
        longer = await self._back_off(seconds)
        if self._stopping.is_set():
            raise GivenBack
        await self._queue.hold(self._name, work.ids)
        return longer

    async def _back_off(self, seconds: float) -> float:
        """Wait, or less when stopping; returns how long to wait the next time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return min(seconds * 2, self._pace.longest_backoff)


def _take_note(append: asyncio.Future[int]) -> None:
    """Of an append that outlived its cancelled consumer nobody asks how it ended."""
    if not append.cancelled():
        append.exception()
