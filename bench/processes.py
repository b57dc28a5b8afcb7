"""The processes that are measured: started as in production, and their CPU time read from /proc."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.broker import EmbeddedBroker
from shared.settings import PREFIX
from tests.harness import ROOT, Service, free_port, wait_until

START_SECONDS = 30.0
NO_BOUND = "1000000000000"
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A gunicorn with the configuration of ingest, and its one worker process."""

    def __init__(self, name: str, application: str, folder: Path, broker_url: str) -> None:
        self.port = free_port()
        config = str(ROOT / "deploy/gunicorn_ingest.py")
        settings = {
            f"{PREFIX}BROKER_URL": broker_url,
            f"{PREFIX}INGEST_BIND": f"127.0.0.1:{self.port}",
            f"{PREFIX}MAX_BACKLOG_EVENTS": NO_BOUND,
            f"{PREFIX}MAX_BACKLOG_BYTES": NO_BOUND,
        }
        command = _python("gunicorn", "-c", config, application)
        self.service = Service(name, command, settings, folder)

    def wait_ready(self) -> None:
        log = self.service.log
        wait_until(self._answers, within=START_SECONDS, what=f"an answer; the log is {log}")

    @property
    def worker_pid(self) -> int:
        (pid,) = children(self.service.process.pid)
        return pid

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz/live").status_code == 200
        except httpx.TransportError:
            return False


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


@contextmanager
def server(name: str, application: str, folder: Path, broker_url: str) -> Iterator[Server]:
    """A `Server` that is starting, ended with the block."""
    running = Server(name, application, folder, broker_url)
    try:
        yield running
    finally:
        running.service.terminate()


@contextmanager
def broker(folder: Path, *, appendfsync: str = "always") -> Iterator[EmbeddedBroker]:
    """A redis-server of our own, ended with the block."""
    running = EmbeddedBroker(folder, free_port(), appendfsync=appendfsync)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def worker(folder: Path, broker_url: str, jsonl: Path) -> Iterator[Service]:
    """The worker process with a JSONL store, ended with the block."""
    settings = {f"{PREFIX}BROKER_URL": broker_url, f"{PREFIX}JSONL_PATH": str(jsonl)}
    running = Service("worker", _python("worker.main"), settings, folder)
    try:
        yield running
    finally:
        running.terminate()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used in all its threads, user and system, in seconds."""
    # The name, in parentheses, may hold spaces; what follows it does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM, what it shares with others included."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
