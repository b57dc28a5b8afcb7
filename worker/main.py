"""The worker process: `python -m worker.main`.

`arq worker.main.WorkerSettings` runs the same worker under arq's own command line. It ends when
its broker goes away, and needs something that starts it again; `python -m worker.main` does not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any

from shared.errors import SettingsError
from shared.logs import configure_logging
from shared.settings import Settings, load_settings
from shared.stores import open_shared_store, require_shareable
from shared.stores.base import Store

from worker.price_file import load_prices
from worker.pricing import PriceTable
from worker.service import Services, arq_options, serve, services_of

logger = logging.getLogger(__name__)


def _settings_or_exit() -> tuple[Settings, PriceTable]:
    try:
        settings = load_settings()
        require_shareable(settings)
        return settings, load_prices(settings.pricing_config)
    except SettingsError as error:
        sys.exit("\n".join(error.problems))


def _store_or_exit(settings: Settings) -> Store:
    try:
        return open_shared_store(settings)
    except SettingsError as error:
        sys.exit("\n".join(error.problems))


settings, prices = _settings_or_exit()


def _log_as_main_does() -> None:
    """arq's command line has given its own lines another form by now, and ours none."""
    arq = logging.getLogger("arq")
    arq.handlers.clear()
    arq.setLevel(logging.NOTSET)
    configure_logging(settings.log_level)


async def on_startup(ctx: dict[Any, Any]) -> None:
    _log_as_main_does()
    ctx["store"] = _store_or_exit(settings)
    ctx["services"] = Services(settings, ctx["store"], prices)
    services_of(ctx).start()


async def on_shutdown(ctx: dict[Any, Any]) -> None:
    if await services_of(ctx).stop():
        ctx["store"].close()
    else:
        _exit_at_once()


WorkerSettings = {
    **arq_options(settings),
    "on_startup": on_startup,
    "on_shutdown": on_shutdown,
}


async def run(store: Store) -> bool:
    """`serve` until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    return await serve(settings, store, prices, stopping)


async def run_then_close(store: Store) -> None:
    if not await run(store):
        _exit_at_once()
    store.close()


def _exit_at_once() -> None:
    """End without waiting for the thread that hangs in the store; an orderly end would wait."""
    logger.error("a call of the store did not end in time; its entries go to another worker")
    logging.shutdown()
    os._exit(1)


def main() -> None:
    configure_logging(settings.log_level)
    asyncio.run(run_then_close(_store_or_exit(settings)))


if __name__ == "__main__":
    main()
