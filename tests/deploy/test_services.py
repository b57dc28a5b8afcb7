"""gunicorn as we configure it: how the services refuse to start, and how they stop."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from deploy.gunicorn_common import GRACEFUL_SECONDS
from tests.harness import COMMANDS, PREFIX, Pipeline, Service, event, wait_until

SERVICES = ["ingest", "query", "worker"]
HALF_A_REQUEST = b"POST /analytics/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[{"


@pytest.fixture
def services(folder: Path) -> Iterator[Pipeline]:
    with Pipeline(folder) as pipeline:
        yield pipeline


def url_of(pipeline: Pipeline, kind: str) -> str:
    return pipeline.ingest_url if kind == "ingest" else pipeline.query_url


@pytest.mark.parametrize("kind", SERVICES)
def test_every_wrong_setting_is_named_before_a_port_is_bound(kind: str, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        env = {
            PREFIX + "INGEST_BIND": address,
            PREFIX + "QUERY_BIND": address,
            PREFIX + "TTL_SECONDS": "soon",
            PREFIX + "BROKER_URL": "http://nowhere",
        }
        service = Service(kind, [sys.executable, *COMMANDS[kind]], env, folder)
        assert service.process.wait(20) != 0

    output = service.output()
    assert PREFIX + "TTL_SECONDS" in output
    assert PREFIX + "BROKER_URL" in output
    assert "in use" not in output, "it tried to bind the port first"
    assert "Traceback" not in output


@pytest.mark.parametrize("kind", SERVICES)
def test_a_service_alone_refuses_a_store_of_one_process(kind: str, folder: Path) -> None:
    env = {PREFIX + "FORCE_MEMORY": "1"}
    service = Service(kind, [sys.executable, *COMMANDS[kind]], env, folder)

    assert service.process.wait(20) != 0
    assert PREFIX + "FORCE_MEMORY" in service.output()
    assert "make run" in service.output()
    assert "Traceback" not in service.output()


@pytest.mark.parametrize("connection", ["kept alive", "silent", "half a request"])
@pytest.mark.parametrize("kind", ["ingest", "query"])
def test_open_connections_do_not_keep_a_service_from_stopping_in_order(
    services: Pipeline, kind: str, connection: str
) -> None:
    url = url_of(services, kind)
    host, _, port = url.removeprefix("http://").partition(":")
    with httpx.Client() as client, socket.create_connection((host, int(port))) as raw:
        if connection == "kept alive":
            assert client.get(f"{url}/healthz/live").status_code == 200
        if connection == "half a request":
            raw.sendall(HALF_A_REQUEST)
        if connection == "kept alive":
            raw.close()
        [service] = services.running(kind)
        started = time.monotonic()
        assert service.terminate(within=10) == 0

    assert time.monotonic() - started < GRACEFUL_SECONDS
    assert "SIGKILL" not in service.output()


@pytest.mark.parametrize("signalled", ["gunicorn", "every process of it"])
def test_ingest_answers_what_it_has_begun(services: Pipeline, signalled: str) -> None:
    [ingest] = services.running("ingest")
    os.kill(services.broker.pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        # The gate looks at the backlog first, so the request hangs with or without its write.
        answers = [pool.submit(services.post, [event(number)]) for number in range(5)]
        wait_until(lambda: _in_flight(services) >= 5, what="requests under way")
        if signalled == "gunicorn":
            ingest.process.terminate()
        else:
            os.killpg(ingest.process.pid, signal.SIGTERM)
        wait_until(lambda: "shutting down" in ingest.output(), what="a stop that has begun")
        os.kill(services.broker.pid, signal.SIGCONT)
        assert [answer.result().status_code for answer in answers] == [202] * 5

    assert ingest.process.wait(10) == 0
    services.wait_for_total(5)


@pytest.mark.parametrize("kind", ["ingest", "query"])
def test_a_stop_while_it_is_starting_is_not_missed(services: Pipeline, kind: str) -> None:
    [running] = services.running(kind)
    running.terminate()
    service = services.start(kind)
    wait_until(lambda: "Booting worker" in service.output(), what="a worker that is starting")
    began = time.monotonic()

    assert service.terminate(within=10) == 0

    assert time.monotonic() - began < GRACEFUL_SECONDS
    assert "SIGKILL" not in service.output()


def test_ingest_can_be_restarted_under_its_workers(services: Pipeline) -> None:
    services.post([event(1)])
    [ingest] = services.running("ingest")
    assert ingest.terminate() == 0

    services.start_ingest()
    services.wait_ready()
    services.post([event(2)])

    services.wait_for_total(2)


def _in_flight(pipeline: Pipeline) -> int:
    """Connections to ingest that are open."""
    port = int(pipeline.ingest_url.rpartition(":")[2])
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [row.split()[1:4:2] for row in rows]
    return sum(address == f"0100007F:{port:04X}" and state == "01" for address, state in local)
