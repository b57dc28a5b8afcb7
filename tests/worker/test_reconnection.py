"""A broker that is emptied, replaced, demoted or away: everything goes on without a restart."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
import redis
import uvloop

from deploy.broker import EmbeddedBroker
from shared.errors import QueueUnavailable
from shared.queue_admin import QueueAdmin
from shared.stream import EventQueue, connect, pack
from tests.harness import Pipeline, event, free_port, wait_until
from tests.worker.rig import received

BATCH = 50
WRITING_AGAIN_SECONDS = 5.0


class Load(threading.Thread):
    """Posts events without end, and repeats with the same ids what was not accepted."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = f"{url}/analytics/events"
        self._ended = threading.Event()
        self.accepted = 0
        """Events up to this number, exclusive."""

    def run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._ended.wait(0.01):
                numbers = range(self.accepted, self.accepted + BATCH)
                try:
                    answer = client.post(self._url, json=[event(number) for number in numbers])
                except httpx.TransportError:
                    continue
                if answer.status_code == 202:
                    self.accepted = numbers.stop

    def next_accepted(self, *, within: float = 30.0) -> int:
        """The number of an event that was posted after now, once it is accepted."""
        wanted = self.accepted + 2 * BATCH
        wait_until(lambda: self.accepted >= wanted, within=within, what="events accepted")
        return wanted - 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self.join()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One for all of these tests: no process of it is ever to be started again."""
    with Pipeline(tmp_path_factory.mktemp("pipeline"), workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def load(pipeline: Pipeline) -> Iterator[Load]:
    with Load(pipeline.ingest_url) as load:
        yield load


def wait_for_event(pipeline: Pipeline, number: int, *, within: float) -> None:
    """Wait until the store has the event."""
    wanted = f'"event-{number}"'.encode()
    store = pipeline.folder / "store.jsonl"
    looked_at = 0

    def is_stored() -> bool:
        """Looks at all that was written since: a long queue is written in no time."""
        nonlocal looked_at
        if not store.exists():
            return False
        with open(store, "rb") as file:
            file.seek(max(0, looked_at - len(wanted)))
            written = file.read()
            looked_at = file.tell()
        return wanted in written

    wait_until(is_stored, within=within, what=f"event {number} stored")


def assert_nothing_was_restarted(pipeline: Pipeline) -> None:
    assert [service.name for service in pipeline.services if service.running] == [
        "ingest-1",
        "query-1",
        "worker-1",
        "worker-2",
    ]
    assert "Traceback" not in pipeline.logs()


def test_workers_write_again_within_seconds_of_a_flush_under_load(
    pipeline: Pipeline, load: Load
) -> None:
    wait_for_event(pipeline, load.next_accepted(), within=10)
    for _ in range(3):
        with closing(pipeline.redis()) as client:
            client.flushall()
        began = time.monotonic()
        wait_for_event(pipeline, load.next_accepted(), within=WRITING_AGAIN_SECONDS)
        took = time.monotonic() - began
        print(f"an event posted after the flush was stored {took:.2f} s after it")
        assert took < WRITING_AGAIN_SECONDS

    assert_nothing_was_restarted(pipeline)
    workers = wait_until(lambda: _both_alive(pipeline), what="both workers")
    assert workers == 2


def test_an_empty_broker_takes_over_under_load(pipeline: Pipeline, load: Load) -> None:
    """What an operator gets from a failover to a replica that had nothing yet."""
    wait_for_event(pipeline, load.next_accepted(), within=10)
    pipeline.broker.kill()
    shutil.rmtree(pipeline.folder / "broker")
    pipeline.broker.start()

    number = load.next_accepted()

    # A worker looks for its broker again every five seconds at the most.
    wait_for_event(pipeline, number, within=5 + WRITING_AGAIN_SECONDS)
    assert_nothing_was_restarted(pipeline)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_broker_that_is_away_for_a_minute_is_waited_for(pipeline: Pipeline, load: Load) -> None:
    wait_for_event(pipeline, load.next_accepted(), within=10)
    pipeline.broker.kill()
    time.sleep(60)
    pipeline.broker.start()

    began = time.monotonic()
    wait_for_event(pipeline, load.next_accepted(), within=15)
    print(f"stored again {time.monotonic() - began:.1f} s after the broker was back")
    assert_nothing_was_restarted(pipeline)
    accepted = load.accepted
    wait_until(lambda: pipeline.total() >= accepted, within=30, what="all that was accepted")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pair(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[tuple[EmbeddedBroker, EventQueue, QueueAdmin]]:
    """A broker of this test's own, and both kinds of clients."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("demoted"), free_port())
    broker.start()
    async with AsyncExitStack() as stack:
        stack.callback(broker.stop)
        queue = EventQueue(connect(broker.url))
        stack.push_async_callback(queue.close)
        admin = QueueAdmin.from_url(broker.url)
        stack.callback(admin.close)
        yield broker, queue, admin


