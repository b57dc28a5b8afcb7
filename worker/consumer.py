"""The consumer: takes entries from the stream, writes their events, and only then lets them go.

It knows nothing of what hosts it. One loop, one batch at a time: reclaim what others left, read,
decode, normalise, append, acknowledge. An entry is acknowledged after `append` has returned, so a
death at any moment costs a redelivery, which the store's unique id turns into nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.events import Event
from shared.stores.base import Store
from shared.stream import DeadLetter, Entry, EventQueue, Progress, QueuedBatch, entry_order

from worker.normalise import normalise

logger = logging.getLogger(__name__)

_batches = msgspec.msgpack.Decoder(QueuedBatch)
_raw_batches = msgspec.msgpack.Decoder(tuple[str, int, list[msgspec.Raw]])
_event = msgspec.msgpack.Decoder(Event)
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a consumer spends its time. Seconds, unless the name says otherwise."""

    read_entries: int = 32
    block_ms: int = 1_000
    reclaim_every: float = 5.0
    reclaim_idle_ms: int = 10_000
    publish_every: float = 1.0
    tries: int = 5
    first_backoff: float = 0.1
    longest_backoff: float = 5.0


@dataclass(frozen=True, slots=True)
class Item:
    """One event on its way to the store, and what a dead letter of it would say."""

    event: Event
    entry: str
    source: str
    attempts: int


@dataclass(slots=True)
class Work:
    """A batch of entries, decoded."""

    items: list[Item] = field(default_factory=list)
    undecodable: list[DeadLetter] = field(default_factory=list)


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
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._store = store
        self._name = name
        self._max_dead_letters = max_dead_letters
        self._pace = pace or Pace()
        self._clock = clock
        self._progress = Progress(started=clock(), at=clock())
        self._stopping = asyncio.Event()
        self._reclaiming = Every(self._pace.reclaim_every)
        self._publishing = Every(self._pace.publish_every)

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
        entries.sort(key=lambda entry: entry_order(entry.id))
        work = decode(entries, self._clock())
        if work.undecodable:
            await self._bury(work.undecodable)
        try:
            new = await self._write(entries, work.items)
        except GivenBack:
            await self._queue.give_back(self._name, [entry.id for entry in entries])
            return
        seen = len(work.items) - new
        progress = Progress(
            started=self._progress.started,
            at=self._clock(),
            last_entry=entries[-1].id,
            written=self._progress.written + new,
            duplicates=self._progress.duplicates + seen,
        )
        await self._queue.acknowledge(self._name, entries, new=new, seen=seen, progress=progress)
        self._progress = progress

    async def _write(self, entries: list[Entry], items: list[Item]) -> int:
        """Append until it holds; returns how many were new. What fails again and again is split."""
        backoff = self._pace.first_backoff
        for _ in range(self._pace.tries):
            try:
                return await self._append_patiently(entries, items)
            except (QueueUnavailable, GivenBack):
                raise
            except Exception as error:
                # Whatever a store raises, the events must end in it or in the dead letters.
                failure = error
                logger.warning("a batch failed", exc_info=error, extra={"events": len(items)})
            backoff = await self._back_off(backoff)
        return await self._split(entries, items, failure)

    async def _split(self, entries: list[Entry], items: list[Item], failure: Exception) -> int:
        """Store what can be stored of a batch that keeps failing; bury what can't."""
        if len(items) == 1:
            await self._bury([dead_letter(items[0], self._clock(), failure, self._pace.tries)])
            return 0
        new = 0
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            try:
                new += await self._append_patiently(entries, half)
            except (QueueUnavailable, GivenBack):
                raise
            except Exception as error:
                new += await self._split(entries, half, error)
        return new

    async def _append_patiently(self, entries: list[Entry], items: list[Item]) -> int:
        """Append once the store is there; any other error of the store is the caller's."""
        backoff = self._pace.first_backoff
        ids = [entry.id for entry in entries]
        while True:
            cleared = await self._queue.begin_write(self._name, ids[-1])
            wanted = _not_cleared(items, cleared)
            try:
                if not wanted:
                    return 0
                return await asyncio.to_thread(self._store.append, [item.event for item in wanted])
            except StoreUnavailable as error:
                logger.warning("the store is away", extra={"reason": str(error)})
            await self._queue.end_write(self._name)
            backoff = await self._back_off(backoff)
            if self._stopping.is_set():
                raise GivenBack
            await self._queue.hold(self._name, ids)

    async def _bury(self, letters: list[DeadLetter]) -> None:
        for letter in letters:
            logger.error(
                "event dead-lettered",
                extra={"event_id": letter.event_id, "reason": letter.reason},
            )
        await self._queue.bury(letters, bound=self._max_dead_letters)

    async def _back_off(self, seconds: float) -> float:
        """Wait, or less when stopping; returns how long to wait the next time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return min(seconds * 2, self._pace.longest_backoff)


def _not_cleared(items: list[Item], cleared: str | None) -> list[Item]:
    """The items that came after the newest clear."""
    if cleared is None:
        return items
    newest = entry_order(cleared)
    if not items or entry_order(items[0].entry) > newest:
        return items
    return [item for item in items if entry_order(item.entry) > newest]


def decode(entries: Sequence[Entry], now: float) -> Work:
    """The events of `entries`, normalised; what can't be read becomes a dead letter."""
    work = Work()
    for entry in entries:
        for data in entry.batches:
            _decode_batch(work, entry.id, data, now)
    return work


def _decode_batch(work: Work, entry: str, data: bytes, now: float) -> None:
    try:
        batch = _batches.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _decode_one_by_one(work, entry, data, now)
        return
    source, attempts = batch.source, batch.attempts
    work.items += [Item(event, entry, source, attempts) for event in normalise(batch.events)]


def _decode_one_by_one(work: Work, entry: str, data: bytes, now: float) -> None:
    try:
        source, attempts, raws = _raw_batches.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        letter = DeadLetter(None, f"unreadable batch: {error}", now, "unknown", 1, data)
        work.undecodable.append(letter)
        return
    for raw in raws:
        try:
            event = _event.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = f"unreadable event: {error}"
            letter = DeadLetter(None, reason, now, source, attempts + 1, bytes(raw))
            work.undecodable.append(letter)
        else:
            work.items += [Item(event, entry, source, attempts) for event in normalise([event])]


def dead_letter(item: Item, now: float, error: Exception, tries: int) -> DeadLetter:
    reason = f"{type(error).__name__}: {error}"
    payload = _encoder.encode(item.event)
    return DeadLetter(item.event.id, reason, now, item.source, item.attempts + tries, payload)
