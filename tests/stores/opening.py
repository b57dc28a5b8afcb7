"""How the contract's tests open a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shared.stores.base import Store
from tests.stores.samples import MakeStore


class Opening:
    """Base of the contract's parts."""

    lost_on_close: str | None = None
    """Why a store's events are gone, or out of another object's sight, once it is closed; None
    where they are not. Tests of what outlives a store object are left out with this reason."""

    @pytest.fixture
    def open_store(self, make_store: MakeStore) -> Iterator[MakeStore]:
        """`make_store`, and each store closed at the end."""
        with ExitStack() as stack:

            def opened(
                ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
            ) -> Store:
                store = make_store(ttl_seconds, clock)
                stack.callback(store.close)
                return store

            yield opened

    @pytest.fixture
    def store(self, open_store: MakeStore) -> Store:
        """A store whose events never end."""
        return open_store()

    @pytest.fixture
    def reopen(self, open_store: MakeStore) -> MakeStore:
        """`open_store`, for a test that opens the same data more than once."""
        if self.lost_on_close is not None:
            pytest.skip(self.lost_on_close)
        return open_store
