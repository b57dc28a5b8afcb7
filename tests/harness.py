"""The real pipeline for tests: real processes, a real redis-server, free ports, its own folder.

`Pipeline` starts the same commands as the Procfile. Nothing here is a fake.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import redis

from deploy.broker import EmbeddedBroker
from shared.stream import BACKLOG

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "ROUTIIUM_ANALYTICS_"
START_SECONDS = 20.0
_GUNICORN = ["-m", "gunicorn", "-c"]
COMMANDS = {
    "ingest": [*_GUNICORN, str(ROOT / "deploy/gunicorn_ingest.py"), "ingest.asgi:app"],
    "query": [*_GUNICORN, str(ROOT / "deploy/gunicorn_query.py"), "query_api.wsgi:app"],
    "worker": ["-m", "worker.main"],
    "all": [*_GUNICORN, str(ROOT / "deploy/gunicorn_one_process.py"), "deploy.one_process:app"],
}
"""What each kind of service is started with, after the interpreter."""

T = TypeVar("T")


_given_ports: set[int] = set()


def free_port() -> int:
    """A port on loopback that nothing listens on, and that this process gave to nobody before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def wait_until(condition: Callable[[], T], *, within: float = 10.0, what: str = "") -> T:
    """Ask until the answer is true, and return it; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}")
        time.sleep(0.02)


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without any setting of ours, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROUTIIUM_")}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


class Service:
    """One started process, its output in a file."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_environment(env),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def terminate(self, *, within: float = 10.0) -> int:
        """SIGTERM, as an operator stops it; returns the exit status."""
        if self.running:
            self.process.terminate()
        return self.process.wait(within)

    def kill(self) -> None:
        """SIGKILL to the process and all its children, as a crash would."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Pipeline:
    """A broker, ingest, workers and query_api in a folder; a context manager that ends them all.

    `settings` are environment variables without their prefix, such as `TTL_SECONDS="60"`. The
    store is JSONL at `store.jsonl` in the folder unless they say otherwise.
    """

    def __init__(self, folder: Path, *, workers: int = 1, **settings: str) -> None:
        self.folder = folder
        self.worker_count = workers
        self.broker = EmbeddedBroker(folder / "broker", free_port())
        self.ingest_url = f"http://127.0.0.1:{free_port()}"
        self.query_url = f"http://127.0.0.1:{free_port()}"
        self.settings = {"JSONL_PATH": str(folder / "store.jsonl"), **settings}
        if len(settings.keys() & {"REDIS_URL", "CLICKHOUSE_URL", "DATABASE_URL", "SLED_PATH"}):
            del self.settings["JSONL_PATH"]
        self.services: list[Service] = []
        self.http = httpx.Client(timeout=30)
        self._stack = ExitStack()

    @property
    def env(self) -> dict[str, str]:
        return {
            f"{PREFIX}BROKER_URL": self.broker.url,
            f"{PREFIX}INGEST_BIND": self.ingest_url.removeprefix("http://"),
            f"{PREFIX}QUERY_BIND": self.query_url.removeprefix("http://"),
            **{PREFIX + name: value for name, value in self.settings.items()},
        }

    def __enter__(self) -> Self:
        self.broker.start()
        self._stack.callback(self.broker.stop)
        self._stack.callback(self.stop_services)
        # First of all: services wait a while for connections that a client keeps open.
        self._stack.callback(self.http.close)
        try:
            self.start_services()
            self.wait_ready()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start_services(self) -> None:
        self.start_ingest()
        self.start_query()
        for _ in range(self.worker_count):
            self.start_worker()

    def start_ingest(self) -> Service:
        return self.start("ingest")

    def start_query(self) -> Service:
        return self.start("query")

    def start_worker(self) -> Service:
        return self.start("worker")

    def start(self, kind: str) -> Service:
        """Start one more service of a kind, a key of `COMMANDS`."""
        number = 1 + sum(service.name.startswith(kind) for service in self.services)
        command = [sys.executable, *COMMANDS[kind]]
        service = Service(f"{kind}-{number}", command, self.env, self.folder)
        self.services.append(service)
        return service

    def running(self, kind: str) -> list[Service]:
        return [s for s in self.services if s.name.startswith(kind) and s.running]

    def stop_services(self) -> None:
        for service in self.services:
            if service.running:
                service.process.terminate()
        for service in self.services:
            try:
                service.terminate()
            except subprocess.TimeoutExpired:
                service.kill()

    def wait_ready(self) -> None:
        """Wait until ingest and query_api both say that they are ready."""
        for url in (self.ingest_url, self.query_url):
            wait_until(
                lambda url=url: self._is_ready(url),  # type: ignore[misc]
                within=START_SECONDS,
                what=f"{url} ready; logs in {self.folder}",
            )

    def _is_ready(self, url: str) -> bool:
        try:
            return self.http.get(f"{url}/healthz/ready").status_code == 200
        except httpx.TransportError:
            return False

    def post(self, events: Any, **options: Any) -> httpx.Response:
        """POST events as JSON, or `content=` as it is, to ingest."""
        if "content" not in options:
            options["json"] = events
        return self.http.post(f"{self.ingest_url}/analytics/events", **options)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that query_api answers to `GET /analytics/<path>`; anything but 200 fails."""
        answer = self.http.get(f"{self.query_url}/analytics/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def redis(self) -> redis.Redis:
        """A client of the broker; close it."""
        return redis.Redis.from_url(self.broker.url)

    def backlog(self) -> int:
        """Events that were accepted and are not written yet."""
        with closing(self.redis()) as client:
            fields: Any = client.hgetall(BACKLOG)
        return int(fields.get(b"events", 0))

    def total(self) -> int:
        return int(self.get("stats")["total_events"])

    def wait_for_total(self, count: int, *, within: float = 30.0) -> None:
        wait_until(lambda: self.total() == count, within=within, what=f"{count} events stored")

    def logs(self) -> str:
        return "\n".join(service.output() for service in self.services)


class OneProcess(Pipeline):
    """The same services in one process, for a store that lives in one."""

    def start_services(self) -> None:
        self.start("all")


def event(number: int, **changes: Any) -> dict[str, Any]:
    """A complete, plain event in wire form; `changes` replace whole groups."""
    return {
        "id": f"event-{number}",
        "timestamp": 1_700_000_000 + number,
        "request": {"endpoint": "/v1/chat/completions", "model": "gpt-4o", "size_bytes": 512},
        "response": {"status_code": 200, "size_bytes": 2_048},
        "performance": {"duration_ms": 100.0 + number},
        "routing": {"backend": "openai", "upstream_mode": "chat"},
        "token_usage": {"prompt_tokens": 10, "completion_tokens": 5},
        **changes,
    }


def batches(items: Iterable[T], size: int) -> Iterable[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
