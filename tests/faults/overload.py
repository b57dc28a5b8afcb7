"""`python -m tests.faults.overload`: producers at twice what the store can take, for a minute.

Exits with 1 where a goal is missed: the queue keeps its bound, the broker its memory, ingest its
speed, and the store everything that was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bench.report import Goal, goals_table, write_section
from tests.faults.audit import close_books, wait_until_empty, wrong_totals
from tests.faults.books import ROUND
from tests.faults.steady import Sender, Sent, sent_while_held
from tests.harness import Pipeline, wait_until

BOUND = 50_000
BATCH = 100
FILL = 40_000
"""Events that the store's own speed is measured with."""
SAMPLE_SECONDS = 0.25


@dataclass
class Watch:
    """The broker, looked at a few times a second while a block runs."""

    pipeline: Pipeline
    backlogs: list[int] = field(default_factory=list)
    bytes_used: list[int] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with self.pipeline.redis() as client:
            while not self._stop.wait(SAMPLE_SECONDS):
                info: Any = client.info("memory")
                self.bytes_used.append(info["used_memory"])
                self.backlogs.append(self.pipeline.backlog())

    def growth(self) -> float:
        """The most memory in the last third, over the most in the second."""
        third = len(self.bytes_used) // 3
        return max(self.bytes_used[-third:]) / max(self.bytes_used[third:-third])


def store_speed(pipeline: Pipeline) -> tuple[float, Sent]:
    """Events a second that the worker writes while nothing else goes on, and those events."""
    sent = sent_while_held(pipeline, FILL, batch=BATCH)
    began = time.monotonic()
    wait_until(lambda: pipeline.backlog() == 0, within=120, what="an empty queue")
    return sent.events / (time.monotonic() - began), sent


def overload(pipeline: Pipeline, seconds: float) -> tuple[str, bool]:
    """The goals as a table, and whether all are met."""
    speed, first = store_speed(pipeline)
    port = int(pipeline.ingest_url.rpartition(":")[2])
    with Watch(pipeline) as watch:
        sent = asyncio.run(Sender(port, rate=2 * speed, batch=BATCH, first=ROUND).run(seconds))
    problems = first.problems + sent.problems + wait_until_empty(pipeline)
    books = close_books(pipeline, chain(*sorted_numbers(first), *sorted_numbers(sent))).values()
    problems += [line for balance in books for line in balance.faults()]
    problems += wrong_totals(pipeline, first.events + sent.events)
    for problem in problems:
        print(f"PROBLEM: {problem}", flush=True)
    goals = [
        *_load_goals(sent, speed),
        *_queue_goals(watch),
        _at_most("acknowledged and lost", sum(len(each.lost) for each in books), 0, "events"),
        _at_most("whatever else went wrong", len(problems), 0, "problems"),
    ]
    text = (
        f"SQLite takes {speed:,.0f} events a second here; {offered(sent):,.0f} were offered for "
        f"{sent.seconds:.0f} s in requests of {BATCH}, {sent.events:,} of them taken. "
        f"Load average {os.getloadavg()[0]:.1f}.\n\n"
    )
    return text + goals_table(goals), all(goal.met for goal in goals)


def _load_goals(sent: Sent, speed: float) -> list[Goal]:
    return [
        Goal(name="offered, over what the store takes", figure=offered(sent) / speed, bound=1.8),
        Goal(name="answers of 429", figure=sent.refused / BATCH, bound=1, unit="answers"),
        _at_most("ingest's answers, p99", sent.percentile(0.99) * 1_000, 100, "ms"),
    ]


def _queue_goals(watch: Watch) -> list[Goal]:
    return [
        _at_most("the longest queue", max(watch.backlogs), BOUND + BATCH, "events"),
        _at_most("the broker's memory at its most", max(watch.bytes_used) / 2**20, 128, "MiB"),
        _at_most("its growth, last third over second", watch.growth(), 1.1),
    ]


def _at_most(name: str, figure: float, bound: float, unit: str = "") -> Goal:
    return Goal(name=name, figure=figure, bound=bound, at_least=False, unit=unit)


def offered(sent: Sent) -> float:
    """Events a second, the refused ones included."""
    return (sent.events + sent.refused) / sent.seconds


def sorted_numbers(sent: Sent) -> list[range]:
    return sorted(sent.acknowledged, key=lambda numbers: numbers.start)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--page", type=Path, help="write the table of this page")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="overload-") as name:
        settings = {"SLED_PATH": f"{name}/store.db", "MAX_BACKLOG_EVENTS": str(BOUND)}
        with Pipeline(Path(name), workers=1, **settings) as pipeline:
            text, met = overload(pipeline, options.seconds)
    print(text, flush=True)
    if options.page is not None:
        write_section("overload", text, page=options.page)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
