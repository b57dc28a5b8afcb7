"""The memory store keeps the contract but for what it loses on close, and its bound."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shared.stores.memory import MemoryStore
from tests.stores.contract import StoreContract
from tests.stores.samples import BASE, MakeStore, make_event, scanned


class TestMemoryStore(StoreContract):
    lost_on_close = "the memory store's events live in one object and end with it"

    @pytest.fixture
    def make_store(self) -> MakeStore:
        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> MemoryStore:
            return MemoryStore(max_events=100_000, ttl_seconds=ttl_seconds, clock=clock)

        return make


def test_past_its_bound_the_oldest_arrivals_are_dropped() -> None:
    store = MemoryStore(max_events=3)
    assert store.append([make_event(name, BASE - n) for n, name in enumerate("abcde")]) == 5

    assert [event.id for event in scanned(store)] == ["c", "d", "e"]
    assert store.stats().max_events == 3
