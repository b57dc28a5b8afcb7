"""The worker process: `python -m worker.main`, or `arq worker.main.WorkerSettings`.

arq hosts the consumer between its start-up and shut-down hooks and runs what is periodic. arq ends
when its broker goes away; this process then starts it again, and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
from arq import cron
from arq.connections import RedisSettings
from arq.worker import Worker, create_worker
from redis.exceptions import RedisError
from shared.errors import QueueUnavailable, SettingsError, StoreUnavailable
from shared.logs import configure_logging
from shared.settings import Settings, load_settings
from shared.stores import open_shared_store
from shared.stores.base import Store
from shared.stream import ARQ_QUEUE, EventQueue, connect

from worker.consumer import Consumer

logger = logging.getLogger(__name__)

STOP_SECONDS = 4.0
RESTART_SECONDS = 1.0
IDLE_CONSUMER_MS = 3_600_000


class Services:
    """What the hooks and jobs of one worker share."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.store = store
        self._settings = settings
        self._queue: EventQueue | None = None
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start consuming."""
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._queue = EventQueue(connect(self._settings.broker_url))
        self._consumer = Consumer(
            self._queue, self.store, name, max_dead_letters=self._settings.max_dead_letters
        )
        self._task = asyncio.create_task(self._consumer.run())
        self._task.add_done_callback(_report_end)
        logger.info("consuming", extra={"consumer": name, "store": self.store.backend_type})

    async def stop(self) -> bool:
        """Finish the batch in hand; returns False where it did not end within STOP_SECONDS."""
        if self._consumer is None or self._task is None or self._queue is None:
            return True
        self._consumer.stop()
        done, _ = await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        await self._queue.close()
        return bool(done)

    async def expire(self) -> int:
        """Remove events whose time has ended; returns how many."""
        try:
            return await asyncio.to_thread(self.store.expire)
        except StoreUnavailable as error:
            logger.warning("expiry put off", extra={"reason": str(error)})
            return 0

    async def forget_idle_consumers(self) -> int:
        """Remove the group's members that are gone for good; returns how many."""
        assert self._queue is not None
        try:
            return await self._queue.forget_idle_consumers(IDLE_CONSUMER_MS)
        except QueueUnavailable as error:
            logger.warning("tidying put off", extra={"reason": str(error)})
            return 0


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the consumer died", exc_info=error)


def _services(ctx: dict[Any, Any]) -> Services:
    services = ctx["services"]
    assert isinstance(services, Services)
    return services


async def expire(ctx: dict[Any, Any]) -> int:
    return await _services(ctx).expire()


async def forget_idle_consumers(ctx: dict[Any, Any]) -> int:
    return await _services(ctx).forget_idle_consumers()


async def on_startup(ctx: dict[Any, Any]) -> None:
    if "services" not in ctx:
        settings = load_settings()
        ctx["services"] = Services(settings, open_shared_store(settings))
    await _services(ctx).start()


async def on_shutdown(ctx: dict[Any, Any]) -> None:
    ctx["stopped"] = await _services(ctx).stop()


class WorkerSettings:
    """What arq runs. Jobs carry msgpack; arq's own default is pickle."""

    queue_name = ARQ_QUEUE
    functions = (expire, forget_idle_consumers)
    cron_jobs = (
        cron(expire, second=0, unique=True, keep_result=0),
        cron(forget_idle_consumers, minute=7, second=0, unique=True, keep_result=0),
    )
    on_startup = on_startup
    on_shutdown = on_shutdown
    job_serializer: Callable[[dict[str, Any]], bytes] = msgpack.packb
    job_deserializer: Callable[[bytes], dict[str, Any]] = msgpack.unpackb
    health_check_interval = 30


def arq_worker(settings: Settings, store: Store) -> Worker:
    """An arq worker that consumes into `store`. Its host handles the signals."""
    return create_worker(
        WorkerSettings,  # type: ignore[arg-type]
        redis_settings=RedisSettings.from_dsn(settings.broker_url),
        handle_signals=False,
        ctx={"services": Services(settings, store)},
    )


async def serve(settings: Settings, store: Store, stopping: asyncio.Event) -> bool:
    """Run arq and the consumer until `stopping`; returns False where a batch did not end in time.

    Where the broker goes away arq is started again once a second.
    """
    while True:
        worker = arq_worker(settings, store)
        running = asyncio.create_task(worker.async_run())
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await _end(worker, running)
        if stopping.is_set():
            return bool(worker.ctx.get("stopped", True))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), RESTART_SECONDS)


async def _end(worker: Worker, running: asyncio.Task[None]) -> None:
    """Let one run of arq end, whatever state the broker is in."""
    if running.done() and not running.cancelled() and (error := running.exception()) is not None:
        if not isinstance(error, (RedisError, OSError)):
            raise error
        logger.warning("arq stopped; starting it again", extra={"reason": str(error)})
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    try:
        await worker.close()
    except (RedisError, OSError, asyncio.CancelledError) as error:
        logger.info("arq closed without its broker", extra={"reason": str(error)})
        if "stopped" not in worker.ctx:
            await on_shutdown(worker.ctx)


async def run(settings: Settings, store: Store) -> bool:
    """`serve` until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    return await serve(settings, store, stopping)


def main() -> None:
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        store = open_shared_store(settings)
    except SettingsError as error:
        sys.exit("\n".join(error.problems))
    clean = asyncio.run(run(settings, store))
    if not clean:
        logger.error("a write did not end in time; its entries go to another worker")
        # The thread that hangs in the store would keep the interpreter from exiting.
        os._exit(1)
    store.close()


if __name__ == "__main__":
    main()
