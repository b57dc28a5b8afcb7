"""The middleware for WSGI applications: Flask, Falcon, Django, …

app.wsgi_app = AnalyticsMiddleware(app.wsgi_app, client)   # Flask
app = AnalyticsMiddleware(app, client)                     # any
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from routiium_client.exchange import HEADERS, Client, Exchange, Middleware
from routiium_client.notes import current

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_VARIABLES = {name: "HTTP_" + name.upper().replace("-", "_") for name in HEADERS}


class AnalyticsMiddleware(Middleware[Application]):
    """Records what an WSGI application serves; see `Middleware`."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if not path.startswith(self._paths):
            return self._app(environ, start_response)
        exchange = Exchange(environ["REQUEST_METHOD"], path, _client(environ), self._timer)
        environ["wsgi.input"] = _Input(environ["wsgi.input"], exchange)
        current.set(exchange.notes)
        try:
            parts = self._app(environ, _started(exchange, start_response))
        except BaseException as error:
            exchange.fail(error)
            self._end(exchange)
            raise
        kind = _SizedParts if isinstance(parts, list | tuple) else _Parts
        return kind(parts, exchange, self._end)

    def _end(self, exchange: Exchange) -> None:
        current.set(None)
        exchange.finish(self._recorder)


class _Input:
    """`wsgi.input`, read through."""

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream = stream
        self._see = exchange.asked.add

    def read(self, *size: int) -> bytes:
        return self._seen(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._seen(self._stream.readline(*size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readlines(self, *hint: int) -> list[bytes]:
        return [self._seen(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return (self._seen(line) for line in self._stream)

    def close(self) -> None:
        self._stream.close()

    def _seen(self, data: bytes) -> bytes:
        if data:
            self._see(data)
        return data


class _Parts:
    """A response's body, passed on part by part; its end is the end of the exchange."""

    def __init__(
        self, parts: Iterable[bytes], exchange: Exchange, end: Callable[[Exchange], None]
    ) -> None:
        self._parts = parts
        self._exchange = exchange
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self._parts:
                self._exchange.chunk(part)
                yield part
            self._exchange.end()
        except Exception as error:
            self._exchange.fail(error)
            raise

    def close(self) -> None:
        try:
            if hasattr(self._parts, "close"):
                self._parts.close()
        finally:
            self._end(self._exchange)


class _SizedParts(_Parts):
    """A body in a list: a server may take its length to mean that all of it is there."""

    def __len__(self) -> int:
        return len(self._parts)  # type: ignore[arg-type]


def _started(exchange: Exchange, start_response: StartResponse) -> StartResponse:
    def started(
        status: str, headers: list[tuple[str, str]], *error: Any
    ) -> Callable[[bytes], object]:
        exchange.start(int(status[:3]), headers)
        write = start_response(status, headers, *error)

        def written(data: bytes) -> object:
            exchange.chunk(data)
            return write(data)

        return written

    return started


def _client(environ: Environ) -> Client:
    found = {name: environ[key] for name, key in _VARIABLES.items() if key in environ}
    return Client(environ.get("REMOTE_ADDR"), found)
