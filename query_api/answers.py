"""What every resource shares: the form of an answer, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
import msgspec

Clock = Callable[[], float]
"""Unix seconds."""

_json = msgspec.json.Encoder()


def answer(response: falcon.Response, body: Any) -> None:
    """Answer with `body` as JSON; records become objects."""
    response.content_type = falcon.MEDIA_JSON
    response.data = _json.encode(body)
