"""Query parameters: read by name, checked, and none left over.

A resource asks for what it knows and then calls `done`; what was never asked for is an unknown
parameter, and an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import falcon
import msgspec
from shared.events import Event
from shared.http import ApiError
from shared.stores.base import DIMENSIONS, Dimension, DimensionValue, Order, Position, Selection

MAX_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z."""
HOUR = 3_600
DAY = 86_400

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

_SPACED_OFFSET = re.compile(r" (\d\d:?\d\d)$")

T = TypeVar("T")

Filters = dict[Dimension, frozenset[DimensionValue]]

# A cursor comes back from a client: what is in it is held to the bounds of the parameters.
_Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*\Z")]
_Value = _Text | Annotated[int, msgspec.Meta(ge=0, le=599)] | bool | None


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """Where a page ended, and what it was a page of."""

    start: _Time
    end: _Time
    order: Order
    filters: dict[Dimension, frozenset[_Value]]
    timestamp: _Time
    id: _Text

    @classmethod
    def after(cls, event: Event, selection: Selection, order: Order) -> Cursor:
        """The cursor of the page of `selection` that follows `event`."""
        filters = dict(selection.filters)
        return cls(selection.start, selection.end, order, filters, event.timestamp, event.id)

    @property
    def selection(self) -> Selection:
        """What the cursor's page was a page of."""
        return Selection(start=self.start, end=self.end, filters=self.filters)

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
    """The query parameters of one request.

    With a cursor, what is left out is as it was on the page that gave the cursor.
    """

    def __init__(self, request: falcon.Request, now: float) -> None:
        self._values: dict[str, list[str]] = {
            name: value if isinstance(value, list) else [value]
            for name, value in cast("dict[str, Any]", request.params).items()
        }
        self._asked: set[str] = set()
        self._now = int(now)

    def selection(self, *, default_span: int, cursor: Cursor | None = None) -> Selection:
        """`start`, `end` and the filters. `default_span` is in seconds, before `end`."""
        before = cursor.selection if cursor else None
        end = self._single("end", _time, before.end if before else self._now)
        earlier = before.start if before else max(0, end - default_span)
        start = self._single("start", _time, earlier)
        if start > end:
            raise bad_parameter("start", f"{start} is after end, {end}")
        filters = self._filters() or (before.filters if before else {})
        return Selection(start=start, end=end, filters=filters)

    def _filters(self) -> Filters:
        filters: Filters = {}
        for dimension in DIMENSIONS:
            if values := self._all(dimension, _FILTER_TYPES.get(dimension, str)):
                filters[dimension] = frozenset(values)
        return filters

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        def parse(text: str) -> int:
            value = _integer(text)
            if not least <= value <= most:
                raise ValueError(f"{value} is not in {least}–{most}")
            return value

        return self._single(name, parse, default)

    def text(self, name: str, parse: Callable[[str], str]) -> str | None:
        """What `parse` makes of it; None where it is left out."""
        return self._single(name, parse, None)

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

    def order(self, cursor: Cursor | None = None) -> Order:
        default = cursor.order if cursor else "desc"
        return cast(Order, self.choice("order", ("desc", "asc"), default))

    def dimension(self, name: str) -> Dimension | None:
        """The name of a filter, or None for `none` and where it is left out."""
        chosen = self.choice(name, ("none", *DIMENSIONS), "none")
        return None if chosen == "none" else cast(Dimension, chosen)

    def required_dimension(self, name: str, default: Dimension) -> Dimension:
        """The name of a filter."""
        return cast(Dimension, self.choice(name, DIMENSIONS, default))

    def zone(self, name: str) -> ZoneInfo:
        """An IANA zone; UTC where it is left out."""
        return self._single(name, _zone, ZoneInfo("UTC"))

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
            return [parse(_plain(text)) for text in self._values.get(name, ())]
        except ValueError as error:
            raise bad_parameter(name, str(error)) from None


def bad_parameter(name: str, problem: str) -> ApiError:
    return ApiError(falcon.HTTP_400, "invalid_parameter", f"{name}: {problem}", param=name)


def _plain(text: str) -> str:
    # No stored text holds NUL, and some stores refuse to look for it.
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text[:40]!r} is not an IANA zone, such as Europe/Berlin") from None


def _status(text: str) -> int:
    if not 100 <= (value := _integer(text)) <= 599:
        raise ValueError(f"{value} is not in 100–599")
    return value


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
            moment = datetime.fromisoformat(_SPACED_OFFSET.sub(r"+\1", text.strip()))
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
    "status_code": _status,
    "success": _boolean,
    "stream": _boolean,
}
