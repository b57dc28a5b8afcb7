"""The consumer: takes entries from the stream, writes their events, and only then lets them go.

It knows nothing of what hosts it. One loop, one batch at a time: reclaim what others left, read,
decode, normalise, append, acknowledge. An entry is acknowledged after `append` has returned, so a
death at any moment costs a redelivery, which the store's unique id turns into nothing.

Progress is made when events were written or dead-lettered, or the queue was found empty, and at no
other time: a worker whose append hangs, or whose store is away, makes none, and says what its
trouble is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from shared.entries import DeadLetter, Entry, Progress
from shared.errors import QueueUnavailable
from shared.stores.base import Store
from shared.stream import EventQueue

from worker.decode import Work, decode
from worker.normalise import STEPS, Step
from worker.pace import Backoff, Every, Pace
from worker.writer import GivenBack, Writer

logger = logging.getLogger(__name__)

LOGGED_LETTERS = 10
"""Dead letters of one batch that are logged one by one; all of them can be read from the queue."""


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
        self._name = name
        self._max_dead_letters = max_dead_letters
        self._max_combinations = max_combinations
        self._steps = steps
        self._pace = pace = pace or Pace()
        self._clock = clock
        self._progress = Progress(started=clock())
        self._stopping = asyncio.Event()
        self._reclaiming = Every(pace.reclaim_every)
        self._publishing = Every(pace.publish_every)
        self._writer = Writer(
            queue, store, name, self._progress, pace=pace, clock=clock, stopping=self._stopping
        )

    @property
    def writing(self) -> bool:
        """Whether the store is at work on an append, even where `run` was cancelled meanwhile."""
        return self._writer.writing

    async def run(self) -> None:
        """Consume until `stop`, then leave. Outlives an absent broker and a lost group."""
        backoff = Backoff(self._pace, self._stopping)
        joined = False
        while not self._stopping.is_set():
            try:
                if not joined:
                    await self._join()
                    joined = True
                await self._turn()
                backoff.reset()
            except QueueUnavailable as error:
                joined = False
                logger.warning("the queue is away", extra={"reason": str(error)})
                await backoff.wait()
            except Exception:
                joined = False
                logger.exception("a turn of the consumer failed; its entries will be reclaimed")
                await backoff.wait()
        with suppress(QueueUnavailable):
            await self._queue.withdraw(self._name)

    def stop(self) -> None:
        """Let `run` return after the batch in hand."""
        self._stopping.set()

    async def _join(self) -> None:
        await self._queue.create_group()
        await self._queue.publish(self._name, self._progress)
        with suppress(QueueUnavailable):
            for warning in (await self._queue.broker()).warnings():
                logger.warning(warning)

    async def _turn(self) -> None:
        entries = await self._next_entries()
        if entries:
            await self._process(entries)
        elif self._publishing.due():
            self._progress.went_on()
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
            await self._writer.write(work)
        except GivenBack:
            await self._queue.give_back(self._name, work.ids)
            logger.warning("entries given back", extra={"entries": len(entries)})
            return
        await self._acknowledge(work)

    async def _acknowledge(self, work: Work) -> None:
        progress = self._progress
        progress.went_on()
        progress.last_entry = work.ids[-1]
        progress.written += work.new
        progress.duplicates += work.seen
        dropped = await self._queue.acknowledge(
            self._name,
            work.entries,
            new=work.new,
            seen=work.seen,
            expired=work.expired,
            progress=progress,
            letters=work.letters,
            max_letters=self._max_dead_letters,
            traffic=work.traffic(),
            max_combinations=self._max_combinations,
        )
        _log([letter for _, letter in work.letters])
        if dropped:
            logger.error("the oldest dead letters were dropped", extra={"letters": dropped})


def _log(letters: list[DeadLetter]) -> None:
    for letter in letters[:LOGGED_LETTERS]:
        logger.error(
            "event dead-lettered", extra={"event_id": letter.event_id, "reason": letter.reason}
        )
    if len(letters) > LOGGED_LETTERS:
        more = len(letters) - LOGGED_LETTERS
        logger.error("more events dead-lettered", extra={"events": more})
