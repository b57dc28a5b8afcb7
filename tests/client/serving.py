"""One request through a middleware in this process, around an ASGI or a WSGI application."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from routiium_client import AnalyticsClient, asgi, wsgi

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


class Kept(AnalyticsClient):
    """A client that keeps what it is given."""

    def __init__(self, **options: Any) -> None:
        super().__init__("http://127.0.0.1:1", **options)
        self.events: list[dict[str, Any]] = []

    def record(self, event: Mapping[str, Any]) -> None:
        self.events.append(dict(event))


@dataclass
class Serving:
    """What an application answers, and what it does before: `work` may annotate or raise."""

    chunks: Iterable[bytes] = (b"{}",)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    work: Callable[[], object] = lambda: None

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.work()
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    def wsgi(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        environ["wsgi.input"].read()
        self.work()
        start_response(f"{self.status} Said", list(self.headers.items()))
        yield from self.chunks


Result = tuple[int, list[tuple[str, str]], bytes]


Passed = Callable[[str], object]


def through_asgi(
    app: Any, body: bytes, headers: Mapping[str, str], path: str, passed: Passed
) -> Result:
    """Serve one POST; the body comes in two messages."""
    half = len(body) // 2
    incoming = iter([(body[:half], True), (body[half:], False)])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        part, more = next(incoming)
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        _tell(passed, message.get("body"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("203.0.113.9", 5),
    }
    asyncio.run(app(scope, receive, send))
    out = [(k.decode(), v.decode()) for k, v in sent[0]["headers"]]
    return sent[0]["status"], out, b"".join(m.get("body", b"") for m in sent[1:])


def _tell(passed: Passed, part: bytes | None) -> None:
    if part:
        passed(part.decode(errors="replace").replace("data:", "got").strip())


def through_wsgi(
    app: Any, body: bytes, headers: Mapping[str, str], path: str, passed: Passed
) -> Result:
    """Serve one POST as a WSGI server does, close included."""
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "REMOTE_ADDR": "203.0.113.9",
        "wsgi.input": io.BytesIO(body),
        **{"HTTP_" + k.upper().replace("-", "_"): v for k, v in headers.items()},
    }
    started: list[Any] = []
    parts = app(environ, lambda status, headers, error=None: started.append((status, headers)))
    try:
        data = b""
        for part in parts:
            data += part
            _tell(passed, part)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    status, out = started[0]
    return int(status[:3]), out, data


def serve(
    kind: str,
    serving: Serving,
    client: AnalyticsClient,
    body: bytes = b"{}",
    *,
    path: str = "/v1/chat/completions",
    middleware: bool = True,
    timer: Callable[[], float] | None = None,
    passed: Passed = lambda part: None,
    **headers: str,
) -> Result:
    """One request; header names with `_` for `-`. `passed` is told of each part as it comes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    options: Any = {"timer": timer} if timer else {}
    if kind == "asgi":
        inner = asgi.AnalyticsMiddleware(serving.asgi, client, **options)
        return through_asgi(inner if middleware else serving.asgi, body, named, path, passed)
    outer = wsgi.AnalyticsMiddleware(serving.wsgi, client, **options)
    return through_wsgi(outer if middleware else serving.wsgi, body, named, path, passed)
