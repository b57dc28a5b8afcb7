"""The Redis store keeps the contract, on a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from shared.stores.redis_store import RedisStore
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.redis_servers import emptied, running_redis
from tests.stores.samples import MakeStore


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


class TestRedisStore(StoreContract, StoreMachine):
    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        emptied(url).close()

        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> RedisStore:
            return RedisStore(url, ttl_seconds=ttl_seconds, clock=clock)

        return make
