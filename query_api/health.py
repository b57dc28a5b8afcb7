"""`GET /healthz/live` and `GET /healthz/ready`."""

from __future__ import annotations

from shared.docs import Health
from shared.http import Right
from shared.stores.base import Store

from query_api.answers import answers
from query_api.params import Params


class LiveResource:
    """Whether the process answers."""

    @answers(right=Right.NONE, errors={})
    def on_get(self, params: Params) -> Health:
        """Whether the process answers."""
        return Health()


class ReadyResource:
    """Whether the store answers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @answers(right=Right.NONE)
    def on_get(self, params: Params) -> Health:
        """Whether the store answers."""
        self._store.ping()
        return Health()
