"""What both services say of themselves, and the page that shows it.

`GET /docs` is one file that loads nothing else. It asks for `openapi.json` beside it. Its policy
names the hashes of its own script and style, so nothing else runs in it, and it reaches no other
host.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any, Literal

import msgspec

from shared.openapi import JSON, TEXT, Answer, Operation, error

DOCUMENT = Operation(
    summary="This document",
    answers={200: Answer(about="OpenAPI 3.1", content={JSON: {"type": "object"}})},
)
PAGE = Operation(
    summary="A page that shows this document",
    answers={200: Answer(about="The page", content={"text/html": TEXT})},
)

METRICS = Operation(
    summary="Metrics for Prometheus",
    answers={200: Answer(about="Prometheus text", content={"text/plain": TEXT})},
)


class Health(msgspec.Struct):
    """All is well; where it is not the answer is an error."""

    status: Literal["ok"] = "ok"


def health(summary: str, *trouble: str) -> Operation:
    """A health check; `trouble` is what it may say with a 503."""
    errors = {503: error("; ".join(trouble), retry=True)} if trouble else {}
    well = Answer(about="Yes", content={JSON: Health})
    return Operation(summary=summary, answers={200: well, **errors})


def send_page(response: Any) -> None:
    """Answer with the page, on either of falcon's application kinds."""
    response.content_type = "text/html; charset=utf-8"
    response.set_headers(HEADERS)
    response.data = BODY


def _read(name: str) -> str:
    return files("shared.docs").joinpath(name).read_text()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _read("page.css"), _read("page.js")
BODY = (
    _read("page.html").replace("/* page.css */", _STYLE).replace("/* page.js */", _SCRIPT).encode()
)
_POLICY = (
    "default-src 'none'",
    f"script-src {_hash(_SCRIPT)}",
    f"style-src {_hash(_STYLE)}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
