"""`POST /analytics/clear`."""

from __future__ import annotations

import msgspec
from shared.http import Right
from shared.openapi import error
from shared.queue_admin import QueueAdmin
from shared.stores.base import Store

from query_api.answers import answers
from query_api.params import Params


class Cleared(msgspec.Struct):
    """That it is done."""

    success: bool = True
    message: str = "Analytics data cleared"


class ClearResource:
    """Removes everything that was accepted before the call."""

    def __init__(self, store: Store, queue: QueueAdmin) -> None:
        self._store = store
        self._queue = queue

    @answers(
        right=Right.ADMIN,
        errors={503: error("The queue or the store is away or busy; ask again", retry=True)},
    )
    def on_post(self, params: Params) -> Cleared:
        """Remove every event that was accepted before the call, what still waits included."""
        self._queue.drop_all()
        self._store.clear()
        return Cleared()
