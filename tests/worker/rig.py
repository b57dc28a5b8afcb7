"""A consumer on a real broker, and a store that can be told to misbehave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from shared.entries import Packed, Progress
from shared.errors import StoreUnavailable
from shared.events import Event, ReceivedEvent
from shared.queue_admin import QueueAdmin
from shared.stores.base import Selection
from shared.stores.jsonl import JsonlStore
from shared.stream import (
    DEAD,
    GROUP,
    STREAM,
    TOTALS,
    WORKERS,
    EventQueue,
    connect,
    group_into_entries,
    pack,
)
from tests.harness import event
from worker.consumer import Consumer
from worker.pace import Pace

FAST = Pace(
    block_ms=20,
    reclaim_every=0.02,
    reclaim_idle_ms=300,
    publish_every=0.02,
    announce_every=0.05,
    first_backoff=0.01,
    longest_backoff=0.04,
)
ALL_TIME = Selection(start=0, end=2**40)

T = TypeVar("T")


class TroubledStore(JsonlStore):
    """A JSONL store that is away, chokes on some ids, or hangs, as it is told."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.away = False
        self.poison: set[str] = set()
        self.slow = 0.0
        self.calls: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def append(self, events: Sequence[Event]) -> int:
        self.calls.append(len(events))
        self.entered.set()
        assert self.gate.wait(30)
        time.sleep(self.slow)
        if self.away:
            raise StoreUnavailable("told to be away")
        if self.poison & {event.id for event in events}:
            raise ValueError("told to choke")
        return super().append(events)

    def hang(self) -> None:
        """Let every append hang until `gate` is set."""
        self.entered.clear()
        self.gate.clear()

    def ids(self) -> list[str]:
        return [event.id for events in self.scan(ALL_TIME) for event in events]


def received(numbers: Iterable[int]) -> list[ReceivedEvent]:
    return [msgspec.convert(event(number), ReceivedEvent) for number in numbers]


def names(numbers: Iterable[int]) -> list[str]:
    return [f"event-{number}" for number in numbers]


async def eventually(condition: Callable[[], Any], *, within: float = 10.0, what: str = "") -> Any:
    """Ask, or await, until the answer is true, and return it; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {what or condition}"
        await asyncio.sleep(0.01)


class Rig:
    """One broker's queue, one store, and any number of consumers; an async context manager."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.store = TroubledStore(folder / "store.jsonl")
        self.queue = EventQueue(connect(url))
        self.redis = connect(url)
        self.admin = QueueAdmin.from_url(url)
        self._stack = AsyncExitStack()
        self._running: dict[str, tuple[Consumer, asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        await self.redis.flushall()
        await self.queue.create_group()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.gate.set()
        for name in list(self._running):
            await self.stop(name)
        await self._stack.aclose()
        await self.queue.close()
        await self.redis.aclose()
        self.admin.close()
        self.store.close()

    async def add(self, numbers: Iterable[int]) -> None:
        """Queue events of these numbers, as ingest does."""
        await self.queue.add(group_into_entries(pack("native", received(numbers))))

    async def add_raw(self, data: bytes, count: int) -> None:
        await self.queue.add([[Packed(data, count)]])

    def start(
        self,
        name: str = "one",
        *,
        pace: Pace = FAST,
        store: Any = None,
        max_dead_letters: int = 9,
        max_combinations: int = 9,
        clock: Callable[[], float] = time.time,
    ) -> Consumer:
        """Start a consumer with a connection of its own, as another process would have."""
        queue = EventQueue(connect(self.url))
        self._stack.push_async_callback(queue.close)
        consumer = Consumer(
            queue,
            store or self.store,
            name,
            max_dead_letters=max_dead_letters,
            max_combinations=max_combinations,
            pace=pace,
            clock=clock,
        )
        self._running[name] = (consumer, asyncio.create_task(consumer.run()))
        return consumer

    async def stop(self, name: str = "one") -> None:
        consumer, task = self._running.pop(name)
        consumer.stop()
        await asyncio.wait_for(task, 5)

    async def crash(self, name: str = "one") -> None:
        """End a consumer where it is, without a word to the broker."""
        _, task = self._running.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def take(self, consumer: str, count: int = 32) -> list[Any]:
        """Read entries as `consumer` would, and do nothing with them."""
        return await self.queue.read(consumer, count=count, block_ms=10)

    async def stored(self, numbers: Iterable[int]) -> None:
        """Wait until the store holds exactly these events, each once, and the queue is empty."""
        wanted = sorted(names(numbers))
        await eventually(lambda: sorted(self.store.ids()) == wanted, what=f"{len(wanted)} stored")
        await self.empty()
        assert sorted(self.store.ids()) == wanted

    async def empty(self) -> None:
        await eventually(self._is_empty, what="an empty queue")

    async def _is_empty(self) -> bool:
        backlog = await self.queue.backlog()
        return (backlog.events, backlog.bytes, await self.redis.xlen(STREAM)) == (0, 0, 0)

    async def pending(self) -> int:
        return int((await self.redis.xpending(STREAM, GROUP))["pending"])

    async def letters(self) -> list[dict[str, bytes]]:
        """The dead letters, oldest first."""
        return [
            {name.decode(): value for name, value in fields.items()}
            for _, fields in await self.redis.xrange(DEAD)
        ]

    async def totals(self) -> dict[str, int]:
        found: Any = await self.redis.hgetall(TOTALS)  # type: ignore[misc]
        return {name.decode(): int(value) for name, value in found.items()}

    async def progress(self, name: str = "one") -> Progress:
        raw: Any = await self.redis.hget(WORKERS, name)  # type: ignore[misc]
        return msgspec.msgpack.decode(raw, type=Progress)
