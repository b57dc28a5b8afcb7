"""The ClickHouse store keeps the contract over HTTP, with several clients of one server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from shared.stores.clickhouse import ClickHouseStore
from tests.stores.clickhouse_server import clickhouse_url
from tests.stores.contract import StoreContract
from tests.stores.samples import MakeStore


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clickhouse_url(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


class TestClickHouseServerStore(StoreContract):
    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        emptied = ClickHouseStore(url)
        emptied.clear()
        emptied.close()

        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> ClickHouseStore:
            return ClickHouseStore(url, ttl_seconds=ttl_seconds, clock=clock)

        return make
