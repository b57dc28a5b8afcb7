"""The queue: a Redis stream, its consumer group, and all that is kept beside it.

All key names are here. `EventQueue` is what ingest and workers use (asynchronous);
`shared.queue_admin` is what an operator uses (synchronous). No other module knows a command.

An entry holds the batches of one or more requests: field `b` is a msgpack array of `Batch`es, `n`
the number of events in them, `attempts` how often a replayed one was tried before. Entries are
deleted when they are acknowledged, so the stream's length is the backlog; the backlog in events and
bytes is kept in the same transactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import redis.asyncio

from shared import stream_scripts as scripts
from shared.broker import KeptConnection, answered
from shared.entries import (
    MAX_ENTRY_BYTES,
    MAX_ENTRY_EVENTS,
    Backlog,
    Batch,
    DeadLetter,
    Entry,
    Packed,
    Progress,
    QueuedBatch,
    entry_order,
    group_into_entries,
    join,
    pack,
)
from shared.errors import QueueUnavailable
from shared.pipeline import BrokerState
from shared.traffic import Traffic

__all__ = [
    "MAX_ENTRY_BYTES",
    "MAX_ENTRY_EVENTS",
    "Backlog",
    "Batch",
    "DeadLetter",
    "Entry",
    "EventQueue",
    "Packed",
    "Progress",
    "QueuedBatch",
    "connect",
    "entry_order",
    "group_into_entries",
    "pack",
]

NAMESPACE = "routiium:analytics:"
STREAM = NAMESPACE + "events"
GROUP = "workers"
BACKLOG = NAMESPACE + "backlog"
"""Hash: events, bytes. What the stream holds."""
CLEARED = NAMESPACE + "cleared"
"""Id of the newest entry that a clear dropped; entries at or below it must not be written."""
WORKERS = NAMESPACE + "workers"
"""Hash: consumer name to its msgpack `Progress`."""
TOTALS = NAMESPACE + "totals"
"""Hash of counters: written, duplicates, expired, dead, dead_dropped, replayed."""
TRAFFIC = NAMESPACE + "traffic:1"
"""Hash: msgpack of `Labels` to msgpack `Sums`. The number is their layout's."""
WRITING = NAMESPACE + "writing:"
"""Prefix; one key for each consumer whose append is under way, its value the last entry id."""
DEAD = NAMESPACE + "dead"
"""Stream of dead letters."""
ARQ_QUEUE = NAMESPACE + "jobs"

WRITING_SECONDS = 8
"""How long an announced append is believed in; a worker announces a long one again and again."""

EXPIRY_STEP = 100
"""Dead letters that one step of their expiry looks at."""

_encoder = msgspec.msgpack.Encoder()
_progress = msgspec.msgpack.Decoder(Progress)


def connect(url: str) -> redis.asyncio.Redis:
    """An asynchronous client of the broker, without timeouts of its own: `answered` has one."""
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url, health_check_interval=15)
    return client


