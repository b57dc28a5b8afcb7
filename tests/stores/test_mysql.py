"""The MySQL store keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shared.stores.sql import SqlStore
from shared.stores.sql_url import dialect_of
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.samples import MakeStore
from tests.stores.servers import DatabaseServer


@pytest.fixture(scope="module")
def url(mysql: DatabaseServer) -> str:
    return mysql.new_database()


class TestMysqlStore(StoreContract, StoreMachine):
    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> SqlStore:
            return SqlStore(dialect_of(url, "URL"), ttl_seconds=ttl_seconds, clock=clock)

        emptied = make()
        emptied.clear()
        emptied.close()
        return make
