"""Timestamps: every form that a sender may use, as whole Unix seconds."""

from __future__ import annotations

import math
from datetime import datetime

from shared.events import MIN_TIMESTAMP

_LARGEST_SECONDS = 1e11
_LARGEST_MILLISECONDS = 1e14
_LARGEST_MICROSECONDS = 1e17
_LARGEST_NANOSECONDS = 1e20


class Invalid(Exception):
    """An event breaks a bound; the message names its field."""


def unix_seconds(value: float | str | None, now: float, latest: int) -> int:
    """A timestamp of any accepted form in whole seconds.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, told apart by magnitude; text is
    ISO 8601 with a zone; None is `now`. Raises Invalid before 2000 and after `latest`.
    """
    if value is None:
        return int(now)
    if isinstance(value, str):
        value = _parse_iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid("timestamp: is not a finite number")
    if value > _LARGEST_NANOSECONDS:
        raise Invalid("timestamp: is too large, in nanoseconds even")
    # Floor division keeps integers exact: a float has no room for nanoseconds.
    seconds = int(value // _per_second(value))
    if seconds < MIN_TIMESTAMP:
        raise Invalid(f"timestamp: {_shown(value)} is before 2000-01-01")
    if seconds > latest:
        raise Invalid(f"timestamp: {_shown(value)} is more than a day ahead")
    return seconds


def _per_second(value: float) -> int:
    if value <= _LARGEST_SECONDS:
        return 1
    if value <= _LARGEST_MILLISECONDS:
        return 1_000
    return 1_000_000 if value <= _LARGEST_MICROSECONDS else 1_000_000_000


def _shown(value: float) -> str:
    return str(value) if abs(value) < _LARGEST_NANOSECONDS else "a number of that size"


def _parse_iso(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("timestamp: is neither a number nor ISO 8601") from None
    if moment.tzinfo is None:
        raise Invalid("timestamp: has no zone; add Z or an offset such as +01:00")
    return moment.timestamp()
