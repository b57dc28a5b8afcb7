"""The queue: a Redis stream, its consumer group, and all that is kept beside it.

The only module that knows stream keys and commands. `EventQueue` is what ingest and workers use
(asynchronous), `QueueAdmin` what query_api uses (synchronous); they share no command.

An entry holds the batches of one or more requests: fields `0`, `1`, … are msgpack `Batch`es, `n`
is the number of events in them. Entries are deleted when they are acknowledged, so the stream's
length is the backlog; the backlog in events and bytes is kept in the same transactions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import redis
import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from shared.errors import QueueUnavailable, StoreBusy
from shared.events import Event, ReceivedEvent

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
"""Hash of counters: written, duplicates, dead, dead_dropped."""
WRITING = NAMESPACE + "writing:"
"""Prefix; one key for each consumer whose append is under way, its value the last entry id."""
DEAD = NAMESPACE + "dead"
"""Stream of dead letters."""
ARQ_QUEUE = NAMESPACE + "jobs"

MAX_ENTRY_EVENTS = 500
MAX_ENTRY_BYTES = 512 * 1024
WRITING_SECONDS = 60

_ACK = """
local events, bytes = 0, 0
for i = 5, #ARGV, 3 do
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    events = events + ARGV[i + 1]
    bytes = bytes + ARGV[i + 2]
  end
  redis.call('XACK', KEYS[1], 'workers', ARGV[i])
end
if events > 0 then
  redis.call('HINCRBY', KEYS[2], 'events', -events)
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
  redis.call('HINCRBY', KEYS[3], 'written', ARGV[3])
  redis.call('HINCRBY', KEYS[3], 'duplicates', ARGV[4])
end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[5])
"""

_DROP_ALL = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local last
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
redis.call('SET', KEYS[2], last)
redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
redis.call('XGROUP', 'DESTROY', KEYS[1], 'workers')
redis.call('XGROUP', 'CREATE', KEYS[1], 'workers', last)
redis.call('DEL', KEYS[3], KEYS[4])
return last
"""


class Batch(msgspec.Struct, array_like=True, gc=False):
    """Events of one request as ingest queues them: checked, stripped and hashed."""

    source: str
    attempts: int
    events: list[ReceivedEvent]


class QueuedBatch(msgspec.Struct, array_like=True, gc=False):
    """The same bytes as a worker reads them; its fields are `Batch`'s."""

    source: str
    attempts: int
    events: list[Event]


class Progress(msgspec.Struct, gc=False):
    """What a worker last did. `at` and `started` are Unix seconds, `last_entry` a stream id."""

    started: float
    at: float
    last_entry: str | None = None
    written: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch ready for the stream: its bytes, and the number of events in them."""

    data: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry as it was read. `count` is events, `size` bytes."""

    id: str
    batches: list[bytes]
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be stored: why, when (Unix seconds), from where, how often tried."""

    event_id: str | None
    reason: str
    at: float
    source: str
    attempts: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the queue."""

    events: int
    bytes: int


_encoder = msgspec.msgpack.Encoder()


def pack(source: str, events: list[ReceivedEvent], attempts: int = 0) -> list[Packed]:
    """Encode events as batches that each fit in one entry."""
    if len(events) > MAX_ENTRY_EVENTS:
        return [
            packed
            for start in range(0, len(events), MAX_ENTRY_EVENTS)
            for packed in pack(source, events[start : start + MAX_ENTRY_EVENTS], attempts)
        ]
    data = _encoder.encode(Batch(source, attempts, events))
    if len(data) > MAX_ENTRY_BYTES and len(events) > 1:
        middle = len(events) // 2
        return [
            *pack(source, events[:middle], attempts),
            *pack(source, events[middle:], attempts),
        ]
    return [Packed(data, len(events))]


def group_into_entries(batches: Iterable[Packed]) -> list[list[Packed]]:
    """Share entries among batches, in order, none over the bounds of an entry."""
    entries: list[list[Packed]] = []
    count = size = 0
    for batch in batches:
        fits = count + batch.count <= MAX_ENTRY_EVENTS and size + len(batch.data) <= MAX_ENTRY_BYTES
        if not entries or not fits:
            entries.append([])
            count = size = 0
        entries[-1].append(batch)
        count += batch.count
        size += len(batch.data)
    return entries


