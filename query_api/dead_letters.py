"""`GET /analytics/dead-letters` and `POST /analytics/dead-letters/replay`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Annotated

import falcon
import msgspec
from gunicorn.http.errors import ParseException
from shared.dead_letters import DeadLetters, KeptLetter, Replayed
from shared.http import ApiError, Right
from shared.openapi import JSON, Answer, Operation, describe, error

from query_api.answers import BAD_PARAMETER, QUEUE_AWAY, answer, answers
from query_api.parameters import Parameter, integer
from query_api.params import Params

MAX_BODY_BYTES = 1024 * 1024

# Redis takes 64 bits for each half: 19 digits always fit.
_LETTER_ID = r"^[0-9]{1,19}-[0-9]{1,19}\Z"

logger = logging.getLogger(__name__)


def _letter_id(text: str) -> str:
    if not re.match(_LETTER_ID, text):
        raise ValueError("is not a cursor that this service gave")
    return text


LIMIT = integer("limit", 100, least=0, most=1_000, about="Most letters on a page.")
CURSOR: Parameter[str | None] = Parameter(
    name="cursor",
    parse=_letter_id,
    default=None,
    schema={"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"},
    about="`next_cursor` of the page before.",
)


class LettersPage(msgspec.Struct):
    """Dead letters, how many there are in all, and the cursor of the next page if there is one."""

    dead_letters: list[KeptLetter]
    count: int
    total: int
    next_cursor: str | None


class DeadLettersResource:
    """What could not be stored, as long as its event would have been kept."""

    def __init__(self, letters: DeadLetters, horizon: Callable[[], int]) -> None:
        self._letters = letters
        self._horizon = horizon

    @answers(LIMIT, CURSOR, errors={503: QUEUE_AWAY})
    def on_get(self, params: Params) -> LettersPage:
        """What could not be stored, the newest first, a page at a time."""
        limit = params[LIMIT]
        # One more than asked for tells whether another page follows.
        found = self._newest(limit + 1, params[CURSOR]) if limit else []
        page = found[:limit]
        following = page[-1].id if len(found) > limit else None
        return LettersPage(page, len(page), self._letters.count(), following)

    def _newest(self, limit: int, before: str | None) -> list[KeptLetter]:
        return self._letters.newest(limit, before=before, horizon=self._horizon())


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters to replay; without `ids`, all of them."""

    ids: list[Annotated[str, msgspec.Meta(pattern=_LETTER_ID)]] | None = None


REPLAY = Operation(
    summary="Put dead letters back on the queue, all of them where none is named",
    right=Right.ADMIN,
    body={JSON: ReplayRequest},
    body_required=False,
    answers={
        200: Answer(about="Put back", content={JSON: Replayed}),
        400: BAD_PARAMETER,
        413: error("The body is over its limit"),
        503: QUEUE_AWAY,
    },
)


class ReplayResource:
    """Puts dead letters back on the queue."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    @describe(REPLAY)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, ())
        result = self._letters.replay(_ids(request))
        logger.info(
            "dead letters replayed",
            extra={"replayed": result.replayed, "missing": len(result.missing)},
        )
        answer(response, result)


def _read(request: falcon.Request) -> bytes:
    """The body, up to a byte more than is allowed; 400 where it ends early or is badly chunked."""
    try:
        body: bytes = request.stream.read(MAX_BODY_BYTES + 1)
    except (OSError, ParseException) as error:
        message = f"the body can't be read: {type(error).__name__}"
        raise ApiError(falcon.HTTP_400, "invalid_request", message) from None
    return body


def _ids(request: falcon.Request) -> list[str] | None:
    # The stream as it is: falcon's bounded one takes a chunked body for an empty one, and an
    # empty one asks for everything.
    # What is announced to be too long is not waited for.
    announced = request.content_length or 0
    body = b"" if announced > MAX_BODY_BYTES else _read(request)
    if max(announced, len(body)) > MAX_BODY_BYTES:
        raise ApiError(
            falcon.HTTP_413,
            "payload_too_large",
            f"the body is over the limit of {MAX_BODY_BYTES} bytes; name fewer ids",
        )
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body, type=ReplayRequest).ids
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the body is not an object with a list of ids, or nothing: {error}"
        raise ApiError(falcon.HTTP_400, "invalid_request", message, param="ids") from None
