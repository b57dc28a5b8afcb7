"""`POST /analytics/clear`."""

from __future__ import annotations

import falcon
from shared.queue_admin import QueueAdmin
from shared.stores.base import Store

from query_api.answers import answer
from query_api.params import Params


class ClearResource:
    """`POST`: remove everything that was accepted before the call."""

    def __init__(self, store: Store, queue: QueueAdmin) -> None:
        self._store = store
        self._queue = queue

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, 0).done()
        self._queue.drop_all()
        self._store.clear()
        answer(response, {"success": True, "message": "Analytics data cleared"})
