"""The JSONL store keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.stores.jsonl import JsonlStore
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.samples import MakeStore


class TestJsonlStore(StoreContract, StoreMachine):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> JsonlStore:
            path = tmp_path / "data" / "analytics.jsonl"
            return JsonlStore(path, ttl_seconds=ttl_seconds, clock=clock)

        return make
