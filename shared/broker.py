"""What the broker's errors mean, for both kinds of clients."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError, ResponseError

from shared.errors import QueueUnavailable

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""How long a broker may take to answer a command before it counts as away."""


def reason_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {ANSWER_SECONDS:g} s"
    return str(error) or type(error).__name__


async def answered(client: redis.asyncio.Redis, call: Awaitable[T]) -> T:
    """Await a command; raises QueueUnavailable where the broker is away or refuses.

    The time is taken here, around the whole: the client's own timeout makes a task of each write,
    and so sends it one turn of the event loop later.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await call
    except (TimeoutError, RedisError, OSError) as error:
        if _is_demoted(error):
            await client.connection_pool.disconnect(inuse_connections=False)
        raise QueueUnavailable(reason_of(error)) from error


class KeptConnection:
    """A connection of its own, for one script that is run again and again.

    A pool asks every connection, before each command, whether it still stands, which takes two
    turns of the event loop: in a busy service all other work goes first. Here that is found out by
    the command itself, which is then sent once more: what the script does must bear being done
    twice.
    """

    def __init__(self, pool: redis.asyncio.ConnectionPool, script: str) -> None:
        self._pool = pool
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._connection: Any = None

    async def run(self, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """The script's answer. After an error the next call makes a new connection."""
        try:
            if self._connection is None:
                self._connection = await self._pool.get_connection()
                return await self._run(keys, arguments)
            try:
                return await self._run(keys, arguments)
            except (redis.ConnectionError, RuntimeError):  # RuntimeError: uvloop's, after a reset
                await self._connection.disconnect(nowait=True)
                return await self._run(keys, arguments)
        except BaseException as error:
            refused = isinstance(error, ResponseError) and not _is_demoted(error)
            if self._connection is not None and not refused:
                await self._connection.disconnect(nowait=True)
            raise

    async def _run(self, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        connection = self._connection
        try:
            await connection.send_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
            return await connection.read_response()
        except NoScriptError:
            await connection.send_command("EVAL", self._script, len(keys), *keys, *arguments)
            return await connection.read_response()


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
