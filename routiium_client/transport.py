"""HTTP to one service over one kept connection, with the standard library alone."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

# A host name that is none is a UnicodeError.
_ERRORS = (OSError, http.client.HTTPException, UnicodeError)


class Unreachable(Exception):
    """No answer came; the message says why. The request may have arrived all the same."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`retry_after` is in seconds, `date` the server's clock; None where the answer has none."""

    status: int
    body: bytes
    retry_after: float | None = None
    date: datetime | None = None


class Transport:
    """Requests to a service at `url`, one at a time; `timeout` in seconds bounds each step.

    Raises ValueError where `url` is none, or `token` can't stand in a header.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:8087")
        if token and not (token.isascii() and token.isprintable()):
            raise ValueError("the token holds characters that no token has")
        self._base = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=timeout
            )

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send and read the whole answer; headers as `Content_Type="…"`. Raises Unreachable.

        A kept connection that the server has closed meanwhile is replaced, once.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = self._connection.sock is not None
        try:
            return self._exchange(method, path, body, sent)
        except TimeoutError as error:
            self.close()
            raise Unreachable(f"no answer in time: {error}") from error
        except _ERRORS as error:
            self.close()
            if not kept:
                raise Unreachable(_reason(error)) from error
        try:
            return self._exchange(method, path, body, sent)
        except _ERRORS as error:
            self.close()
            raise Unreachable(_reason(error)) from error

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        self._connection.request(
            method, self._base + path, body, headers={**self._headers, **headers}
        )
        response = self._connection.getresponse()
        answer = response.read()
        return Answer(
            response.status,
            answer,
            retry_after=_seconds(response.getheader("Retry-After")),
            date=_moment(response.getheader("Date")),
        )

    def close(self) -> None:
        self._connection.close()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _moment(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value else None
    except ValueError:
        return None


def _seconds(value: str | None) -> float | None:
    """Retry-After where it is a number; the form with a date is not used between services."""
    return float(value) if value and value.isdecimal() else None
