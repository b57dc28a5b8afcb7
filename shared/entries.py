"""What the queue carries: batches, the entries that hold them, progress and dead letters.

Plain values; the keys and commands that move them are `shared.stream`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from shared.events import Event, ReceivedEvent

MAX_ENTRY_EVENTS = 500
MAX_ENTRY_BYTES = 512 * 1024


class Batch(msgspec.Struct, array_like=True, gc=False):
    """Events of one request as ingest queues them: checked, stripped and hashed."""

    source: str
    events: list[ReceivedEvent]


class QueuedBatch(msgspec.Struct, array_like=True, gc=False):
    """The same bytes as a worker reads them; its fields are `Batch`'s."""

    source: str
    events: list[Event]


class Progress(msgspec.Struct, gc=False):
    """What a worker last did. `at` and `started` are Unix seconds, `last_entry` a stream id.

    `at` is when it last made progress, by the broker's clock, which says so as that is published; 0
    until then. `started` is by the worker's own. `trouble` says what keeps it from doing more,
    where it knows.
    """

    started: float
    at: float = 0.0
    last_entry: str | None = None
    written: int = 0
    duplicates: int = 0
    trouble: str | None = None

    def went_on(self) -> None:
        """There was progress just now, so no trouble is left."""
        self.at = 0.0
        self.trouble = None


class Packed(msgspec.Struct, frozen=True, gc=False):
    """A batch ready for the stream: its bytes, and the number of events in them."""

    data: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry as it was read: `data` is what `join` made, `count` its events.

    `attempts` is how often these were tried before: other than 0 for a replayed dead letter.
    """

    id: str
    data: bytes
    count: int
    attempts: int = 0

    @property
    def size(self) -> int:
        """Bytes, as the backlog counts them."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be stored: why, when (Unix seconds), from where, how often tried.

    `payload` is an entry's `data` with this event alone, or with what could not be read;
    `timestamp` the event's, in Unix seconds, None where it could not be read.
    """

    event_id: str | None
    reason: str
    at: float
    source: str
    attempts: int
    payload: bytes
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the queue."""

    events: int
    bytes: int


_encoder = msgspec.msgpack.Encoder()


def pack(source: str, events: list[ReceivedEvent]) -> list[Packed]:
    """Encode events as batches that each fit in one entry."""
    if len(events) > MAX_ENTRY_EVENTS:
        return [
            packed
            for start in range(0, len(events), MAX_ENTRY_EVENTS)
            for packed in pack(source, events[start : start + MAX_ENTRY_EVENTS])
        ]
    data = _encoder.encode(Batch(source, events))
    if len(data) > MAX_ENTRY_BYTES and len(events) > 1:
        middle = len(events) // 2
        return [*pack(source, events[:middle]), *pack(source, events[middle:])]
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


def join(batches: Sequence[Packed]) -> bytes:
    """The batches of one entry as a msgpack array; none is encoded again."""
    head = b"\xdc" + len(batches).to_bytes(2, "big")
    return b"".join([head, *[batch.data for batch in batches]])


def entry_order(entry_id: str) -> tuple[int, int]:
    """A stream id as a pair that sorts as the stream does."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
