"""How fast the worker empties the stream, beside a bare loop that does the same and no more."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.bare import spent
from bench.effort import Effort
from bench.processes import broker, worker
from bench.report import Goal, goals_table, spread, table
from bench.samples import complete_event
from shared.events import ReceivedEvent
from shared.stream import EventQueue, Packed, connect, group_into_entries, pack

LEAST_OF_BARE = 0.5
SMALLEST_BATCH, LARGEST_BATCH = 100, 500
ENTRIES_AT_ONCE = 64
POLL_SECONDS = 0.01
DRAIN_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Drains:
    """Events a second of each round, the bare loop and the worker in turn."""

    bare: list[float]
    worker: list[float]
    events: int

    @property
    def ratio(self) -> float:
        """Median over the rounds; each round compares two neighbours in time."""
        return statistics.median(w / b for w, b in zip(self.worker, self.bare, strict=True))


def entries(events: int) -> list[list[Packed]]:
    """Entries as ingest makes them of requests of 100 to 500 events."""
    draw = random.Random(1)
    packed: list[Packed] = []
    made = 0
    while made < events:
        size = min(draw.randint(SMALLEST_BATCH, LARGEST_BATCH), events - made)
        plain = [complete_event(number) for number in range(made, made + size)]
        packed += pack("native", msgspec.convert(plain, list[ReceivedEvent]))
        made += size
    return group_into_entries(packed)


async def fill(url: str, filling: Sequence[list[Packed]]) -> None:
    """Empty the broker, and put the entries on its stream as ingest does."""
    client = connect(url)
    await client.flushall()
    queue = EventQueue(client)
    await queue.create_group()
    for start in range(0, len(filling), ENTRIES_AT_ONCE):
        await queue.add(filling[start : start + ENTRIES_AT_ONCE])
    await queue.close()


async def drain_rate(url: str) -> float:
    """Events a second between the worker's first acknowledgement and its last.

    So neither the start of the process is measured nor the first batch.
    """
    queue = EventQueue(connect(url))
    full = (await queue.backlog()).events
    first_at, first = await _backlog_below(queue, full)
    last_at, last = await _backlog_below(queue, 1)
    await queue.close()
    if first == last:
        raise ValueError(f"{full} events are one batch of the worker: too few to measure")
    return (first - last) / (last_at - first_at)


async def _backlog_below(queue: EventQueue, bound: int) -> tuple[float, int]:
    deadline = time.perf_counter() + DRAIN_SECONDS
    while (now := time.perf_counter()) < deadline:
        events = (await queue.backlog()).events
        if events < bound:
            return now, events
        await asyncio.sleep(POLL_SECONDS)
    raise TimeoutError(f"the backlog was not below {bound} events in {DRAIN_SECONDS:.0f} s")


def measure(folder: Path, effort: Effort) -> str:
    """Run the worker benchmark; returns its section of the page."""
    filling = entries(effort.drain_events)
    drains = Drains(bare=[], worker=[], events=effort.drain_events)
    with broker(folder / "broker") as running:
        for number in range(effort.drain_rounds):
            asyncio.run(fill(running.url, filling))
            bare = spent("drain", running.url, folder / f"bare-{number}.jsonl")
            drains.bare.append(bare.events / bare.seconds)
            asyncio.run(fill(running.url, filling))
            with worker(folder, running.url, folder / f"worker-{number}.jsonl"):
                drains.worker.append(asyncio.run(drain_rate(running.url)))
    return section(drains)


def section(drains: Drains) -> str:
    goal = Goal(name="events a second ÷ bare loop's", figure=drains.ratio, bound=LEAST_OF_BARE)
    figures = (spread(drains.bare), spread(drains.worker), f"{drains.ratio:.2f}")
    return "\n".join(
        [
            "## Worker\n",
            goals_table([goal]),
            f"One worker process empties a stream of {drains.events:,} events, in entries as "
            f"ingest makes them of requests of {SMALLEST_BATCH} to {LARGEST_BATCH}, into a JSONL "
            "file. The bare loop, a process of its own, reads as many entries at once, decodes "
            "them, drops known ids, encodes lines, appends and syncs them, and acknowledges. "
            "Events a second are the median, lowest and highest of rounds in turn; the ratio is "
            "the median of the rounds' ratios.\n",
            table(("bare loop, events/s", "worker, events/s", "ratio"), [figures]),
        ]
    )
