"""Admission: which received events are taken, and why the others are not.

Sources hand over events that msgspec has already decoded into `ReceivedEvent`, or `Rejection`s for
those it could not. What a type can't say is checked here: ids, and timestamps in any unit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from routiium_client.event import uuid7
from shared.events import MAX_AHEAD_SECONDS, MAX_ID, MIN_TIMESTAMP, ReceivedEvent

from ingest.privacy import Scrubber
from ingest.timestamps import Invalid, unix_seconds

Clock = Callable[[], float]


class Rejection(msgspec.Struct):
    """One event that was not taken. `index` counts from 0 over the elements of the request."""

    index: int
    id: str | None
    error: str


class Admission(msgspec.Struct):
    """What one request brought: events ready for the queue, and the ones refused."""

    accepted: list[ReceivedEvent]
    rejected: list[Rejection]


class Gate:
    """Checks events one by one and scrubs the good ones."""

    def __init__(self, scrubber: Scrubber, *, clock: Clock = time.time) -> None:
        self._scrubber = scrubber
        self._clock = clock

    def admit(self, received: Sequence[ReceivedEvent | Rejection | None]) -> Admission:
        """Split `received` into good and bad; the good ones have an id and a time in seconds.

        None is neither, and counts in the index alone.
        """
        now = self._clock()
        latest = int(now) + MAX_AHEAD_SECONDS
        accepted: list[ReceivedEvent] = []
        rejected: list[Rejection] = []
        scrub = self._scrubber.scrub
        for index, event in enumerate(received):
            if isinstance(event, ReceivedEvent):
                try:
                    _check(event, now, latest)
                except Invalid as error:
                    rejected.append(Rejection(index, printable_id(event.id), str(error)))
                else:
                    scrub(event)
                    accepted.append(event)
            elif event is not None:
                rejected.append(event)
        return Admission(accepted, rejected)


def _check(event: ReceivedEvent, now: float, latest: int) -> None:
    given = event.id
    if given is None:
        event.id = uuid7(now)
    elif not given.isprintable() or not 0 < len(given) <= MAX_ID:
        raise Invalid(f"id: must be 1–{MAX_ID} printable characters")
    at = event.timestamp
    if type(at) is not int or not MIN_TIMESTAMP <= at <= latest:
        event.timestamp = unix_seconds(at, now, latest)


def printable_id(value: Any) -> str | None:
    """`value` where it can be an id; a Rejection repeats no other."""
    usable = isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()
    return value if usable else None
