"""Query parameters: read by name, checked, and none left over.

A resource asks for what it knows and then calls `done`; what was never asked for is an unknown
parameter, and an error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import falcon
import msgspec
from shared.http import ApiError
from shared.stores.base import DIMENSIONS, Dimension, DimensionValue, Order, Position, Selection

MAX_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z."""
HOUR = 3_600
DAY = 86_400

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

T = TypeVar("T")


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """Where a page ended, and the range it was a page of."""

    start: int
    end: int
    timestamp: int
    id: str

    def encode(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises ValueError where `text` is no cursor."""
        padded = text + "=" * (-len(text) % 4)
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(padded.encode()), type=cls)
        except (binascii.Error, msgspec.DecodeError, UnicodeError) as error:
            raise ValueError("is not a cursor that this service gave") from error

    @property
    def position(self) -> Position:
        return Position(self.timestamp, self.id)


class Params:
    """The query parameters of one request."""

    def __init__(self, request: falcon.Request, now: float) -> None:
        self._values: dict[str, list[str]] = {
            name: value if isinstance(value, list) else [value]
            for name, value in cast("dict[str, Any]", request.params).items()
        }
        self._asked: set[str] = set()
        self._now = int(now)

    def selection(self, *, default_span: int, cursor: Cursor | None = None) -> Selection:
        """`start`, `end` and the filters. `default_span` is in seconds, before `end`."""
        end = self._single("end", _time, cursor.end if cursor else self._now)
        start = self._single("start", _time, cursor.start if cursor else max(0, end - default_span))
        if start > end:
            raise bad_parameter("start", f"{start} is after end, {end}")
        filters: dict[Dimension, frozenset[DimensionValue]] = {}
        for dimension in DIMENSIONS:
            if values := self._all(dimension, _FILTER_TYPES.get(dimension, str)):
                filters[dimension] = frozenset(values)
        return Selection(start=start, end=end, filters=filters)

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        def parse(text: str) -> int:
            value = _integer(text)
            if not least <= value <= most:
                raise ValueError(f"{value} is not in {least}–{most}")
            return value

        return self._single(name, parse, default)

    def choice(self, name: str, options: Sequence[str], default: str) -> str:
        def parse(text: str) -> str:
            if text not in options:
                raise ValueError(f"{text!r} is not one of {', '.join(options)}")
            return text

        return self._single(name, parse, default)

    def names(self, name: str, options: Sequence[str], default: Sequence[str]) -> list[str]:
        """A comma-separated list of options; `all` stands for every one."""

        def parse(text: str) -> list[str]:
            if text == "all":
                return list(options)
            given = [part.strip() for part in text.split(",")]
            if unknown := [part for part in given if part not in options]:
                raise ValueError(f"{unknown[0]!r} is not one of {', '.join(options)}")
            return given

        return self._single(name, parse, list(default))

    def order(self) -> Order:
        return cast(Order, self.choice("order", ("desc", "asc"), "desc"))

    def cursor(self) -> Cursor | None:
        return self._single("cursor", Cursor.decode, None)

    def done(self) -> None:
        """Raise where the request has a parameter that nobody asked for."""
        if unknown := [name for name in self._values if name not in self._asked]:
            known = ", ".join(sorted(self._asked)) or "none"
            raise bad_parameter(unknown[0], f"is not a parameter here; known are: {known}")

    def _single(self, name: str, parse: Callable[[str], T], default: Any) -> T:
        values = self._all(name, parse)
        if len(values) > 1:
            raise bad_parameter(name, "is given more than once")
        return values[0] if values else cast(T, default)

    def _all(self, name: str, parse: Callable[[str], T]) -> list[T]:
        self._asked.add(name)
        try:
            return [parse(text) for text in self._values.get(name, ())]
        except ValueError as error:
            raise bad_parameter(name, str(error)) from None


def bad_parameter(name: str, problem: str) -> ApiError:
    return ApiError(falcon.HTTP_400, "invalid_parameter", f"{name}: {problem}", param=name)


def _integer(text: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 20:
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return _BOOLEANS[text.lower()]


def _time(text: str) -> int:
    """Unix seconds, or ISO 8601 with a zone (whose plus sign may have arrived as a space)."""
    if text.removeprefix("-").isdigit():
        value = _integer(text)
    else:
        try:
            moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
        except ValueError:
            raise ValueError(
                f"{text[:40]!r} is neither Unix seconds nor ISO 8601, such as 2026-01-31T12:00:00Z"
            ) from None
        if moment.tzinfo is None:
            raise ValueError(f"{text[:40]!r} has no zone; add Z or an offset such as +01:00")
        value = int(moment.timestamp())
    if not 0 <= value <= MAX_TIME:
        raise ValueError(f"{text[:40]} is not between 1970 and 9999")
    return value


_FILTER_TYPES: dict[Dimension, Callable[[str], DimensionValue]] = {
    "status_code": _integer,
    "success": _boolean,
    "stream": _boolean,
}
