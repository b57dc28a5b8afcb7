"""The SQLite store keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared.stores.base import Order, Position
from shared.stores.sql import SqlStore
from shared.stores.sql_sqlite import Sqlite
from shared.stores.sql_url import sqlite_file
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.samples import BASE, EVER, MakeStore, make_event


class TestSqliteStore(StoreContract, StoreMachine):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> SqlStore:
            dialect = sqlite_file(tmp_path / "data" / "analytics.db")
            return SqlStore(dialect, ttl_seconds=ttl_seconds, clock=clock)

        return make


class Counting(Sqlite):
    """SQLite that counts its work, in hundreds of its virtual machine's instructions."""

    work = 0

    def engine(self) -> sa.Engine:
        engine = super().engine()
        sa.event.listen(engine, "connect", lambda driver, _: driver.set_progress_handler(self, 100))
        return engine

    def __call__(self) -> None:
        self.work += 1


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("per_second", [1, 5_000])
def test_a_page_costs_the_same_wherever_in_the_range_it_begins(
    tmp_path: Path, order: Order, per_second: int
) -> None:
    dialect = Counting(tmp_path / "analytics.db")
    store = SqlStore(dialect)
    store.append([make_event(f"{n:05}", BASE + n // per_second) for n in range(5_000)])
    costs = []
    for n in (100, 2_500, 4_900):
        dialect.work = 0
        after = Position(BASE + n // per_second, f"{n:05}")
        page = store.query(EVER, limit=50, order=order, after=after)
        assert len(page) == 50
        costs.append(dialect.work)
    store.close()
    assert max(costs) <= 2 * min(costs), costs
