"""What waits to be sent, at most so many events, and the books: each event is counted once."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """`recorded` = `sent` + `rejected` + `dropped` + `buffered`, at any time."""

    recorded: int
    """Events handed to `record`."""
    sent: int
    """Events that ingest has acknowledged."""
    rejected: int
    """Events that ingest refused for what is in them; each log line names the first."""
    dropped: int
    """Events that were lost here: the buffer was full, the event had no form, or time was up."""
    buffered: int
    """Events that wait, or are being sent."""
    retried: int
    """Requests that were sent again, with the same events and ids."""


class Buffer:
    """A bounded first-in first-out of encoded events.

    Events that are being sent count as waiting until they are settled. The lock is held for no
    longer than an addition takes, and may be taken again by a signal handler of the same thread.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked child must: what its parent recorded is the parent's to send."""
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[bytes] = deque()
        self._taken = 0
        self._accepted = self._refused = 0
        self._sent = self._rejected = self._dropped = self._retried = 0
        self._closed = False

    def put(self, item: bytes) -> int:
        """Add an event, and return how many wait with it; 0 where it was dropped."""
        with self._changed:
            if self._closed or self._buffered >= self._limit:
                self._refused += 1
                return 0
            self._accepted += 1
            self._waiting.append(item)
            return len(self._waiting)

    def drop(self) -> None:
        """Count an event that never got here."""
        with self._changed:
            self._refused += 1

    def take(self, *, events: int, size: int) -> list[bytes]:
        """The oldest events: up to so many, and up to so many bytes but at least one."""
        batch: list[bytes] = []
        with self._changed:
            while self._waiting and len(batch) < events:
                size -= len(self._waiting[0])
                if batch and size < 0:
                    break
                batch.append(self._waiting.popleft())
            self._taken += len(batch)
        return batch

    def settle(self, *, sent: int = 0, rejected: int = 0, dropped: int = 0) -> None:
        """Say what became of events that were taken."""
        with self._changed:
            if self._closed:
                return
            self._sent += sent
            self._rejected += rejected
            self._dropped += dropped
            self._taken -= sent + rejected + dropped
            self._changed.notify_all()

    def retry(self) -> None:
        with self._changed:
            self._retried += 1

    def close(self) -> None:
        """Give up what still waits or is being sent, and take no more."""
        with self._changed:
            if not self._closed:
                self._dropped += self._buffered
                self._waiting.clear()
                self._taken = 0
                self._closed = True
            self._changed.notify_all()

    def wait_settled(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for what was recorded before; whether it is settled."""
        with self._changed:
            target = self._accepted
            return self._changed.wait_for(
                lambda: self._accepted - self._buffered >= target, timeout
            )

    @property
    def _buffered(self) -> int:
        return len(self._waiting) + self._taken

    @property
    def counts(self) -> Counts:
        with self._changed:
            return Counts(
                recorded=self._accepted + self._refused,
                sent=self._sent,
                rejected=self._rejected,
                dropped=self._dropped + self._refused,
                buffered=self._buffered,
                retried=self._retried,
            )