class EventQueue:
    """The stream as producers and consumers see it.

    Every method raises QueueUnavailable where the broker is away or refuses.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._idle: list[KeptConnection] = []
        self._ack = client.register_script(scripts.ACK)
        self._begin_write = client.register_script(scripts.BEGIN_WRITE)
        self._reclaimed_to: Any = "0-0"

    async def close(self) -> None:
        await self._redis.aclose()

    async def add(self, entries: Sequence[Sequence[Packed]]) -> Backlog:
        """Append entries, all or none; returns the backlog with them in it."""
        events = size = 0
        arguments: list[Any] = [0, 0]
        for entry in entries:
            data = join(entry)
            count = sum([batch.count for batch in entry])
            arguments += (data, count)
            events += count
            size += len(data)
        arguments[:2] = events, size
        connection = self._idle.pop() if self._idle else self._new_connection()
        try:
            return Backlog(*await self._answered(connection.run([STREAM, BACKLOG], arguments)))
        finally:
            self._idle.append(connection)

    def _new_connection(self) -> KeptConnection:
        return KeptConnection(self._redis.connection_pool, scripts.ADD)

    async def backlog(self) -> Backlog:
        """Events and bytes that wait; also the proof that the broker answers."""
        events, size = await self._answered(self._redis.hmget(BACKLOG, ["events", "bytes"]))
        return Backlog(int(events or 0), int(size or 0))

    async def broker(self) -> BrokerState:
        """What the broker tells of itself."""
        info = await self._answered(self._redis.info())
        return BrokerState.of(info)

    async def create_group(self) -> None:
        """Make the consumer group, and the stream, where they are missing.

        An empty stream has no backlog, whatever was counted before somebody removed it.
        """
        await self._answered(self._redis.eval(scripts.CREATE_GROUP, 2, STREAM, BACKLOG, GROUP))

    async def read(self, consumer: str, *, count: int, block_ms: int) -> list[Entry]:
        """Entries that no consumer has had; waits up to `block_ms` for the first."""
        call = self._redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count, block=block_ms)
        reply = await self._with_group(call)
        return [_entry(*raw) for raw in reply[0][1]] if reply else []

    async def reclaim(self, consumer: str, *, count: int, idle_ms: int) -> list[Entry]:
        """Entries that a consumer took and did not finish within `idle_ms`.

        Each call looks on from where the last one ended, so that entries which are still being
        worked on never hide those behind them.
        """
        call = self._redis.xautoclaim(
            STREAM, GROUP, consumer, idle_ms, self._reclaimed_to, count=count
        )
        reply = await self._with_group(call)
        if not reply:
            return []
        self._reclaimed_to = reply[0]
        return [_entry(*raw) for raw in reply[1] if raw[0] and raw[1]]

    async def hold(self, consumer: str, ids: list[str]) -> None:
        """Say that these entries are still being worked on: their idle time starts again."""
        await self._with_group(self._redis.xclaim(STREAM, GROUP, consumer, 0, [*ids], justid=True))

    async def give_back(self, consumer: str, ids: list[str]) -> None:
        """Let any consumer reclaim these entries at once."""
        call = self._redis.xclaim(STREAM, GROUP, consumer, 0, [*ids], idle=86_400_000, justid=True)
        await self._with_group(call)

    async def begin_write(self, consumer: str, last_id: str, progress: Progress) -> str | None:
        """Announce an append up to `last_id`; returns the id that a clear dropped up to.

        The announcement comes first, so a clear that this call does not see will wait for it. It
        is believed in for WRITING_SECONDS; call again while the append lasts.
        """
        keys = [WORKERS, WRITING + consumer, CLEARED]
        arguments: list[Any] = [consumer, _encoder.encode(progress), last_id, WRITING_SECONDS]
        at, cleared = await self._answered(self._begin_write(keys=keys, args=arguments))
        progress.at = float(at)
        return cleared.decode() if cleared else None

    async def end_write(self, consumer: str) -> None:
        """Take the announcement of an append back: it failed, and nothing was written."""
        await self._answered(self._redis.delete(WRITING + consumer))

    async def acknowledge(
        self,
        consumer: str,
        entries: Sequence[Entry],
        *,
        new: int,
        seen: int,
        expired: int = 0,
        progress: Progress,
        letters: Sequence[tuple[str, DeadLetter]] = (),
        max_letters: int = 1,
        traffic: Traffic | None = None,
        max_combinations: int = 1,
    ) -> int:
        """Drop entries whose events are in the store, and publish progress.

        `new` events were written, `seen` were there already, `expired` had ended before. `letters`
        are the events that could not be written, each with the id of its entry; of all dead letters
        the newest `max_letters` stay.
        `traffic` is what the new events add to the traffic counters: past `max_combinations`
        different labels their model is `other`, and past twice as many all of them are. Returns
        how many dead letters were pushed out. Repeating the call counts and keeps nothing twice.
        """
        encoded = _encoder.encode(progress)
        arguments: list[Any] = [GROUP, consumer, encoded, new, seen, expired, max_letters]
        arguments += (_encoder.encode(traffic or []), max_combinations, len(entries))
        for entry in entries:
            arguments += (entry.id, entry.count, entry.size)
        for entry_id, letter in letters:
            arguments += (entry_id, letter.event_id or "", letter.reason, letter.at)
            arguments += (letter.source, letter.attempts, letter.payload)
            arguments.append("" if letter.timestamp is None else letter.timestamp)
        keys = [STREAM, BACKLOG, TOTALS, WORKERS, WRITING + consumer, DEAD, TRAFFIC]
        at, dropped = await self._answered(self._ack(keys=keys, args=arguments))
        progress.at = float(at)
        return int(dropped)

    async def publish(self, consumer: str, progress: Progress) -> None:
        """Publish progress where there was nothing to acknowledge."""
        encoded: Any = _encoder.encode(progress)
        call = self._redis.eval(scripts.PUBLISH, 1, WORKERS, consumer, encoded)
        progress.at = float(await self._answered(call))

    async def withdraw(self, consumer: str) -> None:
        """Publish nothing of this consumer any more; it has stopped."""
        await self._answered(self._redis.hdel(WORKERS, consumer))

    async def expire_letters(self, horizon: int) -> int:
        """Remove dead letters that have ended by `horizon`, in Unix seconds; returns how many.

        A letter ends with its event, and at the latest as an event of its own time would. Each
        step looks at EXPIRY_STEP letters.
        """
        gone, start = 0, b"-"
        while start:
            arguments: list[Any] = [start, EXPIRY_STEP, horizon]
            removed, start = await self._answered(
                self._redis.eval(scripts.EXPIRE_LETTERS, 1, DEAD, *arguments)
            )
            gone += removed
        return gone

    async def forget_idle_consumers(self, idle_ms: int) -> int:
        """Remove consumers that hold nothing and gave no sign for `idle_ms`; returns how many."""
        seconds, microseconds = await self._answered(self._redis.time())
        oldest = seconds + microseconds / 1e6 - idle_ms / 1_000
        published = await self._answered(self._redis.hgetall(WORKERS))
        quiet = {name for name, raw in published.items() if _progress.decode(raw).at < oldest}
        for info in await self._with_group(self._redis.xinfo_consumers(STREAM, GROUP)) or []:
            if info["name"] not in published and info["idle"] > idle_ms:
                quiet.add(info["name"])
        if not quiet:
            return 0
        keys = [STREAM, WORKERS]
        return int(
            await self._answered(self._redis.eval(scripts.FORGET, len(keys), *keys, GROUP, *quiet))
        )

    async def _answered(self, call: Any) -> Any:
        return await answered(self._redis, call)

    async def _with_group(self, call: Any) -> Any:
        """Await a call that needs the group; make the group where it is lost, and answer None."""
        try:
            return await self._answered(call)
        except QueueUnavailable as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
            await self.create_group()
            return None


def _entry(raw_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    count, attempts = (_number(fields.get(name, b"")) for name in (b"n", b"attempts"))
    return Entry(raw_id.decode(), fields.get(b"b", b""), count, attempts)


def _number(text: bytes) -> int:
    """What somebody else put on the stream must not stop its readers."""
    return int(text) if text.isdigit() else 0
