"""Admission: which received events are taken, and why the others are not.

Sources hand over events that msgspec has already decoded into `ReceivedEvent`, or `Rejection`s for
those it could not. What a type can't say is checked here: ids, and timestamps in any unit.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from shared.events import (
    MAX_AHEAD_SECONDS,
    MAX_ERROR_MESSAGE,
    MAX_ID,
    MAX_MCP_SERVERS,
    MAX_TEXT,
    MIN_TIMESTAMP,
    ReceivedEvent,
)

from ingest.privacy import Scrubber, mask

Clock = Callable[[], float]


class Invalid(Exception):
    """An event breaks a bound; the message names its field."""


class Rejection(msgspec.Struct):
    """One event that was not taken. `index` counts from 0 over the events of the request."""

    index: int
    id: str | None
    error: str


class Admission(msgspec.Struct):
    """What one request brought: events ready for the queue, and the ones refused."""

    accepted: list[ReceivedEvent]
    rejected: list[Rejection]


class Gate:
    """Checks events one by one and scrubs the good ones."""

    def __init__(self, scrubber: Scrubber, *, clock: Clock = time.time) -> None:
        self._scrubber = scrubber
        self._clock = clock

    def admit(self, received: Sequence[ReceivedEvent | Rejection]) -> Admission:
        """Split `received` into good and bad; the good ones have an id and a time in seconds."""
        now = self._clock()
        latest = int(now) + MAX_AHEAD_SECONDS
        accepted: list[ReceivedEvent] = []
        rejected: list[Rejection] = []
        scrub = self._scrubber.scrub
        for index, event in enumerate(received):
            if isinstance(event, Rejection):
                rejected.append(event)
                continue
            try:
                if event.id is None:
                    event.id = uuid7(now)
                elif not (0 < len(event.id) <= MAX_ID and event.id.isprintable()):
                    raise Invalid(f"id: must be 1–{MAX_ID} printable characters")
                event.timestamp = unix_seconds(event.timestamp, now, latest)
            except Invalid as error:
                rejected.append(Rejection(index, _printable(event.id), str(error)))
                continue
            scrub(event)
            accepted.append(event)
        return Admission(accepted, rejected)


def unix_seconds(value: float | str | None, now: float, latest: int) -> int:
    """A timestamp of any accepted form in whole seconds.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, told apart by magnitude; text is
    ISO 8601 with a zone. Raises Invalid before 2000 and after `latest`.
    """
    if value is None:
        return int(now)
    if isinstance(value, str):
        value = _parse_iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid("timestamp: is not a finite number")
    seconds = value
    if seconds > 1e11:
        seconds = value / 1_000 if value < 1e14 else value / (1e6 if value < 1e17 else 1e9)
    seconds = math.floor(seconds)
    if seconds < MIN_TIMESTAMP:
        raise Invalid(f"timestamp: {value} is before 2000-01-01")
    if seconds > latest:
        raise Invalid(f"timestamp: {value} is more than a day ahead")
    return seconds


def _parse_iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("timestamp: is neither a number nor ISO 8601") from None
    if moment.tzinfo is None:
        raise Invalid("timestamp: has no zone; add Z or an offset such as +01:00")
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        raise Invalid("timestamp: is out of range") from None


def uuid7(now: float) -> str:
    """A version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    bits = (int(now * 1_000) << 80) | random
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def receive(index: int, raw: Any) -> ReceivedEvent | Rejection:
    """One event from plain objects (a dict as a JSON reader gives it).

    More patient than the typed decoder: text over its bound is cut, a null stands for the default,
    and 12.0 is the integer 12. What is still wrong becomes a Rejection that names its field.
    """
    if not isinstance(raw, dict):
        return Rejection(index, None, f"an event must be an object, not {_kind(raw)}")
    tidy = _tidy_event(raw)
    try:
        return msgspec.convert(tidy, ReceivedEvent)
    except msgspec.ValidationError as error:
        return Rejection(index, _printable(raw.get("id")), explain(error, tidy))


def explain(error: msgspec.ValidationError, event: dict[str, Any]) -> str:
    """msgspec's message as `field.path: what is wrong`; numbers are quoted, text never is."""
    message, _, path = str(error).partition(" - at `$")
    names = re.findall(r"\w+", path)
    field = ".".join(names)
    value: Any = event
    for name in names:
        if isinstance(value, list):
            value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        return f"{'.'.join([*names, missing[1]])}: is required"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{field}: {value} {_number_problem(field, value, message)}"
    return f"{field}: {message[:1].lower()}{message[1:]}".replace("`", "")


def _number_problem(field: str, value: float, message: str) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if message.startswith("Expected") and ", got" in message:
        expected = message.removeprefix("Expected ").partition(",")[0].replace("`", "")
        return f"is not of type {expected.replace(' | null', '')}"
    if field.endswith("status_code"):
        return "is not in 100–599"
    return "is negative" if value < 0 else "is too large"


def _tidy_event(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` with every text cut to its bound and every null dropped, two levels deep."""
    tidy: dict[str, Any] = {}
    for name, value in raw.items():
        if isinstance(value, dict):
            tidy[name] = {k: _tidy_value(k, v) for k, v in value.items() if v is not None}
        elif value is not None:
            # An id or a timestamp is checked whole: cutting would make another one of it.
            tidy[name] = value
    return tidy


def _tidy_value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        text = value.replace("\0", "")
        if name == "error_message":
            # Masking comes before the cut: half a credential no longer looks like one.
            return mask(text)[:MAX_ERROR_MESSAGE]
        return text if name == "api_key" else text[:MAX_TEXT]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list) and name == "mcp_servers":
        return [_tidy_value("", item) for item in value[:MAX_MCP_SERVERS]]
    return value


def _printable(value: Any) -> str | None:
    return value[:MAX_ID] if isinstance(value, str) and value.isprintable() and value else None


def _kind(value: Any) -> str:
    names = {list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
