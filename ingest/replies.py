"""How the producers of a source are answered: by default as section 2 of the specification says."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
from shared.errors import QueueFull
from shared.http import ApiError, ErrorAnswer, write_error
from shared.openapi import JSON, Answer, error

from ingest.admission import Rejection
from ingest.health import RETRY_AFTER_SECONDS

_json = msgspec.json.Encoder()


class Accepted(msgspec.Struct):
    """How many events are safe, and which are not; `index` counts from 0 over the request's."""

    accepted: int
    rejected: list[Rejection]


class NoGoodEvent(ErrorAnswer):
    """An error, and why each event was refused."""

    rejected: list[Rejection]


class Replies:
    """JSON; `full` is the status of a queue at its bound."""

    status = falcon.HTTP_202

    def __init__(self, *, full: str = falcon.HTTP_429) -> None:
        self._full = full

    def taken(self, request: Any, response: Any, accepted: int, rejected: list[Rejection]) -> None:
        """Answer a request whose good events are queued. Raises ApiError where there were none."""
        if rejected and not accepted:
            raise _no_good_event(rejected)
        response.status = falcon.HTTP_202
        response.content_type = falcon.MEDIA_JSON
        response.data = _json.encode(Accepted(accepted, rejected))

    def failed(self, request: Any, response: Any, error: falcon.HTTPError) -> None:
        """Write the body of an error."""
        write_error(request, response, error)

    def queue_full(self, error: QueueFull) -> ApiError:
        """What a producer is told that must come again later."""
        return ApiError(
            self._full,
            "queue_full",
            f"{error}; nothing of this request was queued, send it again later",
            retry_after=RETRY_AFTER_SECONDS,
        )

    def described(self) -> dict[int, Answer]:
        """The answers, for the OpenAPI document."""
        full = falcon.http_status_to_code(self._full)
        away = "The queue can't be reached: send it again, with the same ids"
        at_its_bound = "The queue is at its bound; nothing of this was queued"
        if full == 503:
            away = f"{away}. Or: {at_its_bound}"
        return {
            202: Answer(about="Queued: safe from now on", content={JSON: Accepted}),
            400: error("The body is not what its Content-Type or Content-Encoding says"),
            413: error("Over a limit, which the message names"),
            415: error("An unknown Content-Type or Content-Encoding"),
            422: error("No event in the request was good", NoGoodEvent),
            full: error(at_its_bound, retry=True),
            503: error(away, retry=True),
        }


def _no_good_event(rejected: list[Rejection]) -> ApiError:
    return ApiError(
        falcon.HTTP_422,
        "unprocessable_entity",
        "no event in the request was good; `rejected` says why",
        extra={"rejected": msgspec.to_builtins(rejected)},
    )
