"""Answering a refused request whose client still sends.

A server that closes a connection over unread bytes resets it, under a client that is sending, or
that has read its answer and sends the next request. So the answer leaves first, and what still
comes is read and let go, within bounds: what nginx calls a lingering close. Where all of it came,
the connection serves on.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import falcon
from shared.http import ApiError

LINGER_BYTES = 32 * 1024 * 1024
"""As much as a body of events may hold by default, so one that comes within LINGER_SECONDS and is
refused for anything but its size is read whole."""
LINGER_SECONDS = 2.0
_CHUNK_BYTES = 256 * 1024

Serializer = Callable[[Any, Any, falcon.HTTPError], None]


def answer_with(make: Callable[[Any, Any], ApiError], serialize: Serializer) -> Any:
    """A falcon error handler that answers with what `make` makes of a request and its error.

    It does not raise that, as handlers may: falcon would tie it to its own traceback, and the body
    and events of the request would stay until garbage is collected.
    """

    async def handle(request: Any, response: Any, error: Exception, params: Any) -> None:
        answer = make(request, error)
        response.status = answer.status
        response.set_headers(answer.headers)
        serialize(request, response, answer)

    return handle


class AnswerFirst:
    """Falcon's error serializer: the answer that another one writes, then a lingering close."""

    def __init__(self, serialize: Serializer) -> None:
        self._serialize = serialize
        self._will_collect = False

    def __call__(self, request: Any, response: Any, error: falcon.HTTPError) -> None:
        self._serialize(request, response, error)
        if request.stream.eof:
            return
        answer, response.data = response.data, None
        response.content_length = len(answer)
        if (request.content_length or 0) > LINGER_BYTES:
            response.set_header("Connection", "close")
        response.stream = self._linger_after(answer, request.stream)

    async def _linger_after(self, answer: bytes, stream: Any) -> AsyncIterator[bytes]:
        """The answer, which its Content-Length ends for the client; then nothing, for a while."""
        yield answer
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER_SECONDS
        last = stream.tell() + LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                # The clock too: on Python 3.11 the server's own wait can swallow a timeout.
                while loop.time() < end and stream.tell() < last and not stream.eof:
                    await stream.read(_CHUNK_BYTES)
        if not (stream.eof or self._will_collect):
            self._will_collect = True
            loop.call_later(1.0, self._collect)

    def _collect(self) -> None:
        """Free connections that were cut off, with the half a megabyte that each had read ahead.

        gunicorn ties the two in a circle, which Python looks for by the number of objects alone.
        """
        self._will_collect = False
        gc.collect()
