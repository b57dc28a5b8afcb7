"""From stream entries to work: events ready for the store, and dead letters of what can't be read.

A bad event is a value with a reason, not an exception: it costs itself and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from shared.entries import DeadLetter, Entry, QueuedBatch, entry_order
from shared.events import Event
from shared.traffic import Traffic

from worker.normalise import STEPS, Step, normalise
from worker.tally import Tally

_entry = msgspec.msgpack.Decoder(list[QueuedBatch])
_raw_entry = msgspec.msgpack.Decoder(list[msgspec.Raw])
_batch = msgspec.msgpack.Decoder(QueuedBatch)
_raw_batch = msgspec.msgpack.Decoder(tuple[str, list[msgspec.Raw]])
_event = msgspec.msgpack.Decoder(Event)
_encoder = msgspec.msgpack.Encoder()
MAX_REASON = 1_024
"""Characters."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Item(msgspec.Struct, gc=False):
    """One event on its way to the store, and what a dead letter of it would say.

    `attempts` is how often it was tried before this delivery: other than 0 where it is replayed.
    """

    event: Event
    entry: str
    source: str
    attempts: int


@dataclass(slots=True)
class Work:
    """A batch of entries, decoded, and what has become of it so far.

    `letters` are dead letters, each with the id of its entry. `new` events were written, `seen`
    were in the store already, `expired` had ended before they could be written.
    """

    entries: list[Entry]
    steps: Sequence[Step] = STEPS
    items: list[Item] = field(default_factory=list)
    letters: list[tuple[str, DeadLetter]] = field(default_factory=list)
    new: int = 0
    seen: int = 0
    expired: int = 0
    _all: Tally = field(default_factory=Tally)
    _written: Tally = field(default_factory=Tally)

    def take(self, entry: Entry, source: str, events: list[Event]) -> None:
        """Normalise and take up events of an entry.

        They are tallied at once, as if all were new: after the append they would have left the
        processor's cache, and it takes twice as long.
        """
        normalise(events, self.steps)
        self._all.add(events)
        self.items += [Item(event, entry.id, source, entry.attempts) for event in events]

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def count(self, new: int, seen: int, written: Sequence[Event]) -> None:
        """Count an append; `written` are the events that are taken for the new ones."""
        self.new += new
        self.seen += seen
        if new < len(self.items):
            self._written.add(written)

    def traffic(self) -> Traffic:
        """What the events that were written add to the traffic counters."""
        return (self._all if self.new == len(self.items) else self._written).traffic()

    def bury(self, item: Item, error: Exception, now: float, tries: int) -> None:
        """Give an event up: it becomes a dead letter when the work is acknowledged.

        A replay is one attempt more, however often a new event is tried.
        """
        reason = plain(f"{type(error).__name__}: {error}")
        attempts = item.attempts + 1 if item.attempts else tries
        payload = _encoder.encode([QueuedBatch(item.source, [item.event])])
        event = item.event
        letter = DeadLetter(event.id, reason, now, item.source, attempts, payload, event.timestamp)
        self.letters.append((item.entry, letter))

    def bury_unreadable(
        self, entry: Entry, reason: str, now: float, payload: bytes, source: str = "unknown"
    ) -> None:
        """The same of what can't be read; one attempt is enough to know that."""
        letter = DeadLetter(None, reason, now, source, entry.attempts + 1, payload)
        self.letters.append((entry.id, letter))


def plain(reason: str) -> str:
    """A reason that fits: errors may repeat whole statements, or hold halves of characters."""
    return reason[:MAX_REASON].encode(errors="replace").decode()


def decode(entries: Sequence[Entry], now: float, steps: Sequence[Step] = STEPS) -> Work:
    """The events of `entries` in the stream's order, normalised by `steps`."""
    work = Work(sorted(entries, key=lambda entry: entry_order(entry.id)), steps)
    for entry in work.entries:
        _decode_entry(work, entry, now)
    return work


def not_cleared(items: list[Item], cleared: str | None) -> list[Item]:
    """The items that came after the newest clear; `cleared` is the last id that it dropped."""
    if cleared is None:
        return items
    newest = entry_order(cleared)
    if not items or entry_order(items[0].entry) > newest:
        return items
    return [item for item in items if entry_order(item.entry) > newest]


def not_expired(items: list[Item], horizon: int) -> list[Item]:
    """The items that a store whose horizon this is still takes."""
    return [item for item in items if item.event.timestamp > horizon] if horizon else items


def _decode_entry(work: Work, entry: Entry, now: float) -> None:
    try:
        batches = _entry.decode(entry.data)
    except _UNREADABLE:
        _decode_batch_by_batch(work, entry, now)
        return
    for batch in batches:
        work.take(entry, batch.source, batch.events)


def _decode_batch_by_batch(work: Work, entry: Entry, now: float) -> None:
    try:
        raws = _raw_entry.decode(entry.data)
    except _UNREADABLE as error:
        work.bury_unreadable(entry, f"unreadable entry: {error}", now, entry.data)
        return
    for raw in raws:
        _decode_batch(work, entry, raw, now)


def _decode_batch(work: Work, entry: Entry, data: msgspec.Raw, now: float) -> None:
    try:
        batch = _batch.decode(data)
    except _UNREADABLE:
        _decode_one_by_one(work, entry, data, now)
    else:
        work.take(entry, batch.source, batch.events)


def _decode_one_by_one(work: Work, entry: Entry, data: msgspec.Raw, now: float) -> None:
    try:
        source, raws = _raw_batch.decode(data)
    except _UNREADABLE as error:
        payload = _encoder.encode([data])
        work.bury_unreadable(entry, f"unreadable batch: {error}", now, payload)
        return
    for raw in raws:
        try:
            event = _event.decode(raw)
        except _UNREADABLE as error:
            payload = _encoder.encode([(source, [raw])])
            work.bury_unreadable(entry, f"unreadable event: {error}", now, payload, source)
        else:
            work.take(entry, source, [event])
