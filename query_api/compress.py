"""gzip for answers, where the client takes it."""

from __future__ import annotations

import gzip
from typing import Any

import falcon

LEAST_BYTES = 1_000
"""Below this an answer fits into one packet as it is."""
LEVEL = 5


def accepts_gzip(request: falcon.Request) -> bool:
    for part in (request.get_header("Accept-Encoding") or "").split(","):
        coding, _, weight = part.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class Compress:
    """Packs answers that are whole in memory; what is streamed packs itself."""

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: Any, succeeded: bool
    ) -> None:
        body = response.data
        if body is None or len(body) < LEAST_BYTES:
            return
        response.append_header("Vary", "Accept-Encoding")
        if accepts_gzip(request):
            response.set_header("Content-Encoding", "gzip")
            response.data = gzip.compress(body, LEVEL, mtime=0)
