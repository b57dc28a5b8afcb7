"""What the two HTTP services share: the error body, and who may do what.

Every error body is `{"error": {"message", "type"}}`, with `param` where a parameter is at fault.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable
from enum import IntFlag
from typing import Any

import falcon
import msgspec

from shared.settings import Settings

logger = logging.getLogger(__name__)


class Right(IntFlag):
    """What a bearer token allows."""

    NONE = 0
    INGEST = 1
    QUERY = 2
    ADMIN = 4
    ANY = INGEST | QUERY | ADMIN


class ErrorDetail(msgspec.Struct, omit_defaults=True):
    """What went wrong: for people, for programs, and the parameter at fault where there is one."""

    message: str
    type: str
    param: str | None = None


class ErrorAnswer(msgspec.Struct):
    """The body of every error."""

    error: ErrorDetail


class ApiError(falcon.HTTPError):
    """An error that a client sees.

    `kind` becomes `type`, `param` names the parameter at fault, and `extra` stands beside `error`
    in the body.
    """

    def __init__(
        self,
        status: str,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        challenge: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        headers = {}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        if challenge is not None:
            headers["WWW-Authenticate"] = challenge
        super().__init__(status, title=kind, description=message, headers=headers)
        self.param = param
        self.extra = extra or {}


_KINDS = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
}


def write_error(request: Any, response: Any, error: falcon.HTTPError) -> None:
    """Falcon's error serializer, for both of its application kinds."""
    status = falcon.http_status_to_code(error.status)
    if isinstance(error, ApiError):
        kind, message, extra = str(error.title), str(error.description), error.extra
    else:
        kind = _KINDS.get(status, "invalid_request" if status < 500 else "internal_error")
        message, extra = error.description or _default_message(request, status), {}
    param = error.param if isinstance(error, ApiError) else None
    response.content_type = falcon.MEDIA_JSON
    response.data = msgspec.json.encode({"error": ErrorDetail(message, kind, param), **extra})


def _default_message(request: Any, status: int) -> str:
    if status == 404:
        return f"no such path: {request.path}"
    if status == 405:
        return f"{request.path} does not answer {request.method}"
    return str(falcon.code_to_http_status(status))


def unexpected(error: BaseException, path: str) -> ApiError:
    """Log an error that nobody foresaw, and what the client is told of it."""
    logger.error("unexpected error", exc_info=error, extra={"path": path})
    return ApiError(falcon.HTTP_500, "internal_error", "an unexpected error; the log has it")


class Tokens:
    """Bearer tokens and the rights they carry. With none at all, anyone has every right."""

    def __init__(
        self, ingest: Iterable[str] = (), query: Iterable[str] = (), admin: Iterable[str] = ()
    ) -> None:
        groups = ((ingest, Right.INGEST), (query, Right.QUERY), (admin, Right.ADMIN | Right.QUERY))
        self._known = [(token.encode(), right) for tokens, right in groups for token in tokens]

    @classmethod
    def of(cls, settings: Settings) -> Tokens:
        return cls(settings.ingest_tokens, settings.query_tokens, settings.admin_tokens)

    def __bool__(self) -> bool:
        """Whether any token is set, so that requests must carry one."""
        return bool(self._known)

    def require(self, authorization: str | None, right: Right) -> None:
        """Raise 401 without a known token, 403 where it lacks `right`."""
        if not self._known:
            return
        scheme, _, token = (authorization or "").partition(" ")
        # Servers hand headers over as Latin-1: this gives back the bytes that were sent.
        given = token.strip().encode("latin-1", "replace")
        if scheme.lower() != "bearer" or not given:
            raise _unauthorized("a bearer token is needed: Authorization: Bearer <token>")
        rights = Right.NONE
        for known, carried in self._known:
            if hmac.compare_digest(known, given):
                rights |= carried
        if not rights:
            raise _unauthorized("this token is not known here")
        if not rights & right:
            name = str(right.name).lower()
            raise ApiError(falcon.HTTP_403, "forbidden", f"this token lacks the {name} right")


def _unauthorized(message: str) -> ApiError:
    return ApiError(falcon.HTTP_401, "unauthorized", message, challenge="Bearer")
