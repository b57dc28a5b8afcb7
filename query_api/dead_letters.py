"""`GET /analytics/dead-letters` and `POST /analytics/dead-letters/replay`."""

from __future__ import annotations

import logging
import re
from typing import Annotated

import falcon
import msgspec
from shared.dead_letters import DeadLetters
from shared.http import ApiError

from query_api.answers import answer
from query_api.params import Params

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 100
MAX_BODY_BYTES = 1024 * 1024

_LETTER_ID = r"^[0-9]{1,20}-[0-9]{1,20}\Z"

logger = logging.getLogger(__name__)


class DeadLettersResource:
    """`GET`: what could not be stored, the newest first, a page at a time."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, 0)
        limit = params.integer("limit", DEFAULT_LIMIT, least=0, most=MAX_LIMIT)
        before = params.text("cursor", _letter_id)
        params.done()
        # One more than asked for tells whether another page follows.
        found = self._letters.newest(limit + 1, before=before) if limit else []
        page = found[:limit]
        answer(
            response,
            {
                "dead_letters": page,
                "count": len(page),
                "total": self._letters.count(),
                "next_cursor": page[-1].id if len(found) > limit else None,
            },
        )


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters to replay; without `ids`, all of them."""

    ids: list[Annotated[str, msgspec.Meta(pattern=_LETTER_ID)]] | None = None


class ReplayResource:
    """`POST`: put dead letters back on the queue."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, 0).done()
        result = self._letters.replay(_ids(request))
        logger.info(
            "dead letters replayed",
            extra={"replayed": result.replayed, "missing": len(result.missing)},
        )
        answer(response, result)


def _letter_id(text: str) -> str:
    if not re.match(_LETTER_ID, text):
        raise ValueError("is not a cursor that this service gave")
    return text


def _ids(request: falcon.Request) -> list[str] | None:
    # The stream as it is: falcon's bounded one takes a chunked body for an empty one, and an
    # empty one asks for everything.
    body = request.stream.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise ApiError(
            falcon.HTTP_413,
            "payload_too_large",
            f"the body is over the limit of {MAX_BODY_BYTES} bytes; name fewer ids",
        )
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body, type=Request).ids
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the body is not an object with a list of ids, or nothing: {error}"
        raise ApiError(falcon.HTTP_400, "invalid_request", message, param="ids") from None
