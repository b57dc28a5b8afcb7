"""The client: hand over an event and go on; a thread in the background sends it."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from routiium_client.buffer import Buffer, Counts
from routiium_client.event import encode_event
from routiium_client.sender import Batching, Sender
from routiium_client.transport import Answer, Transport

logger = logging.getLogger("routiium_client")

EVENTS_PATH = "/analytics/events"
CLOSE_SECONDS = 5.0
FLUSH_SECONDS = 30.0


class Recorder:
    """What both clients are: `record`, the books, and one thread that sends.

    `url` is ingest's, `token` a bearer token of it. `key_salt` is what raw keys are hashed with
    before they leave the process; give it ingest's own `KEY_SALT`, and a key has one id whichever
    way it came. Of all that an event holds only the fields of the event's form are sent.

    At most `buffer_events` wait or are being sent; past it new events are dropped, and counted.
    A batch leaves when it has `batch_events`, or after `batch_seconds`. One that ingest does not
    take is repeated with the same ids until it does, so nothing is counted twice. A forked child
    begins with an empty buffer and a thread of its own. Raises ValueError for a `url` that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        key_salt: str = "",
        buffer_events: int = 10_000,
        batch_events: int = 500,
        batch_seconds: float = 1.0,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = Transport(url, token=token, timeout=timeout)
        self._salt = key_salt.encode()
        self._buffer = Buffer(buffer_events)
        self._batching = Batching(events=batch_events, seconds=batch_seconds)
        self._clock = clock
        self._told_why = False
        self._begin()
        _recorders.add(self)

    def _begin(self) -> None:
        self._sender = Sender(self._buffer, self._post, self._batching)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def record(self, event: Mapping[str, Any]) -> None:
        """Take an event in the form of `POST /analytics/events`. Never blocks, never raises.

        An event without `id` gets a UUIDv7, one without `timestamp` the time of this call. One that
        has not the form is dropped and counted; why is logged for the first.
        """
        try:
            encoded = encode_event(event, self._salt, self._clock())
        except Exception as error:
            # The event's own objects may raise anything, and the application goes on.
            self._drop(error)
            return
        waiting = self._buffer.put(encoded)
        if waiting % self._batching.events == 0 and waiting:
            self._sender.wake()
        if self._thread is None:
            self._start()

    def _drop(self, error: Exception) -> None:
        self._buffer.drop()
        if not self._told_why:
            self._told_why = True
            kind = type(error).__name__
            logger.warning("an event is dropped, for it has no form (%s: %s)", kind, error)

    @property
    def salt(self) -> bytes:
        """What raw keys are hashed with."""
        return self._salt

    @property
    def counts(self) -> Counts:
        """The books up to now."""
        return self._buffer.counts

    def _start(self) -> None:
        """Start the thread, at the first event: a server that forks makes no use of one before."""
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="routiium-client", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:
            # The interpreter is ending, or has no thread left: the event stays in the buffer.
            pass
        finally:
            self._starting.release()

    def _run(self) -> None:
        try:
            self._sender.run()
        finally:
            self._transport.close()

    def _post(self, body: bytes) -> Answer:
        return self._transport.request(
            "POST", EVENTS_PATH, body, Content_Type="application/x-ndjson"
        )

    def wait_sent(self, timeout: float) -> bool:
        """Block up to `timeout` seconds until all that was recorded is sent; whether it is."""
        self._sender.wake(now=True)
        return self._buffer.wait_settled(timeout)

    def _close(self, timeout: float) -> bool:
        dropped = self._buffer.counts.dropped
        if self._thread is not None:
            self._sender.stop(timeout)
            self._thread.join(timeout + 0.5)
        self._buffer.close()
        return self._buffer.counts.dropped == dropped

    def _after_fork(self) -> None:
        self._transport.close()
        self._buffer.reset()
        self._begin()


class AnalyticsClient(Recorder):
    """Records events from any thread.

        with AnalyticsClient("http://127.0.0.1:8087") as client:
            client.record({"request": {"endpoint": "/v1/chat/completions", "model": "gpt-4o"}})

    `Recorder` says what the arguments mean. Without `with` it is closed when the interpreter ends.
    """

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait up to `timeout` seconds until all that was recorded is sent; whether it is."""
        return self.wait_sent(timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send what waits, for up to `timeout` seconds; the rest is dropped. Whether none was."""
        return self._close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncAnalyticsClient(Recorder):
    """The same for asyncio: `record` is as quick, and what waits is awaited.

    `Recorder` says what the arguments mean. Without `async with` it is closed when the interpreter
    ends.
    """

    async def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait up to `timeout` seconds until all that was recorded is sent; whether it is."""
        return await asyncio.to_thread(self.wait_sent, timeout)

    async def aclose(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send what waits, for up to `timeout` seconds; the rest is dropped. Whether none was."""
        return await asyncio.to_thread(self._close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for recorder in list(_recorders):
        recorder._after_fork()


def _at_exit() -> None:
    for recorder in list(_recorders):
        recorder._close(CLOSE_SECONDS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
