"""What ingest says of itself: the operation of a source, `GET /openapi.json`, `GET /docs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon
import falcon.asgi
import msgspec
from shared.docs import DOCUMENT, PAGE, send_page
from shared.events import MAX_ID, MIN_TIMESTAMP
from shared.http import Right
from shared.openapi import Operation, describe, document

from ingest.source import Source

_ABOUT = "Takes events of gateways: checks them, strips them to metadata, and queues them."
_GZIP_OR_ZSTD = "The body may be packed: `Content-Encoding: gzip` or `zstd`."


def operation_of_source(source: Source) -> Operation:
    """What posting to a source asks for and is answered with."""
    return Operation(
        summary=source.summary,
        about=f"{source.about}\n\n{_GZIP_OR_ZSTD}",
        right=Right.INGEST,
        body=source.body,
        answers=source.replies.described(),
    )


class DocumentResource:
    """The OpenAPI document."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @describe(DOCUMENT)
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.content_type = falcon.MEDIA_JSON
        response.data = self._body


class PageResource:
    """The page that shows it."""

    @describe(PAGE)
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        send_page(response)


def documented(routes: Mapping[str, object], *, guarded: bool) -> dict[str, object]:
    """`routes`, each of which must be described, and those that tell of them."""
    told = {**routes, "/openapi.json": DocumentResource, "/docs": PageResource}
    found = document("Routiium Analytics: ingest", _ABOUT, told, guarded=guarded)
    _tell_how_events_are_taken(found["components"]["schemas"])
    body = msgspec.json.encode(found)
    return {**routes, "/openapi.json": DocumentResource(body), "/docs": PageResource()}


def _tell_how_events_are_taken(schemas: dict[str, Any]) -> None:
    """Loosen the wire types' schemas as ingest does: a null is an absent field, text is cut."""
    for name, schema in schemas.items():
        if name.startswith("Received"):
            required = schema["required"]
            schema["properties"] = {
                field: _loose(inner, nullable=field not in required)
                for field, inner in schema["properties"].items()
            }
    properties = schemas["ReceivedEvent"]["properties"]
    text = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "format": "printable"}
    properties["id"] = {"anyOf": [text, {"type": "null"}]}
    properties["id"]["description"] = "Printable characters; a UUIDv7 where it is left out."
    properties["timestamp"] = {
        "anyOf": [
            {"type": "number", "minimum": MIN_TIMESTAMP},
            {"type": "string", "format": "date-time"},
            {"type": "null"},
        ],
        "description": "Unix seconds, milliseconds, microseconds or nanoseconds, told apart by "
        "magnitude, or ISO 8601 with a zone; at most a day ahead; now where it is left out.",
    }


def _loose(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    default = {"default": schema["default"]} if "default" in schema else {}
    kinds = [
        {key: value for key, value in _text_is_cut(kind).items() if key != "default"}
        for kind in schema.get("anyOf", [schema])
    ]
    if nullable and {"type": "null"} not in kinds:
        kinds.append({"type": "null"})
    return {**({"anyOf": kinds} if len(kinds) > 1 else kinds[0]), **default}


def _text_is_cut(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in ("maxLength", "maxItems")}
    return {**kept, "items": _text_is_cut(kept["items"])} if "items" in kept else kept
