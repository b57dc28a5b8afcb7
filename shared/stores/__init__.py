"""The stores: one contract (`base`), one module for each store, and the choice among them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from shared.errors import SettingsError
from shared.settings import DEFAULT_JSONL_PATH, PREFIX, Backend, Settings
from shared.stores.base import Store
from shared.stores.jsonl import JsonlStore
from shared.stores.memory import MemoryStore

logger = logging.getLogger(__name__)

_VARIABLES: dict[Backend, str] = {
    "redis": "REDIS_URL",
    "clickhouse": "CLICKHOUSE_URL",
    "database": "DATABASE_URL",
    "sled": "SLED_PATH",
    "jsonl": "JSONL_PATH",
    "memory": "FORCE_MEMORY",
}


def open_store(settings: Settings, *, clock: Callable[[], float] = time.time) -> Store:
    """Open the store that the settings choose. Raises SettingsError where it is not built in."""
    backend, *others = settings.backends()
    if others:
        logger.warning(
            "more than one store is configured; one is used",
            extra={"used": _variable(backend), "ignored": [_variable(name) for name in others]},
        )
    if backend == "jsonl":
        path = settings.jsonl_path or DEFAULT_JSONL_PATH
        return JsonlStore(path, ttl_seconds=settings.ttl_seconds, clock=clock)
    if backend == "redis":
        return _open_redis(settings, clock)
    if backend in ("database", "sled"):
        return _open_sql(settings, backend, clock)
    if backend == "memory":
        return MemoryStore(max_events=settings.max_events)
    raise SettingsError([f"{_variable(backend)}: this store is not available in this version"])


def _open_redis(settings: Settings, clock: Callable[[], float]) -> Store:
    from shared.stores.redis_store import RedisStore

    assert settings.redis_url is not None
    try:
        return RedisStore(settings.redis_url, ttl_seconds=settings.ttl_seconds, clock=clock)
    except ValueError as error:
        raise SettingsError([f"{_variable('redis')}: {error}"]) from None


def _open_sql(settings: Settings, backend: Backend, clock: Callable[[], float]) -> Store:
    from shared.stores.sql import SqlStore
    from shared.stores.sql_url import dialect_of, sqlite_file

    if backend == "sled":
        assert settings.sled_path is not None
        dialect = sqlite_file(settings.sled_path)
    else:
        assert settings.database_url is not None
        dialect = dialect_of(settings.database_url, _variable(backend))
    return SqlStore(dialect, ttl_seconds=settings.ttl_seconds, clock=clock)


def require_shareable(settings: Settings) -> None:
    """Raise SettingsError where the store lives in one process and other services can't reach it.

    A service that runs as a process of its own asks this before anything else.
    """
    if settings.one_process:
        variable = _variable(settings.backends()[0])
        raise SettingsError(
            [f"{variable}: this store lives in one process; start all services with `make run`"]
        )


def open_shared_store(settings: Settings, *, clock: Callable[[], float] = time.time) -> Store:
    """Open the store for a service that runs as a process of its own."""
    require_shareable(settings)
    return open_store(settings, clock=clock)


def _variable(backend: Backend) -> str:
    return PREFIX + _VARIABLES[backend]
