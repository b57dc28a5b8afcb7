"""Dead letters: reading them, and putting them back on the stream.

A letter holds its event as the stream carried it, so a replay moves bytes and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import redis

from shared import stream_scripts as scripts
from shared.broker import asked
from shared.entries import QueuedBatch, entry_order
from shared.events import Event
from shared.stream import BACKLOG, DEAD, STREAM, TOTALS

CHUNK = 100
"""Letters that one command reads or moves: an unreadable one may be half a megabyte."""

_entry = msgspec.msgpack.Decoder(list[QueuedBatch])


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLetter:
    """One dead letter. `event` is None where it can't be read; `at` is Unix seconds.

    `attempts` counts how often it was tried: five times at first, once where it could not even be
    read, and once more for each replay.
    """

    id: str
    event_id: str | None
    reason: str
    at: float
    source: str
    attempts: int
    event: Event | None

    def ends_after(self, horizon: int) -> bool:
        """Whether it has not ended where what is of `horizon`, in Unix seconds, has."""
        moment = entry_order(self.id)[0] // 1_000
        if self.event is not None:
            moment = min(moment, self.event.timestamp)
        return moment > horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How many letters went back on the stream, and which of those asked for were not there."""

    replayed: int
    missing: list[str]


class DeadLetters:
    """The dead letters as an operator sees them.

    Every method raises QueueUnavailable where the broker is away or refuses.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._replay = client.register_script(scripts.REPLAY)

    def count(self) -> int:
        """How many are kept."""
        return int(asked(self._redis, self._redis.xlen, DEAD))

    def newest(
        self, limit: int, *, before: str | None = None, horizon: int = 0
    ) -> list[KeptLetter]:
        """Up to `limit` letters, the newest first; those older than the letter `before`.

        What has ended by `horizon`, in Unix seconds, is left out, as if it had been removed.
        """
        letters: list[KeptLetter] = []
        if before is not None and entry_order(before) == (0, 0):
            return letters  # Nothing is older than that, and Redis refuses to look for it.
        while len(letters) < limit:
            end = f"({before}" if before else "+"
            count = min(CHUNK, limit - len(letters))
            found = asked(self._redis, self._redis.xrevrange, DEAD, end, "-", count)
            read = [_letter(*raw) for raw in found]
            letters += [letter for letter in read if letter.ends_after(horizon)]
            if len(found) < count:
                break
            before = read[-1].id
        return letters

    def replay(self, ids: Sequence[str] | None = None) -> Replayed:
        """Put these letters, or all that are there now, back on the stream.

        Each is moved whole: it is a letter or on the stream, whatever ends in between. An event
        that is stored already stays stored once; one that fails again comes back as a letter.
        """
        return self._replay_all() if ids is None else self._replay_these(ids)

    def _replay_all(self) -> Replayed:
        newest = asked(self._redis, self._redis.xrevrange, DEAD, "+", "-", 1)
        replayed = 0
        # What fails again meanwhile is a new letter, behind the newest of now.
        while newest:
            moved, _ = self._moved("through", newest[0][0], CHUNK)
            if not moved:
                break
            replayed += moved
        return Replayed(replayed=replayed, missing=[])

    def _replay_these(self, ids: Sequence[str]) -> Replayed:
        replayed, missing = 0, []
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), CHUNK):
            moved, absent = self._moved("these", *wanted[start : start + CHUNK])
            replayed += moved
            missing += [letter_id.decode() for letter_id in absent]
        return Replayed(replayed=replayed, missing=missing)

    def _moved(self, *arguments: Any) -> tuple[int, list[bytes]]:
        keys = [DEAD, STREAM, BACKLOG, TOTALS]
        answer = asked(self._redis, self._replay, keys=keys, args=list(arguments))
        return cast("tuple[int, list[bytes]]", answer)


def _letter(raw_id: bytes, fields: dict[bytes, bytes]) -> KeptLetter:
    return KeptLetter(
        id=raw_id.decode(),
        event_id=fields[b"id"].decode() or None,
        reason=fields[b"reason"].decode(errors="replace"),
        at=float(fields[b"at"]),
        source=fields[b"source"].decode(),
        attempts=int(fields[b"attempts"]),
        event=_event(fields[b"payload"]),
    )


def _event(payload: bytes) -> Event | None:
    """The event of a letter; decoding it as one leaves out whatever is no part of an event."""
    try:
        batches = _entry.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return next((event for batch in batches for event in batch.events), None)
