"""`python -m tests.faults.soak`: a steady load for ten minutes; does anything grow that should not?

Exits with 1 where a goal is missed: the memory of each process in the last minute against the
second, the queue, and the books. A dashboard asks its questions meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import httpx
import msgspec

from bench.processes import children, resident_bytes
from bench.report import Goal, goals_table, write_section
from tests.backends import BACKENDS
from tests.faults.audit import close_books, wait_until_empty
from tests.faults.books import ROUND, event, period
from tests.faults.overload import sorted_numbers
from tests.faults.steady import Sender, Sent, sent_while_held
from tests.harness import Pipeline, wait_until

BATCH = 20
SAMPLE_SECONDS = 1.0
ASK_EVERY = 5
"""Samples after which the dashboard asks again."""
MINUTE = 60.0
FIRST_ANSWER_SECONDS = 180.0
USUAL_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds' worth of events that may wait: half of the time, and ever."""
MOST_GROWTH = 1.1
JSONL_WINDOW = 1_000_000
FILLER_ROUND = 100


class Samples:
    """Resident memory of every process, and the backlog, once a second while a block runs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stop = threading.Event()
        self.memory: dict[str, list[tuple[float, int]]] = {}
        self.backlogs: list[int] = []
        self.unanswered = 0

    def __enter__(self) -> Samples:
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            now = time.monotonic() - self._started
            for name, size in memory_of(self._pipeline).items():
                self.memory.setdefault(name, []).append((now, size))
            self.backlogs.append(self._pipeline.backlog())
            if len(self.backlogs) % ASK_EVERY == 0:
                try:
                    self.ask()
                except (httpx.TransportError, AssertionError):
                    self.unanswered += 1

    def ask(self) -> None:
        """What a dashboard asks. Raises where an answer is late, or not 200."""
        start, end = period(1)
        self._pipeline.get("stats")
        self._pipeline.get("aggregate", start=start, end=end)
        self._pipeline.get("timeseries", start=start, end=end, interval="1m", group_by="model")
        self._pipeline.get("events", start=start, end=end, limit=100)

    def mean(self, name: str, begin: float, end: float) -> float:
        """Mean resident bytes of a process between two times of the run, in seconds."""
        sizes = [size for at, size in self.memory[name] if begin <= at < end]
        return sum(sizes) / len(sizes)


def memory_of(pipeline: Pipeline) -> dict[str, int]:
    """Resident bytes of each service, of what it has forked too, and of the broker."""
    pids = {service.name: service.process.pid for service in pipeline.services if service.running}
    pids["broker"] = pipeline.broker.pid
    return {name: sum(map(resident_bytes, [pid, *children(pid)])) for name, pid in pids.items()}


def fill_window(path: Path) -> None:
    """A file with as many ids as the JSONL store remembers: from there on it forgets as it learns.

    Until then a worker's memory grows with each new id, as it is meant to.
    """
    encode = msgspec.json.Encoder().encode
    with open(path, "wb") as file:
        for place in range(JSONL_WINDOW):
            file.write(encode(event(FILLER_ROUND * ROUND + place)) + b"\n")


def soak(pipeline: Pipeline, rate: float, seconds: float) -> tuple[str, bool]:
    """The goals as a table, and whether all are met."""
    port = int(pipeline.ingest_url.rpartition(":")[2])
    samples = Samples(pipeline)
    # A file that is new to query_api is read once, and may take it long.
    wait_until(lambda: _answered(samples), within=FIRST_ANSWER_SECONDS, what="a first answer")
    # An empty broker takes 5 MiB, and any short queue more: it holds the longest once, beforehand.
    held = sent_while_held(pipeline, int(LONGEST_WAIT * rate), batch=BATCH)
    problems = held.problems + wait_until_empty(pipeline)
    with samples:
        sent = asyncio.run(Sender(port, rate=rate, batch=BATCH, first=ROUND).run(seconds))
    problems += sent.problems + wait_until_empty(pipeline)
    books = close_books(pipeline, chain(*sorted_numbers(held), *sorted_numbers(sent)))
    problems += [line for balance in books.values() for line in balance.faults()]
    for problem in problems:
        print(f"PROBLEM: {problem}", flush=True)
    goals = [*memory_goals(samples, seconds), *load_goals(sent, samples, rate)]
    goals.append(
        Goal(
            name="problems in the books",
            figure=len(problems),
            bound=0,
            at_least=False,
            unit="problems",
        )
    )
    text = (
        f"{sent.events:,} events in requests of {BATCH}, for {sent.seconds / 60:.1f} minutes, on "
        f"{pipeline.get('stats')['backend_type']}; answers p99 "
        f"{sent.percentile(0.99) * 1_000:.0f} ms. Memory is resident memory, the last minute's "
        f"mean over the second's. Load average {os.getloadavg()[0]:.1f}.\n\n"
    )
    return text + goals_table(goals), all(goal.met for goal in goals)


def _answered(samples: Samples) -> bool:
    with suppress(httpx.TransportError):
        samples.ask()
        return True
    return False


def memory_goals(samples: Samples, seconds: float) -> list[Goal]:
    goals = []
    for name in sorted(samples.memory):
        early = samples.mean(name, MINUTE, 2 * MINUTE)
        late = samples.mean(name, seconds - MINUTE, seconds)
        shown = f"memory of {name}, {early / 2**20:,.0f} MiB, then {late / 2**20:,.0f} MiB"
        goals.append(Goal(name=shown, figure=late / early, bound=MOST_GROWTH, at_least=False))
    return goals


def load_goals(sent: Sent, samples: Samples, rate: float) -> list[Goal]:
    usual, longest = statistics.median(samples.backlogs), max(samples.backlogs)
    return [
        Goal(name="acknowledged", figure=sent.events / sent.seconds, bound=0.99 * rate, unit="/s"),
        _queue("the queue, median", usual, USUAL_WAIT * rate),
        _queue("the queue at its longest", longest, LONGEST_WAIT * rate),
        Goal(
            name="questions not answered in time",
            figure=samples.unanswered,
            bound=0,
            at_least=False,
            unit="questions",
        ),
    ]


def _queue(name: str, events: float, bound: float) -> Goal:
    return Goal(name=name, figure=events, bound=bound, at_least=False, unit="events")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="at least 3")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events a second")
    parser.add_argument(
        "--store", default="jsonl", choices=sorted(BACKENDS.keys() - {"clickhouse"})
    )
    parser.add_argument("--page", type=Path, help="write the table of this page")
    options = parser.parse_args(arguments)
    if options.minutes < 3:
        parser.error("--minutes: the second minute and the last must not be the same")
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        if options.store == "jsonl":
            fill_window(folder / "store.jsonl")
        with (
            BACKENDS[options.store](folder) as backend,
            Pipeline(folder, workers=1, **backend.settings) as pipeline,
        ):
            text, met = soak(pipeline, options.rate, options.minutes * MINUTE)
    print(text, flush=True)
    if options.page is not None:
        write_section("soak", text, page=options.page)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
