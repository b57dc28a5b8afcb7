"""Health: whether the process answers, and whether it can take events."""

from __future__ import annotations

import falcon
import falcon.asgi
from shared.docs import health
from shared.errors import QueueFull, QueueUnavailable
from shared.http import ApiError
from shared.openapi import describe

from ingest.committer import GroupCommitter

RETRY_AFTER_SECONDS = 1


class LiveResource:
    """`GET`: the process answers."""

    @describe(health("Whether the process answers"))
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.media = {"status": "ok"}

    on_head = on_get


class ReadyResource:
    """`GET`: the queue answers and has room; 503 otherwise, saying which of the two it lacks."""

    def __init__(self, committer: GroupCommitter) -> None:
        self._committer = committer

    @describe(health("Whether events are taken", "The queue can't be reached", "It is full"))
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        try:
            await self._committer.check_room(max_age=0)
        except QueueFull as error:
            raise _not_ready("queue_full", str(error)) from None
        except QueueUnavailable:
            raise _not_ready("queue_unavailable", "the queue can't be reached") from None
        response.media = {"status": "ok"}

    on_head = on_get


def _not_ready(kind: str, message: str) -> ApiError:
    return ApiError(falcon.HTTP_503, kind, message, retry_after=RETRY_AFTER_SECONDS)
