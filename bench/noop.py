"""The yardstick of ingest: a Falcon application that reads the body and answers as ingest does."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import msgspec


class Events:
    """`POST`: 202 for a body that nobody looks at."""

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        await request.stream.read()
        response.status = falcon.HTTP_202
        response.content_type = falcon.MEDIA_JSON
        response.data = msgspec.json.encode({"accepted": 1, "rejected": []})


class Live:
    """`GET`: the process answers."""

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.media = {"status": "ok"}


app: Any = falcon.asgi.App()
app.add_route("/analytics/events", Events())
app.add_route("/healthz/live", Live())
