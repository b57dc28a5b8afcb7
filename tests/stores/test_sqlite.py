"""The SQLite store keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.stores.sql import SqlStore
from shared.stores.sql_url import sqlite_file
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.samples import MakeStore


class TestSqliteStore(StoreContract, StoreMachine):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> SqlStore:
            dialect = sqlite_file(tmp_path / "data" / "analytics.db")
            return SqlStore(dialect, ttl_seconds=ttl_seconds, clock=clock)

        return make
