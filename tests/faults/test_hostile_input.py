"""Hostile input over real HTTP: no 5xx, no process ends, memory comes back, and service goes on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.processes import children, resident_bytes
from tests.faults import hostile
from tests.faults.hostile import INGEST_PATHS, QUERY_PATHS, Answer, exchange, is_allowed, message
from tests.harness import Pipeline, event, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_200)]

EXAMPLES = 1_050
REQUESTS = 10
"""In an example; for each of the two services."""
DOORS = [
    (b"/analytics/events", "application/json"),
    (b"/analytics/events", "application/x-ndjson"),
    (b"/analytics/events", "application/msgpack"),
    (b"/sources/litellm", "application/json"),
    (b"/v1/traces", "application/json"),
    (b"/v1/traces", "application/x-protobuf"),
]
"""Paths of ingest, and what they take."""
SPARE_BYTES = 48 * 1024 * 1024
"""What a process may hold on to: caches, arenas, a dictionary that has grown."""


class Target:
    """A pipeline under attack, and how it was before."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sent = 0
        self.ingest = _address(pipeline.ingest_url)
        self.query = _address(pipeline.query_url)
        self.pids = self._pids()

    def _pids(self) -> dict[str, list[int]]:
        """Each service's processes, the ones that gunicorn forks among them."""
        return {
            service.name: [service.process.pid, *children(service.process.pid)]
            for service in self.pipeline.services
            if service.running
        }

    def memory(self) -> dict[str, int]:
        """Resident bytes by service."""
        return {name: sum(map(resident_bytes, pids)) for name, pids in self.pids.items()}

    def send(self, address: tuple[str, int], data: bytes, *, end: bool = False) -> Answer:
        self.sent += 1
        answer = exchange(address, data, end=end)
        assert is_allowed(answer, data), (answer, data[:2_000])
        return answer

    def require_service(self) -> None:
        """The same processes still run, have raised nothing, and serve as always."""
        assert self._pids() == self.pids
        logs = self.pipeline.logs()
        assert "Traceback" not in logs, logs[logs.index("Traceback") - 500 :][:4_000]
        self.pipeline.http.post(f"{self.pipeline.query_url}/analytics/clear")
        assert self.pipeline.post([event(1), event(2)]).status_code == 202
        self.pipeline.wait_for_total(2)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Pipeline(tmp_path_factory.mktemp("hostile")) as pipeline:
        target = Target(pipeline)
        target.require_service()
        yield target


def test_twenty_thousand_requests_of_every_kind_of_nonsense(target: Target) -> None:
    attack(target, examples=50)
    before = target.memory()

    attack(target, examples=EXAMPLES)

    assert target.sent >= 20_000
    target.require_service()
    require_memory(target, before)


def attack(target: Target, *, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(hostile.requests(INGEST_PATHS), min_size=REQUESTS, max_size=REQUESTS),
        st.lists(hostile.requests(QUERY_PATHS), min_size=REQUESTS, max_size=REQUESTS),
    )
    def run(to_ingest: list[tuple[bytes, bool]], to_query: list[tuple[bytes, bool]]) -> None:
        for data, end in to_ingest:
            target.send(target.ingest, data, end=end)
        for data, end in to_query:
            target.send(target.query, data, end=end)

    run()


def require_memory(target: Target, before: dict[str, int]) -> None:
    def grown() -> dict[str, int]:
        now = target.memory()
        return {name: now[name] - before[name] for name in before}

    wait_until(lambda: max(grown().values()) < SPARE_BYTES, within=30, what=f"memory: {grown()}")


def test_attacks_on_parsers_are_answered_and_cost_no_memory(target: Target) -> None:
    before = target.memory()
    for name, (encoding, body) in hostile.known_bodies().items():
        for path, content_type in DOORS:
            headers = [("Host", "x"), ("Content-Type", content_type)]
            headers += [("Content-Encoding", encoding)] if encoding != "identity" else []
            headers += [("Content-Length", str(len(body)))]
            answer = target.send(target.ingest, message("POST", path, headers, body))
            assert answer.status in (200, 202, 400, 413, 422), (name, path, answer.status)

    target.require_service()
    require_memory(target, before)


@pytest.mark.parametrize("service", ["ingest", "query"])
def test_two_gigabytes_that_are_announced_are_not_waited_for(target: Target, service: str) -> None:
    address = target.ingest if service == "ingest" else target.query
    path = b"/analytics/events" if service == "ingest" else b"/analytics/dead-letters/replay"
    headers = [("Host", "x"), ("Content-Type", "application/json")]
    headers += [("Content-Length", str(2 * 1024**3))]

    began = time.monotonic()
    answer = target.send(address, message("POST", path, headers, b"[" * 1_000))

    assert answer.status in (400, 413)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("service", ["ingest", "query"])
def test_a_chunked_body_without_end_is_refused_at_the_limit(target: Target, service: str) -> None:
    address = target.ingest if service == "ingest" else target.query
    path = b"/analytics/events" if service == "ingest" else b"/analytics/dead-letters/replay"
    headers = [("Host", "x"), ("Content-Type", "application/json")]
    headers += [("Transfer-Encoding", "chunked")]
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    before = target.memory()

    with socket.create_connection(address, hostile.TIMEOUT) as connection:
        connection.sendall(message("POST", path, headers))
        sent = 0
        with suppress(OSError):
            while sent < 200 * 1024 * 1024:
                connection.sendall(chunk)
                sent += 0x10000

    assert sent < 100 * 1024 * 1024
    target.require_service()
    require_memory(target, before)


@pytest.mark.parametrize("kind", ["headers", "body"])
def test_slow_senders_keep_nobody_from_being_served(target: Target, kind: str) -> None:
    with slow_clients(target.ingest, kind):
        for _ in range(5):
            began = time.monotonic()
            target.require_service()
            assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["headers", "body"])
def test_slow_askers_do_no_harm_beyond_their_stay(target: Target, kind: str) -> None:
    """Each of query_api's threads reads a request whole; what stands in front must buffer."""
    with slow_clients(target.query, kind):
        time.sleep(5)

    target.require_service()


@contextmanager
def slow_clients(address: tuple[str, int], kind: str) -> Iterator[None]:
    """Sixty clients that send a byte now and then, and never come to an end."""
    start = b"POST /analytics/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    if kind == "body":
        start += b"Content-Length: 100000\r\n\r\n"
    stop = threading.Event()
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(60)]
        for connection in slow:
            connection.sendall(start)
        trickling = threading.Thread(target=_trickle, args=(slow, stop))
        trickling.start()
        stack.callback(trickling.join)
        stack.callback(stop.set)
        yield


def _trickle(connections: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(0.3):
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"a")
