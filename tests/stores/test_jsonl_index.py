"""The JSONL store answers the same with an index, whatever state the index is in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from shared.events import Event
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_builder import IndexPolicy
from tests.stores.contract import StoreContract
from tests.stores.machine import StoreMachine
from tests.stores.samples import MakeStore

EAGER = IndexPolicy(settle=1, slice=4_096, most_unindexed=60_000, segment_rows=40)
"""Many small segments, merged often, so that a few events go through all that millions do."""


class EagerStore(JsonlStore):
    """Indexes after each append, most of what is there."""

    def append(self, events: Sequence[Event]) -> int:
        new = super().append(events)
        for _ in range(2 * new % 7):
            self.maintain()
        return new


class TestIndexedJsonlStore(StoreContract, StoreMachine):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> JsonlStore:
            path = tmp_path / "analytics.jsonl"
            return EagerStore(path, ttl_seconds=ttl_seconds, clock=clock, index=EAGER)

        return make