@pytest.mark.anyio
async def test_connections_to_a_broker_that_was_demoted_are_given_up(
    pair: tuple[EmbeddedBroker, EventQueue, QueueAdmin],
) -> None:
    """A new connection follows the name to the broker that took over; an old one never would."""
    broker, queue, admin = pair
    with closing(redis.Redis.from_url(broker.url)) as client:
        await queue.create_group()
        admin.drop_all()
        before = _connections(client)
        client.replicaof("127.0.0.1", free_port())

        with pytest.raises(QueueUnavailable, match="READONLY"):
            await queue.create_group()
        with pytest.raises(QueueUnavailable, match="READONLY"):
            admin.drop_all()

        wait_until(lambda: not _connections(client) & before, what="both given up")
        client.replicaof("NO", "ONE")
        await queue.create_group()
        admin.drop_all()


@pytest.mark.anyio
async def test_adding_goes_on_at_once_on_a_broker_that_was_started_again(
    pair: tuple[EmbeddedBroker, EventQueue, QueueAdmin],
) -> None:
    """The connection kept for it is closed, and the script it knows by its digest is forgotten."""
    broker, queue, _ = pair
    batch = pack("native", received([1]))

    assert (await queue.add([batch])).events == 1
    broker.kill()
    broker.start()
    assert (await queue.add([batch])).events == 2
    with closing(redis.Redis.from_url(broker.url)) as client:
        client.script_flush()
    assert (await queue.add([batch])).events == 3


@pytest.mark.anyio
async def test_adding_follows_a_broker_that_was_demoted_and_came_back(
    pair: tuple[EmbeddedBroker, EventQueue, QueueAdmin],
) -> None:
    broker, queue, _ = pair
    batch = pack("native", received([1]))
    await queue.add([batch])
    with closing(redis.Redis.from_url(broker.url)) as client:
        before = _connections(client)
        client.replicaof("127.0.0.1", free_port())
        with pytest.raises(QueueUnavailable, match="READONLY"):
            await queue.add([batch])
        await asyncio.sleep(0)  # the event loop closes it
        wait_until(lambda: not _connections(client) & before, what="the kept one given up")
        client.replicaof("NO", "ONE")
        assert (await queue.add([batch])).events == 2


@pytest.mark.timeout(60)
def test_adding_goes_on_after_a_connection_that_a_firewall_has_reset(tmp_path: Path) -> None:
    """As in production, on uvloop, which says it in a way of its own."""

    async def scenario(broker: EmbeddedBroker) -> None:
        target = urlsplit(broker.url)
        passing: list[asyncio.StreamWriter] = []

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            passing.append(writer)
            there, back = await asyncio.open_connection(target.hostname, target.port)
            await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)

        server = await asyncio.start_server(relay, "127.0.0.1", free_port())
        host, port = server.sockets[0].getsockname()
        queue = EventQueue(connect(f"redis://{host}:{port}/0"))
        batch = pack("native", received([1]))
        assert (await queue.add([batch])).events == 1
        _reset(passing[0])
        await asyncio.sleep(0.1)
        assert (await queue.add([batch])).events == 2
        await queue.close()
        server.close()

    broker = EmbeddedBroker(tmp_path, free_port())
    broker.start()
    try:
        uvloop.run(asyncio.wait_for(scenario(broker), 20))
    finally:
        broker.stop()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST instead of FIN."""
    now = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
    writer.transport.abort()


def _connections(client: redis.Redis) -> set[str]:
    """The connections of other clients, by their ids."""
    mine = str(client.client_id())
    listed: Any = client.client_list(_type="normal")
    return {each["id"] for each in listed} - {mine}


def _both_alive(pipeline: Pipeline) -> int:
    return sum(worker["alive"] for worker in pipeline.get("pipeline")["workers"])
