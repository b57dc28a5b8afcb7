"""One request and its response, seen from the middleware, and the event that they become.

Both middlewares tell an `Exchange` what passes; nothing is read or worked out before the response
has been passed on whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from routiium_client.capture import Capture, read_error_code, read_request, read_usage
from routiium_client.client import Recorder
from routiium_client.event import key_id
from routiium_client.notes import Notes
from routiium_client.usage import token_usage

logger = logging.getLogger("routiium_client")

DEFAULT_PATHS = ("/v1/",)
_KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")

Timer = Callable[[], float]


class Client(NamedTuple):
    """Who asks: the connection's address, and the headers that say more, in lower case."""

    address: str | None
    headers: Mapping[str, str]

    @property
    def ip(self) -> str | None:
        """The first hop of X-Forwarded-For, else the connection."""
        forwarded = self.headers.get("x-forwarded-for", "").partition(",")[0].strip()
        return forwarded or self.address

    @property
    def key(self) -> tuple[str, str] | None:
        """How a key came, and the key."""
        scheme, _, credential = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and credential.strip():
            return "bearer", credential.strip()
        given = (self.headers.get(name) for name in _KEY_HEADERS)
        return next((("api_key", key) for key in given if key), None)


HEADERS = frozenset({"user-agent", "x-forwarded-for", "authorization", *_KEY_HEADERS})
"""Request headers that a `Client` looks at."""


class Exchange:
    """What has passed of one request. Durations are counted from its making, by `timer`."""

    def __init__(self, method: str, path: str, client: Client, timer: Timer) -> None:
        self.method = method
        self.path = path
        self.client = client
        self.notes: Notes = {}
        self.asked = Capture()
        self.answered = Capture()
        self._timer = timer
        self._began = timer()
        self._timestamp = time.time()
        self._first_byte: float | None = None
        self._status: int | None = None
        self._content_type = ""
        self._plain = True
        self._failure: str | None = None
        self._whole = False

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """The response begins; of its headers the kind and coding of its body matter."""
        self._status = status
        for name, value in headers:
            lower = name.lower()
            if lower == "content-type":
                self._content_type = value.lower()
            elif lower == "content-encoding":
                self._plain = value.lower() == "identity"

    def chunk(self, data: bytes) -> None:
        """A part of the response's body, before it is passed on."""
        if data:
            if self._first_byte is None:
                self._first_byte = self._timer()
            self.answered.add(data)

    def end(self) -> None:
        """All of the response has come from the application."""
        self._whole = True

    def fail(self, error: BaseException) -> None:
        """The application raised. A server answers 500 to an error before the response."""
        self._failure = type(error).__name__
        if self._status is None and isinstance(error, Exception):
            self._status = 500

    def finish(self, recorder: Recorder) -> None:
        """Hand the event over. Whatever goes wrong here must not reach the application."""
        try:
            recorder.record(self.event(recorder.salt))
        except Exception:
            logger.warning("a request could not be recorded", exc_info=True)

    def event(self, salt: bytes) -> dict[str, Any]:
        duration = self._timer() - self._began
        asked = read_request(self.asked)
        stream = asked.stream or self._content_type.startswith("text/event-stream")
        notes = self.notes
        event: dict[str, Any] = {
            "timestamp": self._timestamp,
            "request": {
                "endpoint": self.path,
                "method": self.method,
                "model": notes.get("model", asked.model),
                "stream": stream,
                "size_bytes": self.asked.size,
                "message_count": asked.message_count,
                "user_agent": self.client.headers.get("user-agent"),
                "client_ip": self.client.ip,
            },
            "performance": {
                "duration_ms": duration * 1_000,
                "ttfb_ms": self._ttfb_ms() if stream else None,
                "upstream_duration_ms": notes.get("upstream_duration_ms"),
            },
            "auth": self._auth(salt),
            "routing": _routing(notes),
            "token_usage": self._token_usage(stream),
        }
        if self._status is not None:
            event["response"] = self._response(self._status)
        return event

    def _ttfb_ms(self) -> float | None:
        return None if self._first_byte is None else (self._first_byte - self._began) * 1_000

    def _response(self, status: int) -> dict[str, Any]:
        error = self.notes.get("error_message", self._failure)
        if error is None and not self._whole:
            error = "ClientDisconnected"
        if error is None and status >= 400 and self._plain:
            error = read_error_code(self.answered)
        return {
            "status_code": status,
            "size_bytes": self.answered.size,
            "success": 200 <= status < 400 and error is None,
            "error_message": error,
        }

    def _auth(self, salt: bytes) -> dict[str, Any]:
        key = self.client.key
        auth: dict[str, Any] = {
            "authenticated": key is not None and self._status not in (401, 403),
            "auth_method": key and key[0],
            "api_key_id": key and key_id(key[1], salt),
        }
        given = ("authenticated", "api_key_id", "api_key_label")
        return auth | {name: self.notes[name] for name in given if name in self.notes}  # type: ignore[literal-required]

    def _token_usage(self, stream: bool) -> Mapping[str, int] | None:
        usage: Any = self.notes.get("usage")
        if hasattr(usage, "model_dump"):
            usage = usage.model_dump()
        if usage is None and self._plain:
            usage = read_usage(self.answered, stream=stream)
        return token_usage(usage) if isinstance(usage, Mapping) else None


Application = TypeVar("Application")


class Middleware(Generic[Application]):
    """Records each request whose path starts with one of `paths`; every byte passes unchanged.

    Put it inside of what compresses responses: token counts are read from plain ones.
    """

    def __init__(
        self,
        app: Application,
        client: Recorder,
        *,
        paths: tuple[str, ...] = DEFAULT_PATHS,
        timer: Timer = time.perf_counter,
    ) -> None:
        self._app = app
        self._recorder = client
        self._paths = paths
        self._timer = timer


def _routing(notes: Notes) -> dict[str, Any]:
    servers = notes.get("mcp_servers", ())
    return {
        "backend": notes.get("backend"),
        "upstream_mode": notes.get("upstream_mode"),
        "mcp_enabled": bool(servers),
        "mcp_servers": servers,
        "system_prompt_applied": notes.get("system_prompt_applied"),
    }
