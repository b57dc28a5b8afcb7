"""An HTTP server in this process that answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.harness import free_port

Reply = tuple[int, dict[str, Any]]
Answer = Callable[[list[dict[str, Any]]], Reply]


def take_all(events: list[dict[str, Any]]) -> Reply:
    return 202, {"accepted": len(events), "rejected": []}


def _events(body: bytes, content_type: str) -> list[dict[str, Any]]:
    if content_type == "application/json":
        array: list[dict[str, Any]] = json.loads(body)
        return array
    return [json.loads(line) for line in body.split(b"\n")]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.open: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.open.append(connection)
        return connection, address

    def server_close(self) -> None:
        super().server_close()
        self.cut()

    def cut(self) -> None:
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class FakeIngest:
    """`answer` may be replaced at any time. `posts` are the events of each request, as sent."""

    def __init__(self, answer: Answer = take_all) -> None:
        self.answer = answer
        self.posts: list[list[dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: Server | None = None

    @property
    def ids(self) -> list[str]:
        return [event["id"] for post in self.posts for event in post]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._server = Server(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def cut(self) -> None:
        """Break every connection off."""
        if self._server is not None:
            self._server.cut()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events = _events(body, self.headers["Content-Type"])
                if events:
                    fake.bodies.append(body)
                    fake.posts.append(events)
                    fake.paths.append(self.path)
                fake.authorizations.append(self.headers["Authorization"])
                status, answer = fake.answer(events)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
