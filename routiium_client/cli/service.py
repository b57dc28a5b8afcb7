"""A service that the command line asks, and what its refusals mean to a user."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlencode, urlsplit

from routiium_client.transport import Answer, Transport, Unreachable

TOKEN_VARIABLE = "ROUTIIUM_ANALYTICS_TOKEN"
INGEST_VARIABLE = "ROUTIIUM_ANALYTICS_INGEST_URL"
QUERY_VARIABLE = "ROUTIIUM_ANALYTICS_QUERY_URL"
_CHUNK_BYTES = 256 * 1024

Params = Sequence[tuple[str, str]]


class Failure(Exception):
    """What a user is told instead of an answer; the command ends with `status`."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Kind(NamedTuple):
    """How a service is called, and what names it."""

    name: str
    option: str
    variable: str


INGEST = Kind("ingest", "--ingest-url", INGEST_VARIABLE)
QUERY = Kind("the query service", "--query-url", QUERY_VARIABLE)


class Service:
    """Requests to one service, whose answers are JSON objects. Raises Failure for all else."""

    def __init__(self, kind: Kind, url: str, token: str | None, *, timeout: float = 30.0) -> None:
        self.kind = kind
        self.url = url.rstrip("/")
        self._token = token
        try:
            self._transport = Transport(url, token=token, timeout=timeout)
        except ValueError as error:
            raise Failure(f"{kind.option}: {error}") from None

    @property
    def local(self) -> bool:
        """Whether it is reached over loopback."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    def get(self, path: str, params: Params = ()) -> dict[str, Any]:
        return self._object(self.ask("GET", _with(path, params)))

    def post(self, path: str, value: Any = None) -> dict[str, Any]:
        body = None if value is None else json.dumps(value).encode()
        return self._object(self.ask("POST", path, body, Content_Type="application/json"))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """The answer, whatever its status."""
        try:
            return self._transport.request(method, path, body, **headers)
        except Unreachable as error:
            self.unreachable(str(error))
        finally:
            self._transport.close()

    def stream(self, path: str, params: Params) -> Iterator[bytes]:
        """The body of a long answer, part by part."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        request = urllib.request.Request(self.url + _with(path, params), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                while part := response.read(_CHUNK_BYTES):
                    yield part
        except urllib.error.HTTPError as error:
            with error:
                self._refused(Answer(error.code, error.read()))
        except OSError as error:
            self.unreachable(str(error))

    def unreachable(self, reason: str) -> NoReturn:
        raise Failure(
            f"{self.kind.name} does not answer at {self.url} ({reason}). Is it running? "
            f"`make run` starts it; {self.kind.option} or {self.kind.variable} names another."
        )

    def _object(self, answer: Answer) -> dict[str, Any]:
        value = _json(answer.body)
        if answer.status >= 300:
            self._refused(answer)
        if not isinstance(value, dict):
            raise Failure(f"what answers at {self.url} is not {self.kind.name}")
        return value

    def _refused(self, answer: Answer) -> NoReturn:
        raise Failure(f"{self.kind.name} at {self.url} {explain(answer)}")


def explain(answer: Answer) -> str:
    """What a refusal says, and what to do about it."""
    body = _json(answer.body)
    error = body.get("error") if isinstance(body, dict) else None
    said = error.get("message") if isinstance(error, dict) else None
    if answer.status == 401:
        return f"asks for a token: give --token or set {TOKEN_VARIABLE} ({said})"
    if answer.status == 403:
        return f"does not let this token do that: {said}"
    if answer.status == 404 and said is None:
        return "has no such path; is the URL the service's?"
    return f"answered {answer.status}: {said or answer.body[:200].decode(errors='replace')}"


def _with(path: str, params: Params) -> str:
    return f"{path}?{urlencode(params)}" if params else path


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
