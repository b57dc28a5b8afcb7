"""The load generator: keep-alive connections that each send the next request when answered.

It shares the machine with what it measures, so it does next to nothing: requests are bytes made
beforehand, and of an answer only its status and its end are looked for. Run as a process of its
own (`generate`), it prints one JSON object, a `Load`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import cycle
from typing import cast

import msgspec
import uvloop

from bench.samples import bodies, request

DIFFERENT_BODIES = 64


class Load(msgspec.Struct, kw_only=True):
    """What a run of the generator saw. `latencies` are of answers, in seconds, ascending."""

    seconds: float
    answered: int
    refused: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests answered with 202 in a second."""
        return self.answered / self.seconds


class Plan(msgspec.Struct, kw_only=True):
    """What the generator shall do. `batch` is events a request, `seconds` how long."""

    port: int
    connections: int
    batch: int
    seconds: float


class Connection(asyncio.Protocol):
    """One HTTP connection, one request at a time; `answered` is called with status and body."""

    def __init__(self, answered: Callable[[Connection, int, bytes], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports quack; they are no subclasses.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0 or len(buffer) < head + 4 + _content_length(buffer, head):
            self._buffer = buffer
            return
        self._buffer = b""
        self._answered(self, int(buffer[9:12]), buffer[head + 4 :])

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _content_length(buffer: bytes, head: int) -> int:
    start = buffer[:head].lower().find(b"content-length:")
    if start < 0:
        raise ValueError("an answer without Content-Length")
    return int(buffer[start + 15 : head].partition(b"\r\n")[0])


class Caller:
    """A pool of connections on which requests can be awaited."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[Connection] = deque()
        self._all: list[Connection] = []
        self._waiting: dict[Connection, asyncio.Future[tuple[int, bytes]]] = {}

    async def call(self, data: bytes) -> tuple[int, bytes]:
        """Send one request; returns its status and body. Opens a connection where none is idle."""
        loop = asyncio.get_running_loop()
        connection = await self._connection(loop)
        self._waiting[connection] = loop.create_future()
        connection.send(data)
        return await self._waiting[connection]

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    async def _connection(self, loop: asyncio.AbstractEventLoop) -> Connection:
        while self._idle:
            connection = self._idle.popleft()
            if not connection.lost:
                return connection
        _, connection = await loop.create_connection(
            lambda: Connection(self._take), "127.0.0.1", self._port
        )
        self._all.append(connection)
        return connection

    def _take(self, connection: Connection, status: int, body: bytes) -> None:
        self._idle.append(connection)
        self._waiting.pop(connection).set_result((status, body))


class Generator:
    """Keeps a number of connections busy for a while."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = cycle([request(body) for body in bodies(DIFFERENT_BODIES, plan.batch)])
        self._sent: dict[Connection, float] = {}
        self._latencies: list[float] = []
        self._refused = 0
        self._deadline = 0.0
        self._done = asyncio.Event()

    async def run(self) -> Load:
        """Send until the time is over, and wait for the last answers."""
        loop = asyncio.get_running_loop()
        opened = [
            await loop.create_connection(
                lambda: Connection(self._answered), "127.0.0.1", self._plan.port
            )
            for _ in range(self._plan.connections)
        ]
        started = time.perf_counter()
        self._deadline = started + self._plan.seconds
        for _, connection in opened:
            self._send(connection, started)
        await asyncio.wait_for(self._done.wait(), self._plan.seconds + 30)
        seconds = time.perf_counter() - started
        for _, connection in opened:
            connection.close()
        return self._load(seconds)

    def _send(self, connection: Connection, now: float) -> None:
        self._sent[connection] = now
        connection.send(next(self._requests))

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter()
        self._latencies.append(now - self._sent.pop(connection))
        if status != 202:
            self._refused += 1
        if now < self._deadline:
            self._send(connection, now)
        elif not self._sent:
            self._done.set()

    def _load(self, seconds: float) -> Load:
        latencies = sorted(self._latencies)
        return Load(
            seconds=seconds,
            answered=len(latencies) - self._refused,
            refused=self._refused,
            p50=latencies[len(latencies) // 2],
            p99=latencies[len(latencies) * 99 // 100],
        )


def generate(plan: Plan) -> Load:
    """Run the generator in a process of its own."""
    command = [sys.executable, "-m", "bench.load", msgspec.json.encode(plan).decode()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=plan.seconds + 60)
    return msgspec.json.decode(done.stdout, type=Load)


if __name__ == "__main__":
    _plan = msgspec.json.decode(sys.argv[1], type=Plan)
    print(msgspec.json.encode(uvloop.run(Generator(_plan).run())).decode())
