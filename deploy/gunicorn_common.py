"""What the gunicorn configurations share: settings read before a port is bound, and logs."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from gunicorn.glogging import Logger

from shared.errors import SettingsError
from shared.settings import Settings, load_settings
from shared.stores import check_store, require_shareable
from worker.price_file import load_prices

GRACEFUL_SECONDS = 8
"""How long gunicorn waits for its worker after SIGTERM before it kills it."""
DRAIN_SECONDS = 3
"""How long the worker waits for open connections. An idle one may be kept open by its client for
as long, so this, a second's notice and the worker's own end must fit into GRACEFUL_SECONDS."""
KEEPALIVE_SECONDS = 15
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def settings_or_exit(*, own_process: bool = True) -> Settings:
    """The settings, or an end with every problem named, before any port is bound.

    `own_process`: the service does not share its process with the others.
    """
    try:
        settings = load_settings()
        if own_process:
            require_shareable(settings)
        else:
            load_prices(settings.pricing_config)
        check_store(settings)
    except SettingsError as error:
        sys.exit("\n".join(error.problems))
    return settings


class NoAccessLog(Logger):  # type: ignore[misc]
    """gunicorn's logger without its access log, which costs every request even where it is dropped.

    Metrics count requests, and whoever wants lines has a reverse proxy in front.
    """

    @property
    def access_log_enabled(self) -> bool:
        return False


def freeze_heap() -> None:
    """Part of a `post_worker_init` hook: garbage collection looks at what requests make alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def choose_arrow_pool() -> None:
    """For Parquet exports, on Linux: jemalloc, unless the variable says otherwise.

    Arrow's default keeps what it once had, and the system's allocator leaves holes between what an
    export builds and drops, and the file's footer, which only grows.
    """
    if sys.platform == "linux":
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")


def share_metrics(server: Any) -> None:
    """An `on_starting` hook: the workers of one service count together, in files of a folder.

    prometheus_client reads the variable once, when a worker imports it.
    """
    os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix="metrics-")


def forget_metrics(server: Any) -> None:
    """An `on_exit` hook: remove what `share_metrics` made."""
    shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)


def drain_within(seconds: int) -> Callable[[Any, Any], None]:
    """A `post_fork` hook. gunicorn knows one graceful time; its worker must need less than it.

    Until the worker listens to signals, which `take_stops` sees to, a SIGTERM waits for it: it
    would be lost, and the worker killed after all of the graceful time.
    """

    def post_fork(server: Any, worker: Any) -> None:
        worker.cfg.set("graceful_timeout", seconds)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    return post_fork


def take_stops(worker: Any) -> None:
    """A `post_worker_init` hook: let SIGTERM through, to an event loop once it runs."""

    def let_through() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    if hasattr(worker, "loop"):
        worker.loop.call_soon(let_through)
    else:
        let_through()


def log_config(level: str) -> dict[str, Any]:
    """Every log line of gunicorn and the application in one form, on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "shared.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
        },
    }
