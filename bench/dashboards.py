"""`python -m bench.dashboards`: how long dashboards wait while events are being written.

The real pipeline on a store that holds a month of events; a sender that never rests, and dashboards
that each ask for an aggregate and a time series once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench.load import Caller
from bench.report import PAGE, Goal, goals_table, table, write_section
from bench.samples import complete_event, query, request
from bench.stores.traffic import END, Traffic
from shared.settings import load_settings
from shared.stores import open_store
from tests.harness import Pipeline

DASHBOARDS = 16
EVENTS = 1_000_000
EVENTS_PER_SECOND = 1_000
BATCH = 20
SECONDS = 30.0
WARM_SECONDS = 5
HOUR, DAY = 3_600, 86_400
VIEWS = (
    (HOUR, "1m", ""),
    (DAY, "15m", "&group_by=model"),
    (7 * DAY, "1h", ""),
    (30 * DAY, "1d", "&group_by=model"),
)
"""What dashboards look at, in turn: seconds up to now, interval, and what is grouped by."""
STORES = {"sqlite": ("SLED_PATH", "store.db", 150.0), "jsonl": ("JSONL_PATH", "store.jsonl", 500.0)}
"""The setting that chooses each store, its file, and the bound of its p95 in ms."""


@dataclass(kw_only=True)
class Waits:
    """Milliseconds from when a question was due to its answer, by what was asked."""

    aggregate: list[float] = field(default_factory=list)
    timeseries: list[float] = field(default_factory=list)
    written: float = 0.0
    """Events written in a second."""

    @property
    def p95(self) -> float:
        return percentile([*self.aggregate, *self.timeseries], 95)


def percentile(values: list[float], percent: int) -> float:
    """By nearest rank."""
    return sorted(values)[-(-percent * len(values) // 100) - 1]


class Run:
    """One sender and the dashboards, on a schedule that waits for nobody."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._ingest = Caller(_port(pipeline.ingest_url))
        self._query = Caller(_port(pipeline.query_url))
        self._waits = Waits()

    async def measure(self, seconds: float) -> Waits:
        began = time.perf_counter()
        await asyncio.gather(
            self._send(began, seconds + WARM_SECONDS),
            *(self._watch(began, number, seconds) for number in range(DASHBOARDS)),
        )
        self._ingest.close()
        self._query.close()
        return self._waits

    async def _send(self, began: float, seconds: float) -> None:
        posts = []
        for number in range(int(seconds * EVENTS_PER_SECOND / BATCH)):
            await _until(began + number * BATCH / EVENTS_PER_SECOND)
            events = [complete_event(number * BATCH + place) for place in range(BATCH)]
            posts.append(asyncio.create_task(self._post(msgspec.json.encode(events))))
        await asyncio.gather(*posts)

    async def _post(self, body: bytes) -> None:
        status, answer = await self._ingest.call(request(body))
        if status != 202:
            raise RuntimeError(f"ingest answered {status}: {answer.decode()}")

    async def _watch(self, began: float, number: int, seconds: float) -> None:
        """One dashboard: both questions at once, each second, beside the others' seconds."""
        span, interval, group_by = VIEWS[number % len(VIEWS)]
        asked = []
        for turn in range(int(WARM_SECONDS + seconds)):
            due = began + turn + number / DASHBOARDS
            await _until(due)
            end = int(time.time())
            window = f"start={end - span}&end={end}"
            counted = turn >= WARM_SECONDS
            for path, waits in (
                (f"aggregate?{window}", self._waits.aggregate),
                (f"timeseries?{window}&interval={interval}{group_by}", self._waits.timeseries),
            ):
                kept = waits if counted else []
                asked.append(asyncio.create_task(self._ask(path, due, kept)))
        await asyncio.gather(*asked)

    async def _ask(self, path: str, due: float, waits: list[float]) -> None:
        status, answer = await self._query.call(query(f"/analytics/{path}"))
        if status != 200:
            raise RuntimeError(f"query_api answered {status}: {answer.decode()}")
        waits.append((time.perf_counter() - due) * 1e3)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def fill(variable: str, path: Path, count: int) -> None:
    """Load a month of events up to now, and do what the store would put off."""
    settings = load_settings(None, **{variable.lower(): path})
    shift = int(time.time()) - 60 - END
    with closing(open_store(settings)) as store:
        for events in Traffic(count).batches():
            for event in events:
                event.timestamp += shift
            store.append(events)
        while store.maintain():
            pass


def measure(name: str, folder: Path, count: int, seconds: float) -> Waits:
    """Fill a store of this name, and watch it."""
    variable, file, _ = STORES[name]
    fill(variable, folder / file, count)
    settings: Any = {variable: str(folder / file)}
    with Pipeline(folder, **settings) as pipeline:
        before = pipeline.total()
        waits = uvloop.run(Run(pipeline).measure(seconds))
        waits.written = (pipeline.total() - before) / (seconds + WARM_SECONDS)
    return waits


def section(found: dict[str, Waits], count: int, seconds: float) -> str:
    goals = [
        Goal(
            name=f"{name}: p95 of {DASHBOARDS} dashboards",
            figure=waits.p95,
            bound=STORES[name][2],
            at_least=False,
            unit="ms",
        )
        for name, waits in found.items()
    ]
    return "\n".join(
        [
            "## Dashboards\n",
            goals_table(goals),
            f"{DASHBOARDS} dashboards each ask for an aggregate and a time series every second, "
            f"for {seconds:.0f} s: of the last hour by minute, day by quarter-hour and model, "
            "week by hour, or month by day and model, up to the present second. The store holds "
            f"{count:,} events of 30 days, and {EVENTS_PER_SECOND:,} a second are posted and "
            "written meanwhile. Milliseconds are from the moment a question was due to its answer, "
            "so whatever delays the asking counts.\n",
            table(
                (
                    "store",
                    "written, events/s",
                    "aggregate, p50 / p95 / max",
                    "series, p50 / p95 / max",
                ),
                [
                    (name, f"{waits.written:,.0f}", _row(waits.aggregate), _row(waits.timeseries))
                    for name, waits in found.items()
                ],
            ),
        ]
    )


def _row(waits: list[float]) -> str:
    shown = (statistics.median(waits), percentile(waits, 95), max(waits))
    return " / ".join(f"{value:,.0f}" for value in shown)


def _folders(names: list[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            yield name, Path(scratch)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dashboards", description=__doc__)
    parser.add_argument("--only", choices=STORES, help="one of the stores")
    parser.add_argument("--count", type=int, default=EVENTS, help="events that the store holds")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long it is watched")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write to")
    options = parser.parse_args()
    names = [options.only] if options.only else list(STORES)
    found = {
        name: measure(name, folder, options.count, options.seconds)
        for name, folder in _folders(names)
    }
    markdown = section(found, options.count, options.seconds)
    write_section("dashboards", markdown, page=options.page)
    print(markdown)


if __name__ == "__main__":
    main()
