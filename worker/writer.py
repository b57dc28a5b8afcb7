"""The writer: gets the events of a batch into the store, however the store behaves.

A store that is away is waited for. A batch that it refuses is taken apart, so that only what is bad
in it becomes dead letters. Each append is announced, so that a clear waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from shared.entries import Progress
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.stores.base import Store
from shared.stream import EventQueue

from worker.apart import Group, Outcome, append_apart, halves
from worker.decode import Work, not_cleared, not_expired, plain
from worker.pace import Backoff, Every, Pace
from worker.tally import newly_written

logger = logging.getLogger(__name__)

T = TypeVar("T")


class GivenBack(Exception):
    """The consumer is stopping with a batch that the store does not take: others shall have it."""


class Writer:
    """Writes for the consumer `name`, and notes in its progress how that goes."""

    def __init__(
        self,
        queue: EventQueue,
        store: Store,
        name: str,
        progress: Progress,
        *,
        pace: Pace,
        clock: Callable[[], float],
        stopping: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._store = store
        self._name = name
        self._progress = progress
        self._pace = pace
        self._clock = clock
        self._stopping = stopping
        self._patience = Every(pace.patience_every)
        self._running: asyncio.Future[Any] | None = None

    @property
    def writing(self) -> bool:
        """Whether the store is at work on an append, even where its consumer was cancelled."""
        return self._running is not None and not self._running.done()

    async def write(self, work: Work) -> None:
        """Return once every event is in the store or among the letters of `work`.

        Raises GivenBack where the consumer is to stop before that.
        """
        backoff = Backoff(self._pace, self._stopping)
        patient = False
        failures = 0
        while True:
            try:
                return await self._append_whole(work)
            except QueueUnavailable:
                raise
            except StoreUnavailable as error:
                self._is_away(error)
            except Exception as error:
                # Whatever a store raises, the events must end in it or in the dead letters.
                failures += 1
                patient = patient or self._patience.due()
                self._is_refused(error, work, in_full=patient)
                # An event that is alone has its last try when it is taken apart.
                if failures >= self._pace.tries - 1 or not patient:
                    return await self._take_apart(work, failures)
            await self._wait(work, backoff)

    async def _append_whole(self, work: Work) -> None:
        items = not_cleared(work.items, await self._announce(work))
        alive = not_expired(items, self._store.horizon())
        if alive:
            events = [item.event for item in alive]
            new = await self._in_thread(work, partial(self._store.append, events))
            work.count(new, len(alive) - new, newly_written(events, new))
        work.expired += len(items) - len(alive)

    async def _take_apart(self, work: Work, failures: int) -> None:
        """Store what can be stored of a refused batch, and bury what can't."""
        backoff = Backoff(self._pace, self._stopping)
        groups = halves(Group(work.items, failures))
        while groups:
            cleared = await self._announce(work)
            await self._queue.hold(self._name, work.ids)
            wanted = [self._wanted(work, group, cleared) for group in groups]
            outcome = await self._in_thread(work, partial(self._append_slice, wanted))
            self._note(work, outcome)
            groups = outcome.rest
            if outcome.away is not None:
                self._is_away(outcome.away)
                await self._queue.end_write(self._name)
                await self._wait(work, backoff)
            elif groups and self._stopping.is_set():
                await self._queue.end_write(self._name)
                raise GivenBack
            else:
                backoff.reset()

    def _wanted(self, work: Work, group: Group, cleared: str | None) -> Group:
        """What is still to be written of a group; counts what has expired."""
        items = not_cleared(group.items, cleared)
        alive = not_expired(items, self._store.horizon())
        work.expired += len(items) - len(alive)
        return Group(alive, group.failures)

    def _append_slice(self, groups: list[Group]) -> Outcome:
        pace = self._pace
        filled = [group for group in groups if group.items]
        return append_apart(
            self._store.append, filled, tries=pace.tries, seconds=pace.slice_seconds
        )

    def _note(self, work: Work, outcome: Outcome) -> None:
        work.count(outcome.new, outcome.seen, outcome.written)
        now = self._clock()
        for item, error in outcome.bad:
            work.bury(item, error, now, self._pace.tries)
        if outcome.new or outcome.seen or outcome.bad:
            self._progress.went_on()

    async def _announce(self, work: Work) -> str | None:
        """Say what is being written, so that a clear waits for it; returns what one has dropped."""
        return await self._queue.begin_write(self._name, work.ids[-1], self._progress)

    async def _in_thread(self, work: Work, call: Callable[[], T]) -> T:
        """Run a call that appends, and stand by it for as long as it takes."""
        started = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(None, call)
        running.add_done_callback(_take_note)
        self._running = running
        while not (await asyncio.wait({running}, timeout=self._pace.announce_every))[0]:
            await self._stand_by(work, time.monotonic() - started)
        try:
            return running.result()
        except Exception:
            await self._queue.end_write(self._name)
            raise

    async def _stand_by(self, work: Work, seconds: float) -> None:
        """Keep an append that lasts announced, and its entries held, but not for ever."""
        self._progress.trouble = f"an append has not returned for {seconds:.0f} s"
        with suppress(QueueUnavailable):
            await self._announce(work)
            if seconds < self._pace.hold_for:
                await self._queue.hold(self._name, work.ids)

    async def _wait(self, work: Work, backoff: Backoff) -> None:
        """Back off with entries in hand: they stay ours, unless the consumer is to stop."""
        await backoff.wait()
        if self._stopping.is_set():
            raise GivenBack
        await self._queue.hold(self._name, work.ids)

    def _is_away(self, error: StoreUnavailable) -> None:
        self._progress.trouble = plain(f"the store is away: {error}")
        logger.warning("the store is away", extra={"reason": str(error)})

    def _is_refused(self, error: Exception, work: Work, *, in_full: bool) -> None:
        self._progress.trouble = plain(f"the store refuses a batch: {error}")
        trace = error if in_full else None
        extra = {"events": len(work.items), "reason": self._progress.trouble}
        logger.warning("a batch was refused", exc_info=trace, extra=extra)


def _take_note(append: asyncio.Future[Any]) -> None:
    """Of an append that outlived its cancelled consumer nobody asks how it ended."""
    if not append.cancelled():
        append.exception()
