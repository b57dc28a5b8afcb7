"""How a worker spends its time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a consumer spends its time. Seconds, unless the name says otherwise."""

    read_entries: int = 32
    block_ms: int = 1_000
    reclaim_every: float = 5.0
    reclaim_idle_ms: int = 10_000
    publish_every: float = 1.0
    announce_every: float = 2.0
    """How often an append that lasts is announced anew; below the life of an announcement."""
    hold_for: float = 60.0
    """How long an append keeps its entries from other consumers."""
    tries: int = 5
    first_backoff: float = 0.1
    longest_backoff: float = 5.0
    patience_every: float = 60.0
    """How often a refused batch is tried again as a whole, with backoff, in case its failure
    passes. Other refused batches are taken apart at once: bad data must not hold up good."""
    slice_seconds: float = 1.0
    """How long a batch is taken apart until the broker hears that it goes on."""


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


class Backoff:
    """Waits that double, cut short when `stopping` is set."""

    def __init__(self, pace: Pace, stopping: asyncio.Event) -> None:
        self._pace = pace
        self._stopping = stopping
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest wait again."""
        self._seconds = self._pace.first_backoff

    async def wait(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._seconds)
        self._seconds = min(self._seconds * 2, self._pace.longest_backoff)
