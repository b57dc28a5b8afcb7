"""A sender at a steady rate, whatever the answers: for overload and for soak runs."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field

import msgspec

from bench.load import Caller
from bench.samples import request
from tests.faults.books import event
from tests.harness import Pipeline

MOST_UNDER_WAY = 64
"""Requests; a sender that waits for so many sends no more."""
TICK = 0.005
PATIENCE = 30.0
FILL_SECONDS = 4.0

_encode = msgspec.json.Encoder().encode


@dataclass(kw_only=True)
class Sent:
    """What came of it. `latencies` are of every answer, in seconds."""

    acknowledged: list[range] = field(default_factory=list)
    refused: int = 0
    """Events answered 429."""
    problems: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def events(self) -> int:
        return sum(map(len, self.acknowledged))

    def percentile(self, share: float) -> float:
        """In seconds, by nearest rank; 0 of no answers."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Sender:
    """Sends batches of events with ascending numbers from `first` on, `rate` events a second."""

    def __init__(self, port: int, *, rate: float, batch: int, first: int = 0) -> None:
        self._caller = Caller(port)
        self._rate = rate
        self._batch = batch
        self._next = first
        self.sent = Sent()

    async def run(self, seconds: float) -> Sent:
        """Send for so long. What is due and finds no room under way is sent later, or never."""
        under_way: set[asyncio.Task[None]] = set()
        started = time.perf_counter()
        count = 0
        while (now := time.perf_counter() - started) < seconds:
            while count < now * self._rate and len(under_way) < MOST_UNDER_WAY:
                task = asyncio.create_task(self._send())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                count += self._batch
            await asyncio.sleep(TICK)
        await asyncio.gather(*under_way)
        self.sent.seconds = time.perf_counter() - started
        self._caller.close()
        return self.sent

    async def _send(self) -> None:
        numbers = range(self._next, self._next + self._batch)
        self._next += self._batch
        data = request(_encode([event(number) for number in numbers]))
        began = time.perf_counter()
        status, body = await asyncio.wait_for(self._caller.call(data), PATIENCE)
        self.sent.latencies.append(time.perf_counter() - began)
        if status == 202:
            self.sent.acknowledged.append(numbers)
        elif status == 429:
            self.sent.refused += len(numbers)
        else:
            self.sent.problems.append(f"{status}: {body[:200]!r}")


def sent_while_held(pipeline: Pipeline, events: int, *, batch: int) -> Sent:
    """About so many events, from number 0 on, sent while the one worker stands still."""
    [worker] = pipeline.running("worker")
    port = int(pipeline.ingest_url.rpartition(":")[2])
    filler = Sender(port, rate=events / FILL_SECONDS, batch=batch)
    worker.process.send_signal(signal.SIGSTOP)
    try:
        return asyncio.run(filler.run(FILL_SECONDS))
    finally:
        worker.process.send_signal(signal.SIGCONT)
