"""`GET /healthz/live` and `GET /healthz/ready`."""

from __future__ import annotations

import falcon
from shared.stores.base import Store

from query_api.answers import answer


class LiveResource:
    """`GET`: the process answers."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        answer(response, {"status": "ok"})


class ReadyResource:
    """`GET`: the store answers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        self._store.ping()
        answer(response, {"status": "ok"})
