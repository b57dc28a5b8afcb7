"""How a resource answers with JSON, and what that says of it in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_type_hints

import falcon
import msgspec
from shared.http import Right
from shared.openapi import JSON, Answer, Operation, describe, error

from query_api.parameters import Parameter
from query_api.params import Params

Clock = Callable[[], float]
"""Unix seconds."""

BAD_PARAMETER = error("A parameter is wrong, or not known here: `param` names it")
STORE_AWAY = error("The store can't be reached", retry=True)
QUEUE_AWAY = error("The queue can't be reached", retry=True)

Responder = Callable[[Any, falcon.Request, falcon.Response], None]

_json = msgspec.json.Encoder()


def answer(response: falcon.Response, body: Any) -> None:
    """Answer with `body` as JSON; records become objects."""
    response.content_type = falcon.MEDIA_JSON
    response.data = _json.encode(body)


def checked(operation: Operation) -> Operation:
    """`operation` where a parameter that is not known is refused."""
    return replace(operation, answers={**operation.answers, 400: BAD_PARAMETER})


def answers(
    *parameters: Parameter[Any],
    right: Right = Right.QUERY,
    errors: Mapping[int, Answer] | None = None,
) -> Callable[[Callable[[Any, Params], Any]], Responder]:
    """Make a responder of a method that takes Params and returns the record to answer with.

    It takes `parameters` and no others. The document has the type that it returns as the schema and
    its docstring as the text. `errors` are by status, besides 400; the store's 503 by default.
    """
    failures = {503: STORE_AWAY} if errors is None else errors

    def make(method: Callable[[Any, Params], Any]) -> Responder:
        summary, _, about = (method.__doc__ or "").strip().partition("\n\n")
        found = Answer(about="Found", content={JSON: get_type_hints(method)["return"]})
        operation = Operation(
            summary=" ".join(summary.split()),
            about="\n".join(line.strip() for line in about.splitlines()),
            right=right,
            parameters=parameters,
            answers={200: found, 400: BAD_PARAMETER, **failures},
        )

        def respond(self: Any, request: falcon.Request, response: falcon.Response) -> None:
            answer(response, method(self, Params(request, parameters)))

        return describe(operation)(respond)

    return make
