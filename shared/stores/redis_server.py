"""The Redis server as the store uses it: pipelines and scripts, and what its errors mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from shared.errors import StoreUnavailable
from shared.stores import redis_scripts

logger = logging.getLogger(__name__)

Command = tuple[Any, ...]

_AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    OSError,
    ReadOnlyError,
    OutOfMemoryError,
    NoPermissionError,
)
"""Errors that say nothing of the data: the same call may succeed later."""
_REFUSAL = re.compile(r"\b(OOM|READONLY|LOADING|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|BUSY)\b")
"""The same, where Redis wraps them into the error of a script or redis-py has no class."""
_PIPELINE = 2_000


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise StoreUnavailable(f"Redis: {error}") from error
    except ResponseError as error:
        if _REFUSAL.search(str(error)) is None:
            raise
        raise StoreUnavailable(f"Redis: {error}") from error


class RedisServer:
    """A pool of connections to one Redis; safe to use from several threads.

    Every method raises StoreUnavailable where the server is away, loading, a replica, out of
    memory or not allowing the command.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        """`timeout` in seconds bounds each answer. Raises ValueError of a URL that is none."""
        self._redis = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=5.0, health_check_interval=30
        )
        self._change = self._redis.register_script(redis_scripts.CHANGE)
        self._page = self._redis.register_script(redis_scripts.PAGE)
        self._replace = self._redis.register_script(redis_scripts.REPLACE)
        self._last = self._redis.register_script(redis_scripts.LAST)
        self._clear = self._redis.register_script(redis_scripts.CLEAR)
        self._forget = self._redis.register_script(redis_scripts.FORGET)
        self._checked = False

    def close(self) -> None:
        self._redis.close()

    def call(self, *command: Any) -> Any:
        with _translated():
            return self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    def pipeline(self, commands: Sequence[Command], *, atomic: bool = False) -> list[Any]:
        """The replies to `commands`, sent together; `atomic`: with nothing in between."""
        replies: list[Any] = []
        for start in range(0, len(commands), _PIPELINE):
            pipe = self._redis.pipeline(transaction=atomic)
            for command in commands[start : start + _PIPELINE]:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            with _translated():
                replies += pipe.execute()
        return replies

    def change(self, keys: Sequence[str], *arguments: str | bytes) -> bool:
        """Run `CHANGE`; False where something else has changed what it rests on."""
        with _translated():
            return bool(self._change(keys=keys, args=arguments))

    def page(self, timeline: str, *arguments: str | int | bytes) -> list[tuple[bytes, int]]:
        """Run `PAGE`: ids with their timestamps, ascending."""
        with _translated():
            flat = self._page(keys=[timeline], args=arguments)
        return [(flat[i], int(flat[i + 1])) for i in range(0, len(flat), 2)]

    def replace(self, key: str, ids: Sequence[bytes], by: tuple[bytes, bytes] | None) -> bool:
        """Run `REPLACE`; False where one of the segments is not there any more."""
        with _translated():
            return bool(self._replace(keys=[key], args=[*(by or (b"", b"")), *ids]))

    def last(self, keys: Sequence[str], ttl: str) -> None:
        """Run `LAST`."""
        with _translated():
            self._last(keys=keys, args=[ttl])

    def clear(self, *keys: str) -> None:
        """Run `CLEAR`."""
        with _translated():
            self._clear(keys=keys)

    def forget(self, key: str, value: str | int) -> None:
        """Take `key` away while it has this value."""
        with _translated():
            self._forget(keys=[key], args=[value])

    def scan(self, pattern: str) -> Iterator[list[bytes]]:
        """The keys that match `pattern`, some at a time."""
        cursor = 0
        while True:
            cursor, found = self.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)
            if found:
                yield found
            if not cursor:
                return

    def check_once(self) -> None:
        """Warn, once, of settings under which the server may lose events."""
        if self._checked:
            return
        try:
            with _translated():
                info: Any = self._redis.info()
        except (ResponseError, StoreUnavailable):
            return
        self._checked = True
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            logger.warning(
                "Redis may evict events: set maxmemory-policy noeviction",
                extra={"maxmemory_policy": policy},
            )
        if not info.get("aof_enabled", 1):
            logger.warning(
                "Redis keeps no append-only file: what it holds since its last snapshot is lost "
                "when it dies; set appendonly yes"
            )
