"""How fast a file of events gets from the command line into the store, through ingest."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.effort import Effort
from bench.processes import children, cpu_seconds
from bench.report import Goal, goals_table, table
from bench.samples import complete_event
from tests.harness import Pipeline, clean_environment, wait_until

LEAST_LINES_PER_SECOND = 30_000.0
IMPORT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Import:
    """Seconds from the start of the command to its end, and to the last event in the store."""

    lines: int
    size: int
    taken: float
    stored: float
    cpu: float
    """Seconds of CPU time that services and broker spent on it."""


def write_lines(path: Path, count: int) -> None:
    with open(path, "wb") as file:
        for number in range(count):
            file.write(msgspec.json.encode(complete_event(number)) + b"\n")


def run_import(path: Path, url: str) -> int:
    """The command as a user runs it; returns how many lines were taken."""
    # What was imported is kept with the user's settings: not with those of who measures.
    env = clean_environment({"XDG_CONFIG_HOME": str(path.parent / "config")})
    command = [sys.executable, "-m", "routiium_client.cli", "import", str(path), "--json"]
    done = subprocess.run(
        [*command, "--ingest-url", url],
        env=env,
        stdout=subprocess.PIPE,
        timeout=IMPORT_SECONDS,
        check=True,
    )
    return int(json.loads(done.stdout)["accepted"])


@contextmanager
def _file(folder: Path, lines: int) -> Iterator[Path]:
    path = folder / "events.jsonl"
    write_lines(path, lines)
    try:
        yield path
    finally:
        path.unlink()


def measure_import(folder: Path, lines: int) -> Import:
    """Import a file of so many lines into an empty pipeline. Raises where events are missing."""
    with _file(folder, lines) as path, Pipeline(folder) as pipeline:
        before = _cpu_seconds(pipeline)
        began = time.perf_counter()
        accepted = run_import(path, pipeline.ingest_url)
        taken = time.perf_counter() - began
        wait_until(lambda: pipeline.backlog() == 0, within=IMPORT_SECONDS, what="an empty queue")
        stored = time.perf_counter() - began
        cpu = _cpu_seconds(pipeline) - before
        if not accepted == pipeline.total() == lines:
            raise RuntimeError(f"{lines} lines, {accepted} taken, {pipeline.total()} in the store")
        size = path.stat().st_size
    return Import(lines=lines, size=size, taken=taken, stored=stored, cpu=cpu)


def _cpu_seconds(pipeline: Pipeline) -> float:
    with pipeline.redis() as client:
        broker = int(client.info("server")["process_id"])
    services = [service.process.pid for service in pipeline.services]
    pids = [broker, *services, *(child for pid in services for child in children(pid))]
    return sum(cpu_seconds(pid) for pid in pids)


def measure(folder: Path, effort: Effort) -> str:
    """Run the import benchmark; returns its section of the page."""
    return section(measure_import(folder, effort.import_lines))


def section(found: Import) -> str:
    goal = Goal(
        name="lines a second, from the command's start to the last event in the store",
        figure=found.lines / found.stored,
        bound=LEAST_LINES_PER_SECOND,
        unit="lines/s",
    )
    shown = (
        f"{found.lines:,}",
        f"{found.size / found.lines:,.0f}",
        f"{found.taken:.1f}",
        f"{found.stored:.1f}",
        f"{1e6 * found.cpu / found.lines:.1f}",
    )
    head = ("lines", "bytes a line", "taken after, s", "stored after, s", "CPU, µs a line")
    return "\n".join(
        [
            "## Import\n",
            goals_table([goal]),
            "`routiium-analytics import` of a file, through ingest and one worker into a JSONL "
            "store, with `appendfsync always`; the start of the command is part of it. CPU time is "
            "that of the broker and the services, user and system.\n",
            table(head, [shown]),
        ]
    )
