"""`GET /openapi.json` and `GET /docs`: what this service answers, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping

import falcon
import msgspec
from shared.docs import DOCUMENT, PAGE, send_page
from shared.openapi import describe, document

from query_api.answers import checked
from query_api.params import Params

_ABOUT = (
    "Answers questions about recorded requests: how many, which models and endpoints, how many "
    "tokens, what they cost, how slow, what failed and whose key it was."
)


class DocumentResource:
    """The OpenAPI document."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @describe(checked(DOCUMENT))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, ())
        response.content_type = falcon.MEDIA_JSON
        response.data = self._body


class PageResource:
    """The page that shows it."""

    @describe(PAGE)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        send_page(response)


def documented(routes: Mapping[str, object], *, guarded: bool) -> dict[str, object]:
    """`routes`, each of which must be described, and those that tell of them."""
    told = {**routes, "/openapi.json": DocumentResource, "/docs": PageResource}
    found = document("Routiium Analytics: query", _ABOUT, told, guarded=guarded)
    body = msgspec.json.encode(found)
    return {**routes, "/openapi.json": DocumentResource(body), "/docs": PageResource()}
