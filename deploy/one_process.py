"""All three services in one process, for a store that lives in one: memory, embedded ClickHouse.

The two applications are told apart by the port that a request came in by; the query application is
WSGI and runs in threads. The worker runs on the same event loop between start-up and shut-down.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from a2wsgi import WSGIMiddleware

from ingest.app import create_app as create_ingest
from query_api.app import create_app as create_query
from shared.queue_admin import QueueAdmin
from shared.settings import Settings, load_settings, split_address
from shared.stores import open_store
from shared.stores.base import Store
from shared.stream import EventQueue, connect
from worker.price_file import load_prices
from worker.pricing import PriceTable
from worker.service import serve

logger = logging.getLogger(__name__)

QUERY_THREADS = 8


class OneProcess:
    """The ASGI application of all services on one store."""

    def __init__(self, settings: Settings, store: Store, prices: PriceTable) -> None:
        self._settings = settings
        self._store = store
        self._prices = prices
        self._query_port = split_address(settings.query_bind)[1]
        self._ingest = create_ingest(EventQueue(connect(settings.broker_url)), settings)
        query = create_query(store, QueueAdmin.from_url(settings.broker_url), settings)
        self._query: Any = WSGIMiddleware(query, workers=QUERY_THREADS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["server"][1] == self._query_port:
            await self._query(scope, receive, send)
        else:
            await self._ingest(scope, receive, send)

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the worker for as long as ingest lives, and let it finish before the end is told."""
        stopping = asyncio.Event()
        worker = asyncio.create_task(serve(self._settings, self._store, self._prices, stopping))
        worker.add_done_callback(_report_end)

        async def send_after_worker(message: Any) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                stopping.set()
                await asyncio.gather(worker, return_exceptions=True)
                self._store.close()
            await send(message)

        await self._ingest(scope, receive, send_after_worker)


def _report_end(worker: asyncio.Task[bool]) -> None:
    if not worker.cancelled() and (error := worker.exception()) is not None:
        logger.critical("the worker died; nothing is stored any more", exc_info=error)


def create_app() -> OneProcess:
    settings = load_settings()
    return OneProcess(settings, open_store(settings), load_prices(settings.pricing_config))


app = create_app()
