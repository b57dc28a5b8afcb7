"""How long after its 202 an event is in the answers of query_api, under a steady load."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from bench.effort import Effort
from bench.load import Caller
from bench.report import Goal, goals_table, table
from bench.samples import complete_event, query, request
from tests.harness import Pipeline

EVENTS_PER_SECOND = 2_000
BATCH = 20
PROBE_EVERY = 10
"""One batch in so many is looked for: ten a second."""
POLL_SECONDS = 0.01
LAST_SECONDS = 10.0
MOST_MS = 300.0


class _Auth(msgspec.Struct):
    api_key_id: str | None = None


class _Found(msgspec.Struct):
    auth: _Auth


class _Page(msgspec.Struct):
    events: list[_Found]


_pages = msgspec.json.Decoder(_Page)


@dataclass(slots=True)
class Probes:
    """Batches that were acknowledged and are looked for. Times are of `perf_counter`.

    `seconds` are the Unix seconds that their events carry.
    """

    acknowledged: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)

    def target(self) -> str:
        """A query for all of them, over their seconds alone."""
        seconds = [self.seconds[name] for name in self.acknowledged]
        wanted = "".join(f"&api_key_id={name}" for name in self.acknowledged)
        return f"/analytics/events?start={min(seconds)}&end={max(seconds)}{wanted}"

    def found(self, names: set[str], now: float) -> None:
        for name in names & self.acknowledged.keys():
            self.delays.append(now - self.acknowledged.pop(name))


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """Delays and the times of reads in ms, ascending, and the rate that was really sent."""

    delays_ms: list[float]
    reads_ms: list[float]
    rate: float

    def percentile(self, percent: int) -> float:
        """By nearest rank."""
        rank = -(-percent * len(self.delays_ms) // 100)
        return self.delays_ms[rank - 1]


class Run:
    """A paced sender, and one reader that looks for what was sent."""

    def __init__(self, ingest_port: int, query_port: int) -> None:
        self._ingest = Caller(ingest_port)
        self._query = Caller(query_port)
        self._probes = Probes()
        self._sent = 0
        self._reads: list[float] = []

    async def measure(self, seconds: float) -> Freshness:
        """Send at EVENTS_PER_SECOND, whether or not answers come, and read meanwhile."""
        began = time.perf_counter()
        sending = asyncio.create_task(self._send_all(began, int(seconds * 100)))
        await self._read_until_found(sending)
        rate = self._sent / (await sending - began)
        self._ingest.close()
        self._query.close()
        delays = sorted(delay * 1e3 for delay in self._probes.delays)
        reads = sorted(read * 1e3 for read in self._reads)
        return Freshness(delays_ms=delays, reads_ms=reads, rate=rate)

    async def _send_all(self, began: float, batches: int) -> float:
        """Post the batches on time; returns when the last was acknowledged."""
        posts: list[asyncio.Task[None]] = []
        for number in range(batches):
            due = began + number * BATCH / EVENTS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            posts.append(asyncio.create_task(self._post(number)))
        await asyncio.gather(*posts)
        return time.perf_counter()

    async def _post(self, number: int) -> None:
        probe = f"probe-{number}" if number % PROBE_EVERY == 0 else None
        second = int(time.time())
        status, answer = await self._ingest.call(request(_batch(number, second, probe)))
        if status != 202:
            raise RuntimeError(f"ingest answered {status}: {answer.decode()}")
        self._sent += BATCH
        if probe is not None:
            self._probes.seconds[probe] = second
            self._probes.acknowledged[probe] = time.perf_counter()

    async def _read_until_found(self, sending: asyncio.Task[float]) -> None:
        deadline = None
        while not sending.done() or self._probes.acknowledged:
            if sending.done() and deadline is None:
                deadline = time.perf_counter() + LAST_SECONDS
            if deadline is not None and time.perf_counter() > deadline:
                raise TimeoutError(f"never answered: {sorted(self._probes.acknowledged)}")
            pause = POLL_SECONDS
            if self._probes.acknowledged:
                # A reader that never rests would measure itself.
                pause = max(pause, await self._read())
            await asyncio.sleep(pause)

    async def _read(self) -> float:
        """Ask for all that is looked for at once, so that one late batch hides no other.

        Returns how long the answer took.
        """
        asked = time.perf_counter()
        status, answer = await self._query.call(query(self._probes.target()))
        if status != 200:
            raise RuntimeError(f"query_api answered {status}: {answer.decode()}")
        now = time.perf_counter()
        names = {str(event.auth.api_key_id) for event in _pages.decode(answer).events}
        self._probes.found(names, now)
        self._reads.append(now - asked)
        return now - asked


def _batch(number: int, second: int, probe: str | None) -> bytes:
    first = number * BATCH
    events = [complete_event(first + place, timestamp=second) for place in range(BATCH)]
    if probe is not None:
        # The last event of the batch: whoever sees it could see the others.
        events[-1]["auth"]["api_key_id"] = probe
    return msgspec.json.encode(events)


def measure(folder: Path, effort: Effort) -> str:
    """Run the freshness benchmark; returns its section of the page."""
    with Pipeline(folder) as pipeline:
        run = Run(
            *(int(url.rpartition(":")[2]) for url in (pipeline.ingest_url, pipeline.query_url))
        )
        freshness = uvloop.run(run.measure(effort.paced_seconds))
    return section(freshness, effort.paced_seconds)


def section(freshness: Freshness, seconds: float) -> str:
    name = f"99 % of events are in an answer within, at {EVENTS_PER_SECOND:,} events/s"
    figure = freshness.percentile(99)
    goal = Goal(name=name, figure=figure, bound=MOST_MS, at_least=False, unit="ms")
    shown = [
        f"{freshness.rate:,.0f}",
        *(f"{freshness.percentile(percent):,.0f}" for percent in (50, 90, 99, 100)),
        f"{statistics.median(freshness.reads_ms):,.0f}",
        f"{freshness.reads_ms[-1]:,.0f}",
    ]
    head = (
        "events/s sent",
        "p50, ms",
        "p90, ms",
        "p99, ms",
        "max, ms",
        "a read, ms",
        "longest, ms",
    )
    return "\n".join(
        [
            "## Freshness\n",
            goals_table([goal]),
            f"The whole pipeline with one worker, a JSONL store and `appendfsync always`; batches "
            f"of {BATCH} events on a fixed schedule for {seconds:.0f} s. Of one batch in "
            f"{PROBE_EVERY} the time is taken from its 202 to the end of the first answer of "
            f"`GET /analytics/events` that holds it: {len(freshness.delays_ms)} of them, "
            f"{len(freshness.reads_ms)} reads by a reader that rests as long as it reads. So the "
            "time of one to two reads is part of every figure.\n",
            table(head, [shown]),
        ]
    )