def entry_order(entry_id: str) -> tuple[int, int]:
    """A stream id as a pair that sorts as the stream does."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def connect(url: str, *, timeout: float = 5.0) -> redis.asyncio.Redis:
    """An asynchronous client of the broker; `timeout` in seconds bounds each command."""
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=15
    )
    return client


class EventQueue:
    """The stream as producers and consumers see it.

    Every method raises QueueUnavailable where the broker is away or refuses.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._ack = client.register_script(_ACK)

    async def close(self) -> None:
        await self._redis.aclose()

    async def add(self, entries: Sequence[Sequence[Packed]]) -> Backlog:
        """Append entries, all or none; returns the backlog with them in it."""
        events = sum(batch.count for entry in entries for batch in entry)
        size = sum(len(batch.data) for entry in entries for batch in entry)
        pipe = self._redis.pipeline(transaction=True)
        for entry in entries:
            fields: dict[Any, Any] = {str(i): batch.data for i, batch in enumerate(entry)}
            fields["n"] = sum(batch.count for batch in entry)
            pipe.xadd(STREAM, fields)
        pipe.hincrby(BACKLOG, "events", events)
        pipe.hincrby(BACKLOG, "bytes", size)
        replies = await _answered(pipe.execute())
        return Backlog(replies[-2], replies[-1])

    async def backlog(self) -> Backlog:
        """Events and bytes that wait; also the proof that the broker answers."""
        events, size = await _answered(self._redis.hmget(BACKLOG, ["events", "bytes"]))
        return Backlog(int(events or 0), int(size or 0))

    async def create_group(self) -> None:
        """Make the consumer group, and the stream, where they are missing."""
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise QueueUnavailable(str(error)) from error
        except (RedisError, OSError) as error:
            raise QueueUnavailable(str(error)) from error

    async def read(self, consumer: str, *, count: int, block_ms: int) -> list[Entry]:
        """Entries that no consumer has had; waits up to `block_ms` for the first."""
        call = self._redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count, block=block_ms)
        reply = await self._with_group(call)
        return [_entry(*raw) for raw in reply[0][1]] if reply else []

    async def reclaim(self, consumer: str, *, count: int, idle_ms: int) -> list[Entry]:
        """Entries that another consumer took and did not finish within `idle_ms`."""
        call = self._redis.xautoclaim(STREAM, GROUP, consumer, idle_ms, "0-0", count=count)
        reply = await self._with_group(call)
        return [_entry(*raw) for raw in reply[1] if raw[0] and raw[1]] if reply else []

    async def hold(self, consumer: str, ids: list[str]) -> None:
        """Say that these entries are still being worked on: their idle time starts again."""
        await self._with_group(self._redis.xclaim(STREAM, GROUP, consumer, 0, [*ids], justid=True))

    async def give_back(self, consumer: str, ids: list[str]) -> None:
        """Let any consumer reclaim these entries at once."""
        call = self._redis.xclaim(STREAM, GROUP, consumer, 0, [*ids], idle=86_400_000, justid=True)
        await self._with_group(call)

    async def begin_write(self, consumer: str, last_id: str) -> str | None:
        """Announce an append up to `last_id`; returns the id that a clear dropped up to.

        The announcement comes first, so a clear that this call does not see will wait for it.
        """
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(WRITING + consumer, last_id, ex=WRITING_SECONDS)
        pipe.get(CLEARED)
        _, cleared = await _answered(pipe.execute())
        return cleared.decode() if cleared else None

    async def end_write(self, consumer: str) -> None:
        """Take the announcement of an append back: it failed, and nothing was written."""
        await _answered(self._redis.delete(WRITING + consumer))

    async def acknowledge(
        self, consumer: str, entries: Sequence[Entry], *, new: int, seen: int, progress: Progress
    ) -> None:
        """Drop entries whose events are in the store, and publish progress.

        `new` events were written, `seen` were there already. Repeating the call counts nothing
        twice.
        """
        arguments: list[Any] = [consumer, _encoder.encode(progress), new, seen]
        for entry in entries:
            arguments += (entry.id, entry.count, entry.size)
        keys = [STREAM, BACKLOG, TOTALS, WORKERS, WRITING + consumer]
        await _answered(self._ack(keys=keys, args=arguments))

    async def publish(self, consumer: str, progress: Progress) -> None:
        """Publish progress where there was nothing to acknowledge."""
        await _answered(self._redis.hset(WORKERS, mapping={consumer: _encoder.encode(progress)}))

    async def bury(self, letters: Sequence[DeadLetter], *, bound: int) -> None:
        """Keep dead letters, `bound` of them at the most; what is pushed out is counted."""
        pipe = self._redis.pipeline(transaction=True)
        for letter in letters:
            pipe.xadd(DEAD, _letter_fields(letter))
        pipe.xtrim(DEAD, maxlen=bound, approximate=False)
        pipe.hincrby(TOTALS, "dead", len(letters))
        replies = await _answered(pipe.execute())
        if dropped := replies[-2]:
            await _answered(self._redis.hincrby(TOTALS, "dead_dropped", dropped))

    async def forget_idle_consumers(self, idle_ms: int) -> int:
        """Remove consumers that hold nothing and were not seen for `idle_ms`; returns how many."""
        gone = 0
        for info in await self._with_group(self._redis.xinfo_consumers(STREAM, GROUP)) or []:
            if info["pending"] == 0 and info["idle"] > idle_ms:
                name = info["name"].decode()
                await _answered(self._redis.xgroup_delconsumer(STREAM, GROUP, name))
                await _answered(self._redis.hdel(WORKERS, name))
                gone += 1
        return gone

    async def _with_group(self, call: Any) -> Any:
        """Await a call that needs the group; make the group where it is lost, and answer None."""
        try:
            return await call
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise QueueUnavailable(str(error)) from error
            await self.create_group()
            return None
        except (TimeoutError, RedisError, OSError) as error:
            raise QueueUnavailable(_reason(error)) from error


