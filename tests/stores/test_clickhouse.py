"""The ClickHouse store keeps the contract, on the engine inside this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from shared.stores.clickhouse import ClickHouseStore
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.samples import MakeStore


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = f"chdb://{tmp_path_factory.mktemp('clickhouse')}"
    # One engine a process, and it takes most of a second to start: this keeps it.
    keeper = ClickHouseStore(url)
    yield url
    keeper.close()


class TestClickHouseStore(StoreContract, StoreMachine):
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
