"""A body as it passes: its size, and as much of it as its facts can be read from.

Nothing of a body outlives its request, and no text of it gets into an event: what is read is the
model, whether a stream is asked for, the number of messages, token counts, and an error's code.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

WHOLE_BYTES = 256 * 1024
"""A body up to this size is held whole until its request ends."""
END_BYTES = 64 * 1024
"""Of a larger one the two ends are held, so many bytes of each."""

_OBJECT_BYTES = 8 * 1024
_USAGE = re.compile(rb'"usage(?:Metadata)?"\s*:\s*(?=\{)')
_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"([^"\\]{1,256})"')
_STREAM = re.compile(rb'(?<!\\)"stream"\s*:\s*(true|false)')
_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_read_object = json.JSONDecoder().raw_decode
# What text that is no JSON, or no UTF-8, or nested without end, may raise.
_NO_JSON = (ValueError, RecursionError)


class Asked(NamedTuple):
    """What a request's body says."""

    model: str | None = None
    stream: bool = False
    message_count: int | None = None


class Capture:
    """Chunks of one body, in their order."""

    __slots__ = ("_head", "_held", "_parts", "size")

    def __init__(self) -> None:
        self.size = 0
        self._held = 0
        self._head: bytes | None = None
        self._parts: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._held += len(chunk)
        self._parts.append(chunk)
        if self._held > WHOLE_BYTES:
            self._trim()

    def _trim(self) -> None:
        held = b"".join(self._parts)
        if self._head is None:
            self._head = held[:END_BYTES]
        self._parts = [held[-END_BYTES:]]
        self._held = END_BYTES

    def whole(self) -> bytes | None:
        """All of it; None where it is larger than that."""
        return b"".join(self._parts) if self._head is None else None

    def ends(self) -> bytes:
        """All of it, or its two ends with a line between them."""
        held = b"".join(self._parts)
        return held if self._head is None else self._head + b"\n" + held


def read_request(body: Capture) -> Asked:
    """Facts of a request; of a very large one those that stand near either end."""
    whole = body.whole()
    if whole is None:
        return _read_large(body.ends())
    value = _json(whole)
    if not isinstance(value, dict):
        return Asked()
    model = value.get("model")
    messages = next((value[name] for name in _MESSAGES if isinstance(value.get(name), list)), None)
    return Asked(
        model=model if isinstance(model, str) else None,
        stream=value.get("stream") is True,
        message_count=None if messages is None else len(messages),
    )


# OpenAI chat and Anthropic; OpenAI responses; Gemini.
_MESSAGES = ("messages", "input", "contents")


def _read_large(ends: bytes) -> Asked:
    model = _MODEL.search(ends)
    stream = _STREAM.search(ends)
    return Asked(
        model=model[1].decode(errors="replace") if model else None,
        stream=stream is not None and stream[1] == b"true",
    )


def read_usage(body: Capture, *, stream: bool) -> dict[str, Any] | None:
    """The last usage object of a response, as its provider counts; None where there is none.

    A stream may tell the input's count in its first event and the output's in its last: there the
    last one is laid over the first.
    """
    data = body.ends()
    last = _last_usage(data)
    if last is None or not stream:
        return last
    return {**(_first_usage(data[:_OBJECT_BYTES]) or {}), **last}


def _last_usage(data: bytes) -> dict[str, Any] | None:
    at = data.rfind(b'"usage')
    while at >= 0:
        if (found := _usage_at(data, at)) is not None:
            return found
        at = data.rfind(b'"usage', 0, at)
    return None


def _first_usage(data: bytes) -> dict[str, Any] | None:
    at = data.find(b'"usage')
    while at >= 0:
        if (found := _usage_at(data, at)) is not None:
            return found
        at = data.find(b'"usage', at + 1)
    return None


def _usage_at(data: bytes, at: int) -> dict[str, Any] | None:
    """The object there. A quote behind a backslash is text that somebody wrote."""
    named = _USAGE.match(data, at)
    if named is None or data[at - 1 : at] == b"\\":
        return None
    try:
        found, _ = _read_object(data[named.end() : named.end() + _OBJECT_BYTES].decode("latin-1"))
    except _NO_JSON:
        return None
    return found if isinstance(found, dict) else None


def read_error_code(body: Capture) -> str | None:
    """Code or type of an error body. Its message may quote the request, and is left alone."""
    value = _json(body.whole() or b"")
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return None
    named = (error.get("code"), error.get("type"))
    return next((n for n in named if isinstance(n, str) and _CODE.fullmatch(n)), None)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except _NO_JSON:
        return None
