"""`make bench-stores`: loads every store with the same events, asks them, and writes the table.

`python -m bench.stores [--count N] [--only sqlite,jsonl] [--page FILE]`. N is 10,000,000, and
1,000,000 where the store is MySQL or Redis; a given N holds for all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import PAGE, Goal, goals_table, table, write_section
from bench.stores.bare import bare_rate
from bench.stores.measure import COMPARED
from deploy.broker import EmbeddedBroker
from tests.harness import free_port
from tests.stores.servers import mysql_server, postgresql_server

COUNT = 10_000_000
SMALLER = {"mysql": 1_000_000, "redis": 1_000_000}
SECTION = "stores"
QUESTIONS = {
    "hour": "last hour",
    "day": "last day",
    "month": "30 days",
    "month_one_model": "30 days, one model",
    "newest_100": "newest 100",
    "month_hourly_by_model": "30 days by hour and model",
}
READS_EVENTS = ("jsonl", "clickhouse")
LOAD_GOALS = {
    "jsonl": 60_000,
    "clickhouse": 100_000,
    "postgresql": 20_000,
    "sqlite": 15_000,
    "redis": 10_000,
}


@dataclass(frozen=True)
class Target:
    """Where a store's data goes: its settings, and the URL that a bare load uses."""

    settings: Mapping[str, str]
    url: str = ""


Opening = Callable[[Path], AbstractContextManager[Target]]


@contextmanager
def _in_folder(setting: str, value: str, folder: Path) -> Iterator[Target]:
    yield Target({setting: value.format(folder=folder)})


@contextmanager
def _redis(folder: Path) -> Iterator[Target]:
    broker = EmbeddedBroker(folder / "redis", free_port(), appendfsync="everysec")
    broker.start()
    try:
        yield Target({"redis_url": broker.url}, broker.url)
    finally:
        broker.stop()


@contextmanager
def _postgresql(folder: Path) -> Iterator[Target]:
    with postgresql_server(fsync=True) as server:
        url = server.new_database()
        yield Target({"database_url": url}, url.replace("+psycopg", ""))


@contextmanager
def _mysql(folder: Path) -> Iterator[Target]:
    with mysql_server() as server:
        url = server.new_database()
        yield Target({"database_url": url}, url)


STORES: dict[str, Opening] = {
    "jsonl": lambda folder: _in_folder("jsonl_path", "{folder}/events.jsonl", folder),
    "redis": _redis,
    "sqlite": lambda folder: _in_folder("sled_path", "{folder}/events.db", folder),
    "postgresql": _postgresql,
    "mysql": _mysql,
    "clickhouse": lambda folder: _in_folder("clickhouse_url", "chdb://{folder}/chdb", folder),
}


def measure(module: str, *arguments: str) -> dict[str, Any]:
    """Run a measurement in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure_store(name: str, count: int) -> dict[str, Any]:
    """Load and question one store, and load its server bare."""
    with tempfile.TemporaryDirectory(prefix="bench-stores-") as temporary:
        folder = Path(temporary)
        with STORES[name](folder) as target:
            settings = json.dumps(dict(target.settings))
            loaded = measure("bench.stores.measure", "load", settings, str(count))
            asked = measure("bench.stores.measure", "ask", settings, str(count))
            bare = bare_rate(name, target.url, folder, min(count, COMPARED))
    print(f"{name}: {loaded['events_per_second']:,.0f} events/s", file=sys.stderr, flush=True)
    return {"count": count, "load": loaded, "ask": asked, "bare": bare}


def goals(name: str, figures: dict[str, Any], yardstick_month: float | None) -> list[Goal]:
    """The store's figures against what a user would notice."""
    load, times = figures["load"], figures["ask"]["milliseconds"]
    slow = 600.0 if name in READS_EVENTS else 150.0
    newest = 50.0 if name == "jsonl" else 15.0
    limits = {"hour": 30.0, "month": slow, "month_one_model": slow, "newest_100": newest}
    found = [Goal(name=f"{name}: load ÷ bare load", figure=_ratio(figures), bound=0.4)]
    if name in LOAD_GOALS:
        rate, bound = load["events_per_second"], float(LOAD_GOALS[name])
        found.append(Goal(name=f"{name}: load", figure=rate, bound=bound, unit="events/s"))
    for question, bound in limits.items():
        title = f"{name}: {QUESTIONS[question]}, p95"
        value = times[question]["p95"]
        found.append(Goal(name=title, figure=value, bound=bound, at_least=False, unit="ms"))
    if yardstick_month is not None:
        title = f"{name}: 30 days ÷ DuckDB on Parquet, p50"
        value = times["month"]["p50"] / yardstick_month
        found.append(Goal(name=title, figure=value, bound=3.0, at_least=False))
    return found


def markdown(results: dict[str, dict[str, Any]], yardsticks: dict[int, dict[str, Any]]) -> str:
    """The section of the page."""
    loads = [
        (
            name,
            f"{figures['count']:,}",
            f"{figures['load']['events_per_second']:,.0f}",
            f"{figures['bare']:,.0f}",
            f"{_ratio(figures):.2f}",
            _bytes(figures["load"]["bytes_per_event"]),
            f"{figures['load']['peak_mb']:,.0f}",
            f"{figures['ask']['peak_mb']:,.0f}",
        )
        for name, figures in results.items()
    ]
    head = ["store", "events", "load, events/s", "bare load", "ratio", "bytes/event"]
    head += ["peak MB, load", "peak MB, queries"]
    asked = {name: figures["ask"]["milliseconds"] for name, figures in results.items()}
    for count, figures in yardsticks.items():
        asked[f"DuckDB, Parquet, {count:,}"] = figures["milliseconds"]
    answers = [
        (name, *(_pair(times.get(question)) for question in QUESTIONS))
        for name, times in asked.items()
    ]
    found = [
        goal
        for name, figures in results.items()
        for goal in goals(name, figures, _month(yardsticks.get(figures["count"])))
    ]
    return "\n".join(
        [
            "## Stores",
            "",
            "Events over 30 days: 20 models and 200 keys, both skewed, durations log-normal.",
            "Loaded in batches of 10,000 through `append`; the totals are checked to the token.",
            f"The bare load and the ratio to it are of the first {COMPARED:,} events.",
            "",
            table(head, loads),
            "Milliseconds, p50 / p95, each range moved a little every time:",
            "",
            table(("store", *QUESTIONS.values()), answers),
            goals_table(found),
        ]
    )


def _ratio(figures: dict[str, Any]) -> float:
    """The load's rate to that of as many events loaded bare."""
    return float(figures["load"]["compared_per_second"] / figures["bare"])


def _pair(times: dict[str, float] | None) -> str:
    return "" if times is None else f"{times['p50']:,.1f} / {times['p95']:,.1f}"


def _bytes(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _month(yardstick: dict[str, Any] | None) -> float | None:
    return None if yardstick is None else float(yardstick["milliseconds"]["month"]["p50"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stores")
    parser.add_argument("--count", type=int)
    parser.add_argument("--only", default=",".join(STORES))
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write to")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name in options.only.split(","):
        results[name] = measure_store(name, options.count or SMALLER.get(name, COUNT))
    yardsticks: dict[int, dict[str, Any]] = {}
    for count in sorted({figures["count"] for figures in results.values()}):
        with tempfile.TemporaryDirectory(prefix="bench-stores-") as folder:
            yardsticks[count] = measure("bench.stores.yardstick", folder, str(count))
    text = markdown(results, yardsticks)
    print(text)
    write_section(SECTION, text, page=options.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
