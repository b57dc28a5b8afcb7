"""Sends what a buffer holds: in batches, by size and by time, again and again until it is taken."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from routiium_client.buffer import Buffer
from routiium_client.transport import Answer, Unreachable

logger = logging.getLogger("routiium_client")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# What is wrong is wrong with these events: sending them again would not help.
_REFUSED = frozenset({400, 415, 422})

Post = Callable[[bytes], Answer]


@dataclass(frozen=True, slots=True)
class Batching:
    """A batch leaves when it has so many events or bytes, or when so many seconds are over."""

    events: int = 500
    size: int = 512 * 1024
    seconds: float = 1.0


class Sender:
    """The loop of the background thread."""

    def __init__(self, buffer: Buffer, post: Post, batching: Batching) -> None:
        self._buffer = buffer
        self._post = post
        self._batching = batching
        self._signals: SimpleQueue[bool] = SimpleQueue()
        self._give_up_at: float | None = None
        self._away = False
        self._dropped = 0

    def wake(self, *, now: bool = False) -> None:
        """A full batch waits; `now`: end a pause between tries as well. Safe in any thread."""
        self._signals.put(now)

    def stop(self, within: float) -> None:
        """End once the buffer is empty, or after `within` seconds without another try."""
        self._give_up_at = time.monotonic() + within
        self.wake(now=True)

    def run(self) -> None:
        while self._give_up_at is None:
            self._wait(self._batching.seconds, for_batch=True)
            self._send_all()
        self._send_all()
        self._buffer.close()

    def _wait(self, seconds: float, *, for_batch: bool = False) -> None:
        """Wait so long, for `wake(now=True)`, or where asked for any `wake`."""
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                if self._signals.get(timeout=left) or for_batch:
                    return
        except Empty:
            pass

    def _send_all(self) -> None:
        limits = self._batching
        while batch := self._buffer.take(events=limits.events, size=limits.size):
            self._deliver(batch)
        self._tell_dropped()

    def _deliver(self, batch: list[bytes]) -> None:
        """Send until the events are settled."""
        pause = FIRST_PAUSE_SECONDS
        while (answer := self._try(batch)) is None or not self._settle(batch, answer):
            wanted = answer.retry_after if answer and answer.retry_after else 0.0
            # Full jitter, so that many processes do not come back at once.
            if not self._pause(min(LONGEST_PAUSE_SECONDS, max(wanted, random.uniform(0, pause)))):
                self._buffer.settle(dropped=len(batch))
                return
            self._buffer.retry()
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)

    def _try(self, batch: list[bytes]) -> Answer | None:
        try:
            return self._post(b"\n".join(batch))
        except Unreachable as error:
            self._tell_away(str(error))
            return None

    def _settle(self, batch: list[bytes], answer: Answer) -> bool:
        """Count what the answer says; whether it was the last word on this batch."""
        if answer.status == 202 or answer.status in _REFUSED:
            rejected = _rejected(answer, len(batch))
            self._buffer.settle(sent=len(batch) - rejected, rejected=rejected)
            self._tell_back()
            return True
        if answer.status == 413:
            self._split(batch)
            return True
        self._tell_away(f"status {answer.status}: {answer.body[:200].decode(errors='replace')}")
        return False

    def _split(self, batch: list[bytes]) -> None:
        """Something on the way takes no body of this size."""
        if len(batch) == 1:
            logger.warning("one event is larger than the server takes; it is dropped")
            self._buffer.settle(rejected=1)
            return
        middle = len(batch) // 2
        self._deliver(batch[:middle])
        self._deliver(batch[middle:])

    def _pause(self, seconds: float) -> bool:
        """Wait before another try; False where there is no time for one."""
        if self._give_up_at is not None:
            left = self._give_up_at - time.monotonic()
            if left <= 0:
                return False
            seconds = min(seconds, left)
        self._wait(seconds)
        return True

    def _tell_away(self, reason: str) -> None:
        if not self._away:
            waiting = self._buffer.counts.buffered
            logger.warning(
                "ingest does not take events (%s); %d wait and are tried again", reason, waiting
            )
        self._away = True

    def _tell_back(self) -> None:
        if self._away:
            logger.warning("ingest takes events again")
        self._away = False

    def _tell_dropped(self) -> None:
        dropped = self._buffer.counts.dropped
        if dropped > self._dropped:
            logger.warning("%d events were dropped", dropped - self._dropped)
        self._dropped = dropped


def _rejected(answer: Answer, events: int) -> int:
    """How many of a batch were refused; logs the reason of the first."""
    body = _object(answer.body)
    refused = body.get("rejected")
    refused = refused if isinstance(refused, list) else []
    if answer.status == 202 and not refused:
        return 0
    first = refused[0] if refused else body.get("error")
    count = min(len(refused), events) if answer.status == 202 else events
    logger.warning("ingest refused %d events, the first for: %s", count, first)
    return count


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