class QueueAdmin:
    """The queue as an operator sees it: its state, and clearing it."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0) -> QueueAdmin:
        client = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        return cls(client)

    def close(self) -> None:
        self._redis.close()

    def drop_all(self, *, wait_seconds: float = 10.0) -> None:
        """Drop all that waits, dead letters too, and wait for the appends that are under way.

        After it no event that was queued before the call will be written. Raises StoreBusy where
        a worker's append outlasts `wait_seconds`, QueueUnavailable where the broker is away.
        """
        try:
            keys = [STREAM, CLEARED, BACKLOG, DEAD]
            last = cast("bytes | None", self._redis.eval(_DROP_ALL, len(keys), *keys))
            if last is not None:
                self._await_writers(entry_order(last.decode()), time.monotonic() + wait_seconds)
        except (RedisError, OSError) as error:
            raise QueueUnavailable(_reason(error)) from error

    def _await_writers(self, last: tuple[int, int], deadline: float) -> None:
        while busy := self._writers_up_to(last):
            if time.monotonic() > deadline:
                raise StoreBusy(f"{', '.join(busy)} did not finish writing in time")
            time.sleep(0.02)

    def _writers_up_to(self, last: tuple[int, int]) -> list[str]:
        names = [name.decode() for name in cast("list[bytes]", self._redis.hkeys(WORKERS))]
        keys = [WRITING + name for name in names]
        values = cast("list[bytes | None]", self._redis.mget(keys)) if keys else []
        return [
            name
            for name, value in zip(names, values, strict=True)
            if value is not None and entry_order(value.decode()) <= last
        ]


async def _answered(call: Any) -> Any:
    try:
        return await call
    except (TimeoutError, RedisError, OSError) as error:
        raise QueueUnavailable(_reason(error)) from error


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _entry(raw_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    count = int(fields.pop(b"n", b"0"))
    batches = list(fields.values())
    return Entry(raw_id.decode(), batches, count, sum(map(len, batches)))


def _letter_fields(letter: DeadLetter) -> dict[Any, Any]:
    return {
        "id": letter.event_id or "",
        "reason": letter.reason,
        "at": letter.at,
        "source": letter.source,
        "attempts": letter.attempts,
        "payload": letter.payload,
    }
