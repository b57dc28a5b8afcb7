"""From stream entries to work: events ready for the store, and dead letters of what can't be read.

A bad event is a value with a reason, not an exception: it costs itself and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from shared.entries import DeadLetter, Entry, QueuedBatch, entry_order
from shared.events import Event

from worker.normalise import normalise

_entry = msgspec.msgpack.Decoder(list[QueuedBatch])
_raw_entry = msgspec.msgpack.Decoder(list[msgspec.Raw])
_batch = msgspec.msgpack.Decoder(QueuedBatch)
_raw_batch = msgspec.msgpack.Decoder(tuple[str, int, list[msgspec.Raw]])
_event = msgspec.msgpack.Decoder(Event)
_encoder = msgspec.msgpack.Encoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Item(msgspec.Struct, gc=False):
    """One event on its way to the store, and what a dead letter of it would say."""

    event: Event
    entry: str
    source: str
    attempts: int


@dataclass(slots=True)
class Work:
    """A batch of entries, decoded, and what has become of it so far.

    `letters` are dead letters, each with the id of its entry. `new` events were written, `seen`
    were in the store already.
    """

    entries: list[Entry]
    items: list[Item] = field(default_factory=list)
    letters: list[tuple[str, DeadLetter]] = field(default_factory=list)
    new: int = 0
    seen: int = 0

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def bury(self, item: Item, error: Exception, now: float, tries: int) -> None:
        """Give an event up: it becomes a dead letter when the work is acknowledged."""
        reason = f"{type(error).__name__}: {error}"
        payload = _encoder.encode(item.event)
        attempts = item.attempts + tries
        letter = DeadLetter(item.event.id, reason, now, item.source, attempts, payload)
        self.letters.append((item.entry, letter))


def decode(entries: Sequence[Entry], now: float) -> Work:
    """The events of `entries` in the stream's order, normalised."""
    work = Work(sorted(entries, key=lambda entry: entry_order(entry.id)))
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


def _decode_entry(work: Work, entry: Entry, now: float) -> None:
    try:
        batches = _entry.decode(entry.data)
    except _UNREADABLE:
        _decode_batch_by_batch(work, entry, now)
        return
    for batch in batches:
        _take(work, entry.id, batch)


def _decode_batch_by_batch(work: Work, entry: Entry, now: float) -> None:
    try:
        raws = _raw_entry.decode(entry.data)
    except _UNREADABLE as error:
        letter = DeadLetter(None, f"unreadable entry: {error}", now, "unknown", 1, entry.data)
        work.letters.append((entry.id, letter))
        return
    for raw in raws:
        _decode_batch(work, entry.id, bytes(raw), now)


def _take(work: Work, entry: str, batch: QueuedBatch) -> None:
    source, attempts = batch.source, batch.attempts
    work.items += [Item(event, entry, source, attempts) for event in normalise(batch.events)]


def _decode_batch(work: Work, entry: str, data: bytes, now: float) -> None:
    try:
        batch = _batch.decode(data)
    except _UNREADABLE:
        _decode_one_by_one(work, entry, data, now)
    else:
        _take(work, entry, batch)


def _decode_one_by_one(work: Work, entry: str, data: bytes, now: float) -> None:
    try:
        source, attempts, raws = _raw_batch.decode(data)
    except _UNREADABLE as error:
        letter = DeadLetter(None, f"unreadable batch: {error}", now, "unknown", 1, data)
        work.letters.append((entry, letter))
        return
    for raw in raws:
        try:
            event = _event.decode(raw)
        except _UNREADABLE as error:
            reason = f"unreadable event: {error}"
            letter = DeadLetter(None, reason, now, source, attempts + 1, bytes(raw))
            work.letters.append((entry, letter))
        else:
            work.items += [Item(event, entry, source, attempts) for event in normalise([event])]
