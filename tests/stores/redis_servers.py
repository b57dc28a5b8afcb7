"""Real Redis servers for the tests of the Redis store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from deploy.broker import EmbeddedBroker
from tests.harness import free_port


@contextmanager
def running_redis(folder: Path) -> Iterator[EmbeddedBroker]:
    """A server of its own; what it holds is in `folder`."""
    server = EmbeddedBroker(folder, free_port(), appendfsync="no")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def emptied(url: str) -> redis.Redis:
    """A client of the server at `url`, which holds nothing now."""
    client = redis.Redis.from_url(url)
    client.flushall()
    return client
