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


Clock = Callable[[], float]
Opener = Callable[[Clock], Store]


def open_store(settings: Settings, *, clock: Clock = time.time) -> Store:
    """Open the store that the settings choose.

    Raises SettingsError where its settings are wrong, StoreUnavailable where it is away.
    """
    backend, *others = settings.backends()
    if others:
        logger.warning(
            "more than one store is configured; one is used",
            extra={"used": _variable(backend), "ignored": [_variable(name) for name in others]},
        )
    return _opener(settings)(clock)


def check_store(settings: Settings) -> None:
    """Raise SettingsError where the chosen store's settings are wrong; opens nothing."""
    _opener(settings)


def _opener(settings: Settings) -> Opener:
    """What opens the chosen store; its settings are looked at here, before it is opened."""
    backend = settings.backends()[0]
    if backend == "jsonl":
        path = settings.jsonl_path or DEFAULT_JSONL_PATH
        return lambda clock: JsonlStore(path, ttl_seconds=settings.ttl_seconds, clock=clock)
    if backend == "redis":
        return _redis(settings)
    if backend == "clickhouse":
        return _clickhouse(settings)
    if backend in ("database", "sled"):
        return _sql(settings, backend)
    return lambda clock: MemoryStore(max_events=settings.max_events)


def _redis(settings: Settings) -> Opener:
    from redis.connection import parse_url

    from shared.stores.redis_store import RedisStore

    url = settings.redis_url
    assert url is not None
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise SettingsError([f"{_variable('redis')}: {error}"]) from None
    return lambda clock: RedisStore(url, ttl_seconds=settings.ttl_seconds, clock=clock)


def _clickhouse(settings: Settings) -> Opener:
    from shared.stores.clickhouse import ClickHouseStore, check_url

    url, variable = settings.clickhouse_url, _variable("clickhouse")
    assert url is not None
    check_url(url, variable)
    return lambda clock: ClickHouseStore(
        url,
        cluster=settings.clickhouse_cluster,
        ttl_seconds=settings.ttl_seconds,
        clock=clock,
        variable=variable,
    )


def _sql(settings: Settings, backend: Backend) -> Opener:
    from shared.stores.sql import SqlStore
    from shared.stores.sql_url import dialect_of, sqlite_file

    if backend == "sled":
        assert settings.sled_path is not None
        dialect = sqlite_file(settings.sled_path)
    else:
        assert settings.database_url is not None
        dialect = dialect_of(settings.database_url, _variable(backend))
    return lambda clock: SqlStore(dialect, ttl_seconds=settings.ttl_seconds, clock=clock)


def require_shareable(settings: Settings) -> None:
    """Raise SettingsError where the store lives in one process and other services can't reach it.

    A service that runs as a process of its own asks this before anything else.
    """
    if settings.one_process:
        variable = _variable(settings.backends()[0])
        raise SettingsError(
            [f"{variable}: this store lives in one process; start all services with `make run`"]
        )


def open_shared_store(settings: Settings, *, clock: Clock = time.time) -> Store:
    """Open the store for a service that runs as a process of its own."""
    require_shareable(settings)
    return open_store(settings, clock=clock)


def _variable(backend: Backend) -> str:
    return PREFIX + _VARIABLES[backend]
