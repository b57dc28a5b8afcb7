"""One worker: the consumer, and arq beside it for what is periodic.

arq ends when its broker goes away, and is then started again; the consumer waits for the broker by
itself and never notices. Nothing here reads the environment or handles a signal.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgpack
from arq import cron
from arq.connections import ArqRedis
from arq.worker import Worker
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.settings import Settings
from shared.stores.base import Store
from shared.stream import ARQ_QUEUE, EventQueue, connect

from worker.consumer import Consumer
from worker.naming import new_name
from worker.normalise import steps_with
from worker.pace import Pace
from worker.pricing import PriceTable

logger = logging.getLogger(__name__)

T = TypeVar("T")

STOP_SECONDS = 4.0
CANCEL_SECONDS = 1.0
RESTART_SECONDS = 1.0
IDLE_CONSUMER_MS = 600_000


class Services:
    """What one worker runs: a consumer of its own, and the jobs that arq calls."""

    def __init__(
        self, settings: Settings, store: Store, prices: PriceTable, *, pace: Pace | None = None
    ) -> None:
        self._store = store
        self._name = new_name()
        self._queue = EventQueue(connect(settings.broker_url))
        self._consumer = Consumer(
            self._queue,
            store,
            self._name,
            max_dead_letters=settings.max_dead_letters,
            max_combinations=settings.metrics_max_combinations,
            steps=steps_with(prices),
            pace=pace,
        )
        self._consuming: asyncio.Task[None] | None = None
        self._upkeep: set[asyncio.Future[Any]] = set()
        """Calls of the store that jobs have begun; each runs in a thread, which can't be ended."""
        self._stopping = False
        self._expiring = asyncio.Lock()
        self._maintaining = asyncio.Lock()

    def start(self) -> asyncio.Task[None]:
        """Start consuming; the task ends after `stop`."""
        self._consuming = asyncio.create_task(self._consumer.run())
        self._consuming.add_done_callback(_report_end)
        logger.info("consuming", extra={"consumer": self._name, "store": self._store.backend_type})
        return self._consuming

    async def stop(self) -> bool:
        """Finish the batch in hand, or give it back.

        Returns False where a call of the store has not ended within STOP_SECONDS: the thread that
        it hangs in can't be ended.
        """
        self._stopping = True
        self._consumer.stop()
        tasks = {*self._upkeep, *([self._consuming] if self._consuming else [])}
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        if self._consuming is not None and not self._consuming.done():
            self._consuming.cancel()
            await asyncio.wait({self._consuming}, timeout=CANCEL_SECONDS)
        await self._queue.close()
        return not self._consumer.writing and not self._upkeep

    async def expire(self) -> int:
        """Remove events whose time has ended, also of dead letters; returns how many.

        One such job at once is enough.
        """
        if self._expiring.locked():
            return 0
        async with self._expiring:
            horizon = self._store.horizon()
            letters = await self._tidy(self._queue.expire_letters(horizon)) if horizon else 0
            return letters + (await self._keep_up(self._store.expire) or 0)

    async def maintain(self) -> None:
        """Do what the store has put off, a step at a time; one such job at once is enough."""
        if self._maintaining.locked():
            return
        async with self._maintaining:
            while not self._stopping and await self._keep_up(self._store.maintain):
                pass

    async def _keep_up(self, call: Callable[[], T]) -> T | None:
        """Run a call of the store in a thread; None where the store is away."""
        running = asyncio.get_running_loop().run_in_executor(None, call)
        self._upkeep.add(running)
        running.add_done_callback(self._upkeep.discard)
        try:
            return await asyncio.shield(running)
        except StoreUnavailable as error:
            logger.warning("upkeep put off", extra={"reason": str(error)})
            return None

    async def forget_idle_consumers(self) -> int:
        """Remove the group's members that are gone for good; returns how many."""
        return await self._tidy(self._queue.forget_idle_consumers(IDLE_CONSUMER_MS))

    async def _tidy(self, call: Awaitable[int]) -> int:
        """Await a call of the queue; 0 where the broker is away."""
        try:
            return await call
        except QueueUnavailable as error:
            logger.warning("tidying put off", extra={"reason": str(error)})
            return 0


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the consumer died", exc_info=error)


def services_of(ctx: dict[Any, Any]) -> Services:
    """arq's untyped context as what it holds."""
    services = ctx["services"]
    assert isinstance(services, Services)
    return services


async def expire(ctx: dict[Any, Any]) -> int:
    return await services_of(ctx).expire()


async def maintain(ctx: dict[Any, Any]) -> None:
    await services_of(ctx).maintain()


async def forget_idle_consumers(ctx: dict[Any, Any]) -> int:
    return await services_of(ctx).forget_idle_consumers()


def expiry_seconds(ttl_seconds: int | None) -> set[int]:
    """When to expire, in seconds of each minute: oftener where a minute is much of a life."""
    every = 60 if ttl_seconds is None else min(60, max(1, ttl_seconds // 60))
    return set(range(0, 60, every))


def arq_options(settings: Settings) -> dict[str, Any]:
    """What an arq worker is made of. Jobs carry msgpack; arq's own default is pickle."""
    pool = ConnectionPool.from_url(settings.broker_url, socket_timeout=5, socket_connect_timeout=5)
    wire = {"job_serializer": msgpack.packb, "job_deserializer": msgpack.unpackb}
    return {
        "functions": [expire, maintain, forget_idle_consumers],
        "cron_jobs": [
            cron(expire, second=expiry_seconds(settings.ttl_seconds), keep_result=0),
            cron(maintain, second=set(range(5, 60, 10)), keep_result=0),
            cron(forget_idle_consumers, minute=set(range(2, 60, 5)), second=0, keep_result=0),
        ],
        "queue_name": ARQ_QUEUE,
        "redis_pool": ArqRedis(pool, default_queue_name=ARQ_QUEUE, **wire),
        "health_check_interval": 30,
        **wire,
    }


async def serve(
    settings: Settings,
    store: Store,
    prices: PriceTable,
    stopping: asyncio.Event,
    *,
    pace: Pace | None = None,
) -> bool:
    """Consume and run jobs until `stopping`; returns what `Services.stop` does."""
    services = Services(settings, store, prices, pace=pace)
    consuming = services.start()
    jobs = asyncio.create_task(_run_jobs(arq_options(settings), services))
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({consuming, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    jobs.cancel()
    clean = await services.stop()
    await asyncio.wait({jobs}, timeout=CANCEL_SECONDS)
    if not stopping.is_set():
        raise RuntimeError("the consumer ended by itself")
    return clean


async def _run_jobs(options: dict[str, Any], services: Services) -> None:
    """Run arq, and again once a second where its broker goes away."""
    try:
        while True:
            worker = Worker(**options, handle_signals=False, ctx={"services": services})
            try:
                await worker.async_run()
            except (RedisError, OSError) as error:
                logger.warning("arq stopped; starting it again", extra={"reason": str(error)})
            except Exception:
                logger.exception("arq failed; starting it again")
            finally:
                await _cancel_jobs(worker)
                # What took over may be found at the same name by a new connection alone.
                await options["redis_pool"].connection_pool.disconnect()
            await asyncio.sleep(RESTART_SECONDS)
    finally:
        await options["redis_pool"].aclose(close_connection_pool=True)


async def _cancel_jobs(worker: Worker) -> None:
    """End what arq has begun; another worker's arq takes it up again."""
    worker.handle_sig(signal.SIGTERM)
    if worker.tasks:
        await asyncio.wait(worker.tasks.values(), timeout=CANCEL_SECONDS)
