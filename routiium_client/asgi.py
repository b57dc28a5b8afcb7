"""The middleware for ASGI applications: Starlette, FastAPI, Quart, Falcon, …

app.add_middleware(AnalyticsMiddleware, client=client)     # Starlette, FastAPI
app = AnalyticsMiddleware(app, client)                     # any
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from routiium_client.client import CLOSE_SECONDS
from routiium_client.exchange import HEADERS, Client, Exchange, Middleware
from routiium_client.notes import current

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = {name.encode(): name for name in HEADERS}


class AnalyticsMiddleware(Middleware[Application]):
    """Records what an ASGI application serves; see `Middleware`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._last(send))
            return
        if scope["type"] != "http" or not scope["path"].startswith(self._paths):
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope["method"], scope["path"], _client(scope), self._timer)
        token = current.set(exchange.notes)
        try:
            await self._app(scope, _received(exchange, receive), _sent(exchange, send))
        except BaseException as error:
            exchange.fail(error)
            raise
        finally:
            current.reset(token)
            exchange.finish(self._recorder)

    def _last(self, send: Send) -> Send:
        """Sends what waits before the server is told that the application has stopped.

        After that some servers end by the signal that they got, and nothing else runs.
        """

        async def sent(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._recorder.wait_sent, CLOSE_SECONDS)
            await send(message)

        return sent


def _received(exchange: Exchange, receive: Receive) -> Receive:
    async def received() -> Message:
        message = await receive()
        if message["type"] == "http.request" and (body := message.get("body")):
            exchange.asked.add(body)
        return message

    return received


def _sent(exchange: Exchange, send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.body":
            exchange.chunk(message.get("body", b""))
            if not message.get("more_body", False):
                exchange.end()
        elif message["type"] == "http.response.pathsend":
            exchange.end()
        elif message["type"] == "http.response.start":
            headers = message.get("headers", ())
            exchange.start(
                message["status"], ((k.decode("latin-1"), v.decode("latin-1")) for k, v in headers)
            )
        await send(message)

    return sent


def _client(scope: Scope) -> Client:
    found = {}
    for name, value in scope["headers"]:
        if name in _HEADERS:
            found[_HEADERS[name]] = value.decode("latin-1")
    peer = scope.get("client")
    return Client(peer[0] if peer else None, found)
