"""Query parameters as data: how each is read, and what the OpenAPI document says of it.

Both come from one `Parameter`, so the document can't promise what the service does not take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.stores.base import DIMENSIONS, Dimension, DimensionValue

MAX_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z."""
MIN_STATUS, MAX_STATUS = 100, 599

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SPACED_OFFSET = re.compile(r" (\d\d:?\d\d)$")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter(Generic[T]):
    """One query parameter.

    `parse` raises ValueError, whose message ends a sentence that the name begins. `schema` is what
    it takes, as JSON Schema; a repeated one takes it any number of times. `default` is the value
    where it is left out.
    """

    name: str
    parse: Callable[[str], T]
    default: T
    schema: Mapping[str, Any]
    about: str
    repeated: bool = False

    def document(self) -> dict[str, Any]:
        """Its OpenAPI parameter object."""
        schema = dict(self.schema)
        if self.repeated:
            schema = {"type": "array", "items": schema}
        described: dict[str, Any] = {
            "name": self.name,
            "in": "query",
            "description": self.about,
            "schema": schema,
        }
        if schema.get("type") == "array":
            described |= {"style": "form", "explode": self.repeated}
        return described


def integer(name: str, default: int, *, least: int, most: int, about: str) -> Parameter[int]:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        value = _integer(text)
        if not least <= value <= most:
            raise ValueError(f"{value} is not in {least}–{most}")
        return value

    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return Parameter(name=name, parse=parse, default=default, schema=schema, about=about)


def choice(name: str, options: Sequence[str], default: str, *, about: str) -> Parameter[str]:
    """One of some names."""
    schema = {"type": "string", "enum": list(options), "default": default}
    parse = one_of(options)
    return Parameter(name=name, parse=parse, default=default, schema=schema, about=about)


def names(
    name: str, options: Sequence[str], usual: Sequence[str], *, about: str
) -> Parameter[list[str] | None]:
    """A comma-separated list of options; `all` stands for every one.

    None where it is left out, for which `usual` stands in the document.
    """
    option = one_of((*options, "all"))

    def parse(text: str) -> list[str]:
        given = [option(part.strip()) for part in text.split(",")]
        return list(options) if "all" in given else given

    items = {"enum": [*options, "all"]}
    schema: Mapping[str, Any] = {
        "type": "array",
        "items": items,
        "minItems": 1,
        "default": list(usual),
    }
    return Parameter(name=name, parse=parse, default=None, schema=schema, about=about)


def dimension(name: str, default: Dimension, *, about: str) -> Parameter[Dimension]:
    """The name of a filter."""
    chosen = choice(name, DIMENSIONS, default, about=about)
    return cast("Parameter[Dimension]", chosen)


def one_of(options: Sequence[str]) -> Callable[[str], str]:
    """A parser that takes these names alone."""

    def parse(text: str) -> str:
        if text not in options:
            raise ValueError(f"{text!r} is not one of {', '.join(options)}")
        return text

    return parse


def zone(text: str) -> ZoneInfo:
    """An IANA zone by its name. Raises ValueError."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text[:40]!r} is not an IANA zone, such as Europe/Berlin") from None


def _integer(text: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 20:
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def _status(text: str) -> int:
    if not MIN_STATUS <= (value := _integer(text)) <= MAX_STATUS:
        raise ValueError(f"{value} is not in {MIN_STATUS}–{MAX_STATUS}")
    return value


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


def _moment(name: str, about: str) -> Parameter[int | None]:
    seconds = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
    schema = {"anyOf": [seconds, {"type": "string", "format": "date-time"}]}
    about += ", as Unix seconds or ISO 8601 with a zone; it is within the range."
    return Parameter(name=name, parse=_time, default=None, schema=schema, about=about)


START = _moment("start", "First second of the range")
END = _moment("end", "Last second of the range, now where it is left out")

_BOOLEAN: Mapping[str, Any] = {"type": "boolean"}
_STATUS: Mapping[str, Any] = {"type": "integer", "minimum": MIN_STATUS, "maximum": MAX_STATUS}
_READERS: dict[Dimension, tuple[Callable[[str], DimensionValue], Mapping[str, Any]]] = {
    "status_code": (_status, _STATUS),
    "success": (_boolean, _BOOLEAN),
    "stream": (_boolean, _BOOLEAN),
}


def _filter(name: Dimension) -> Parameter[DimensionValue]:
    text: Mapping[str, Any] = {"type": "string", "pattern": "^[^\\u0000]*$"}
    parse, schema = _READERS.get(name, (str, text))
    return Parameter(
        name=name,
        parse=parse,
        default=None,
        schema=schema,
        about=f"Only events whose {name} is this; repeated: any of these.",
        repeated=True,
    )


FILTERS = tuple(map(_filter, DIMENSIONS))
SELECTION: tuple[Parameter[Any], ...] = (START, END, *FILTERS)
"""What chooses events, wherever a range is asked for."""
