"""How much ingest costs: beside a handler that does nothing, and beside the bare codec."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.bare import spent
from bench.effort import Effort
from bench.load import Load, Plan, generate
from bench.processes import Server, broker, cpu_seconds, server
from bench.report import Goal, goals_table, spread, table

CONNECTIONS = 64
BATCH = 100
BATCH_CONNECTIONS = 16
LEAST_OF_NOOP = 0.75
MOST_OF_CODEC = 2.5
FSYNC = ("always", "no")


@dataclass(frozen=True)
class Round:
    """What the generator saw, and the CPU seconds that the server's process used meanwhile."""

    load: Load
    cpu: float

    @property
    def cpu_us(self) -> float:
        """CPU time of a request in µs."""
        return self.cpu / self.load.answered * 1e6


@dataclass(frozen=True, kw_only=True)
class Singles:
    """Rounds of one event a request, the two applications in turn."""

    appendfsync: str
    noop: list[Round]
    ingest: list[Round]

    @property
    def ratio(self) -> float:
        """Median over the rounds; each round compares two neighbours in time."""
        pairs = zip(self.ingest, self.noop, strict=True)
        return statistics.median(ingest.load.rate / noop.load.rate for ingest, noop in pairs)


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Rounds of BATCH events a request: CPU seconds an event, and events a second."""

    bare_cpu: list[float]
    ingest_cpu: list[float]
    rates: list[float]

    @property
    def ratio(self) -> float:
        pairs = zip(self.ingest_cpu, self.bare_cpu, strict=True)
        return statistics.median(ingest / bare for ingest, bare in pairs)


class Bench:
    """ingest on a broker of its own, and the no-op application beside it."""

    def __init__(self, ingest: Server, noop: Server, client: redis.Redis, effort: Effort) -> None:
        self._ingest = ingest
        self._noop = noop
        self._client = client
        self._effort = effort

    def singles(self, appendfsync: str) -> Singles:
        """Post one event a request, to the one and the other."""
        noop, ingest = [], []
        for target in (self._noop, self._ingest):
            self._load(target, 1, seconds=self._effort.seconds / 3)
        for _ in range(self._effort.rounds):
            noop.append(self._load(self._noop, 1))
            ingest.append(self._load(self._ingest, 1))
        return Singles(appendfsync=appendfsync, noop=noop, ingest=ingest)

    def batches(self) -> Batches:
        """Post many events a request, and read what the server's process has used."""
        bare_cpu, ingest_cpu, rates = [], [], []
        for _ in range(self._effort.rounds):
            bare = spent("codec", BATCH, self._effort.seconds / 2)
            done = self._load(self._ingest, BATCH)
            bare_cpu.append(bare.cpu / bare.events)
            ingest_cpu.append(done.cpu / (done.load.answered * BATCH))
            rates.append(done.load.rate * BATCH)
        return Batches(bare_cpu=bare_cpu, ingest_cpu=ingest_cpu, rates=rates)

    def _load(self, target: Server, batch: int, *, seconds: float | None = None) -> Round:
        connections = CONNECTIONS if batch == 1 else BATCH_CONNECTIONS
        plan = Plan(
            port=target.port,
            connections=connections,
            batch=batch,
            seconds=self._effort.seconds if seconds is None else seconds,
        )
        pid = target.worker_pid
        before = cpu_seconds(pid)
        load = generate(plan)
        cpu = cpu_seconds(pid) - before
        if load.refused:
            raise RuntimeError(f"{load.refused} of {load.answered} requests were not taken")
        self._client.flushall()
        return Round(load, cpu)


@contextmanager
def bench(folder: Path, effort: Effort, appendfsync: str) -> Iterator[Bench]:
    """Both applications, running, on a broker with that `appendfsync`."""
    with ExitStack() as stack:
        own = folder / appendfsync
        running = stack.enter_context(broker(own / "broker", appendfsync=appendfsync))
        ingest = stack.enter_context(server("ingest", "ingest.asgi:app", own, running.url))
        noop = stack.enter_context(server("noop", "bench.noop:app", own, running.url))
        ingest.wait_ready()
        noop.wait_ready()
        client = redis.Redis.from_url(running.url)
        stack.callback(client.close)
        yield Bench(ingest, noop, client, effort)


def measure(folder: Path, effort: Effort) -> str:
    """Run the ingest benchmarks; returns their section of the page."""
    singles: list[Singles] = []
    for appendfsync in FSYNC:
        with bench(folder, effort, appendfsync) as running:
            singles.append(running.singles(appendfsync))
            if appendfsync == FSYNC[0]:
                batches = running.batches()
    return section(singles, batches)


def section(singles: Sequence[Singles], batches: Batches) -> str:
    return "\n".join(
        [
            "## Ingest\n",
            goals_table(goals(singles, batches)),
            f"### One event a request\n\n{CONNECTIONS} connections kept open, complete events of "
            "870 to 1,000 bytes, one server process. The no-op handler reads the body and answers "
            "202; it has the same Falcon, gunicorn and uvloop. Requests a second are the median, "
            "lowest and highest of rounds in turn; the ratio is the median of the rounds' ratios, "
            "p50 and p99 are of ingest's answers, and CPU time is a request's. The goal is judged "
            "with appendfsync always: the default, in which a 202 means that the event is on the "
            "disk.\n",
            _singles_table(singles),
            f"### {BATCH} events a request\n\n{BATCH_CONNECTIONS} connections. The bare codec "
            "decodes the same bodies with types and encodes them as msgpack, in a process of its "
            "own. CPU time is the server process's, user and system, from first byte to answer.\n",
            _batches_table(batches),
        ]
    )


def goals(singles: Sequence[Singles], batches: Batches) -> list[Goal]:
    judged = singles[0]
    return [
        Goal(
            name=f"requests a second ÷ no-op handler's, appendfsync {judged.appendfsync}",
            figure=judged.ratio,
            bound=LEAST_OF_NOOP,
        ),
        Goal(
            name="CPU time of an event ÷ bare codec's, 100 events a request",
            figure=batches.ratio,
            bound=MOST_OF_CODEC,
            at_least=False,
        ),
    ]


def _singles_table(singles: Sequence[Singles]) -> str:
    head = (
        "appendfsync",
        "no-op, requests/s",
        "ingest, requests/s",
        "ratio",
        "p50, ms",
        "p99, ms",
        "no-op, CPU µs",
        "ingest, CPU µs",
    )
    rows = [
        (
            one.appendfsync,
            spread([done.load.rate for done in one.noop]),
            spread([done.load.rate for done in one.ingest]),
            f"{one.ratio:.2f}",
            f"{statistics.median(done.load.p50 for done in one.ingest) * 1e3:.1f}",
            f"{statistics.median(done.load.p99 for done in one.ingest) * 1e3:.1f}",
            f"{statistics.median(done.cpu_us for done in one.noop):.0f}",
            f"{statistics.median(done.cpu_us for done in one.ingest):.0f}",
        )
        for one in singles
    ]
    return table(head, rows)


def _batches_table(batches: Batches) -> str:
    bare = statistics.median(batches.bare_cpu) * 1e6
    ingest = statistics.median(batches.ingest_cpu) * 1e6
    head = ("bare codec, µs/event", "ingest, µs/event", "ratio", "ingest, events/s")
    return table(
        head, [(f"{bare:.2f}", f"{ingest:.2f}", f"{batches.ratio:.2f}", spread(batches.rates))]
    )
