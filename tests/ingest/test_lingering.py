"""A request that is refused while its body is still being sent: always answered, then let go."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from bench.processes import children, resident_bytes
from ingest.refusals import LINGER_BYTES, LINGER_SECONDS
from tests.harness import Pipeline, event

BODY_LIMIT = 20_000
MEGABYTE = 1_000_000
JSON = {"Content-Type": "application/json", "Authorization": "Bearer gateway"}
NO_TOKEN = {**JSON, "Authorization": "Bearer stranger"}
OTHER_TYPE = {**JSON, "Content-Type": "text/plain"}
OTHER_ENCODING = {**JSON, "Content-Encoding": "br"}
EVENTS = "/analytics/events"
REFUSALS = [
    (EVENTS, JSON, 413),
    (EVENTS, NO_TOKEN, 401),
    (EVENTS, OTHER_TYPE, 415),
    (EVENTS, OTHER_ENCODING, 415),
    ("/elsewhere", JSON, 404),
]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An ingest with a small limit and a token, and no worker."""
    settings = {"MAX_BODY_BYTES": str(BODY_LIMIT), "INGEST_TOKENS": "gateway"}
    with Pipeline(tmp_path_factory.mktemp("strict"), workers=0, **settings) as running:
        yield running


def connect(strict: Pipeline) -> http.client.HTTPConnection:
    address = urlsplit(strict.ingest_url)
    return http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)


def start(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], length: int | None
) -> None:
    connection.putrequest("POST", path)
    framing = {"Content-Length": str(length)} if length else {"Transfer-Encoding": "chunked"}
    for name, value in {**headers, **framing}.items():
        connection.putheader(name, value)
    connection.endheaders()


def require_service(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", EVENTS, json.dumps(event(1)), JSON)
    answer = connection.getresponse()
    assert answer.status == 202
    answer.read()


@pytest.mark.parametrize(("path", "headers", "status"), REFUSALS)
def test_a_client_that_sends_on_gets_its_answer_and_keeps_its_connection(
    strict: Pipeline, path: str, headers: dict[str, str], status: int
) -> None:
    with closing(connect(strict)) as connection:
        start(connection, path, headers, 5 * MEGABYTE)
        for _ in range(5):
            connection.send(b" " * MEGABYTE)
            time.sleep(0.02)
        answer = connection.getresponse()
        assert answer.status == status
        assert json.loads(answer.read())["error"]["message"]
        require_service(connection)


def test_the_answer_does_not_wait_for_the_rest_of_the_body(strict: Pipeline) -> None:
    with closing(connect(strict)) as connection:
        start(connection, EVENTS, JSON, 5 * MEGABYTE)
        connection.send(b" ")
        began = time.monotonic()
        assert connection.getresponse().status == 413
        assert time.monotonic() - began < LINGER_SECONDS / 2


def test_a_body_that_was_sent_whole_leaves_its_connection_free_at_once(strict: Pipeline) -> None:
    piece = b"%x\r\n%b\r\n" % (15_000, b" " * 15_000)
    with closing(connect(strict)) as connection:
        start(connection, EVENTS, JSON, None)
        connection.send(piece + piece + b"0\r\n\r\n")
        answer = connection.getresponse()
        assert answer.status == 413
        answer.read()
        began = time.monotonic()
        require_service(connection)
        assert time.monotonic() - began < LINGER_SECONDS / 2


def test_thirty_large_bodies_from_busy_clients_are_all_answered(strict: Pipeline) -> None:
    def send(number: int) -> list[int]:
        """Each client sends a good request as well, on the connection that it has."""
        headers = (JSON, NO_TOKEN)[number % 2]
        url = strict.ingest_url + EVENTS
        statuses = []
        with httpx.Client(timeout=30) as client:
            for megabytes in (1, 12, 1, 2, 6):
                body = b" " * megabytes * MEGABYTE
                answer = client.post(url, content=body, headers=headers)
                statuses.append(answer.status_code)
                statuses.append(client.post(url, json=[event(1)], headers=JSON).status_code)
        return statuses

    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(send, range(6)))

    assert answers == [[413, 202] * 5, [401, 202] * 5] * 3


def test_a_body_longer_than_will_be_read_is_told_that_its_connection_ends(strict: Pipeline) -> None:
    with closing(connect(strict)) as connection:
        start(connection, EVENTS, JSON, LINGER_BYTES + 1)
        connection.send(b" ")
        assert connection.getresponse().headers["Connection"] == "close"


@pytest.mark.parametrize("length", [2_000 * MEGABYTE, None])
def test_a_sender_without_end_is_cut_off_and_leaves_nothing_in_memory(
    strict: Pipeline, length: int | None
) -> None:
    def send_on() -> int:
        """Bytes that were sent before the connection broke."""
        chunk = b" " * MEGABYTE
        chunk = chunk if length else b"%x\r\n%b\r\n" % (MEGABYTE, chunk)
        sent = 0
        with closing(connect(strict)) as connection, suppress(OSError):
            start(connection, EVENTS, NO_TOKEN, length)
            while sent < 4 * LINGER_BYTES:
                connection.send(chunk)
                sent += MEGABYTE
        return sent

    send_on()
    before = resident(strict)
    for _ in range(3):
        assert LINGER_BYTES / 2 < send_on() < 2 * LINGER_BYTES
    assert resident(strict) - before < 8 * MEGABYTE


def resident(strict: Pipeline) -> int:
    [ingest] = strict.running("ingest")
    return sum(map(resident_bytes, children(ingest.process.pid)))


def test_a_sender_that_has_stopped_is_let_go_after_a_while(strict: Pipeline) -> None:
    address = urlsplit(strict.ingest_url)
    with socket.create_connection((str(address.hostname), address.port), 10) as connection:
        lines = [f"POST {EVENTS} HTTP/1.1", "Host: x", "Content-Length: 1000000"]
        connection.sendall("\r\n".join([*lines, "", "["]).encode())
        connection.recv(10_000)
        began = time.monotonic()
        assert connection.recv(10_000) == b""
        assert LINGER_SECONDS / 2 < time.monotonic() - began < LINGER_SECONDS + 3
