"""What the broker's errors mean, for both kinds of clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import RedisError

from shared.errors import QueueUnavailable

T = TypeVar("T")


def reason_of(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def answered(client: redis.asyncio.Redis, call: Awaitable[T]) -> T:
    """Await a command; raises QueueUnavailable where the broker is away or refuses."""
    try:
        return await call
    except (TimeoutError, RedisError, OSError) as error:
        if _is_demoted(error):
            await client.connection_pool.disconnect(inuse_connections=False)
        raise QueueUnavailable(reason_of(error)) from error


def asked(client: redis.Redis, command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The same for a client that blocks."""
    try:
        return command(*arguments, **options)
    except (RedisError, OSError) as error:
        if _is_demoted(error):
            client.connection_pool.disconnect(inuse_connections=False)
        raise QueueUnavailable(reason_of(error)) from error


def _is_demoted(error: BaseException) -> bool:
    """Whether this broker is a replica now: a new connection may find the one that took over."""
    return "READONLY" in str(error)
