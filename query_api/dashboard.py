"""`GET /`: the dashboard, one page and the files in `static/` that it loads.

They hold no data, so they need no token: the page asks for one when the API does. The page may
load nothing from another host, run nothing inline and send nothing elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import falcon
from shared.openapi import TEXT, Answer, Operation, describe, error

PAGE = "index.html"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # The file may be kept, and is asked for again each time: an upgrade shows at once.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, as it is sent."""

    content_type: str
    body: bytes
    etag: str


def load_assets() -> dict[str, Asset]:
    """Every file of `static/` by name."""
    return {
        entry.name: _asset(entry.name, entry.read_bytes())
        for entry in files("query_api").joinpath("static").iterdir()
        if entry.name.rpartition(".")[2] in _TYPES
    }


def _asset(name: str, body: bytes) -> Asset:
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Asset(_TYPES[name.rpartition(".")[2]], body, digest)


def _operation(summary: str, media: str, errors: Mapping[int, Answer] | None = None) -> Operation:
    found = Answer(about="The file", content={media: TEXT})
    return Operation(summary=summary, answers={200: found, **(errors or {})})


class PageResource:
    """The page."""

    def __init__(self, assets: dict[str, Asset]) -> None:
        self._page = assets[PAGE]

    @describe(_operation("The dashboard", "text/html"))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        _send(self._page, request, response)

    on_head = on_get


class FileResource:
    """A file that the page loads."""

    def __init__(self, assets: dict[str, Asset]) -> None:
        self._assets = assets

    @describe(_operation("A file of the dashboard", "*/*", {404: error("No such file")}))
    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        if name not in self._assets:
            raise falcon.HTTPNotFound
        _send(self._assets[name], request, response)

    on_head = on_get


def _send(asset: Asset, request: falcon.Request, response: falcon.Response) -> None:
    response.set_headers(HEADERS)
    response.etag = asset.etag
    if any(known in ("*", asset.etag) for known in request.if_none_match or ()):
        response.status = falcon.HTTP_304
        return
    response.content_type = asset.content_type
    response.data = asset.body
