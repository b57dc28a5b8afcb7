"""An event from plain objects, as a JSON or msgpack reader gives them.

More patient than the typed decoder: text over its bound is cut, a null stands for the default, and
12.0 is the integer 12. What is still wrong is said by field, without repeating any text.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import msgspec
from shared.events import MAX_COUNT, MAX_ERROR_MESSAGE, MAX_MCP_SERVERS, MAX_TEXT, ReceivedEvent

from ingest.admission import Rejection, printable_id
from ingest.privacy import mask

_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD_BITS = 64


def receive(index: int, raw: Any) -> ReceivedEvent | Rejection:
    """The event that `raw` holds; a Rejection that names the field where it holds none."""
    if not isinstance(raw, dict):
        return Rejection(index, None, f"an event must be an object, not {_kind(raw)}")
    tidy = _tidy_event(raw)
    try:
        return msgspec.convert(tidy, ReceivedEvent)
    except msgspec.ValidationError as error:
        return Rejection(index, printable_id(raw.get("id")), explain(error, tidy))


def explain(error: msgspec.ValidationError, event: dict[str, Any]) -> str:
    """msgspec's message as `field.path: what is wrong`; numbers are quoted, text never is."""
    message, _, path = str(error).partition(" - at `$")
    names = re.findall(r"\w+", path)
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        return f"{'.'.join([*names, missing[1]])}: is required"
    field = ".".join(names)
    value = _value_at(event, names)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{field}: {value} {_number_problem(field, value, message)}"
    return f"{field}: {message[:1].lower()}{message[1:]}".replace("`", "")


def _value_at(event: dict[str, Any], names: list[str]) -> Any:
    value: Any = event
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number_problem(field: str, value: float, message: str) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if message.startswith("Expected") and ", got" in message and abs(value) <= MAX_COUNT:
        expected = message.removeprefix("Expected ").partition(",")[0].replace("`", "")
        return f"is not of type {expected.replace(' | null', '')}"
    if field.endswith("status_code"):
        return "is not in 100–599"
    return "is negative" if value < 0 else "is too large"


def _tidy_event(raw: dict[Any, Any]) -> dict[str, Any]:
    """`raw` tidied two levels deep, without nulls, and without keys that name no field."""
    tidy: dict[str, Any] = {}
    for name, value in _named(raw):
        if isinstance(value, dict):
            tidy[name] = {key: _tidy_value(key, part) for key, part in _named(value)}
        else:
            tidy[name] = _tidy_top(value)
    return tidy


def _named(members: dict[Any, Any]) -> list[tuple[str, Any]]:
    """Those that can be fields: named in ASCII, as every field is, and not null."""
    return [
        (name, value)
        for name, value in members.items()
        if value is not None and isinstance(name, str) and name.isascii()
    ]


def _tidy_top(value: Any) -> Any:
    # An id or a timestamp is checked whole: cutting or mending would make another one of it.
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\0", value)
    if isinstance(value, datetime):
        return value.timestamp()
    return _tidy_number(value) if isinstance(value, (int, float)) else value


def _tidy_value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _tidy_text(name, value)
    if isinstance(value, (int, float)):
        return _tidy_number(value)
    if isinstance(value, list) and name == "mcp_servers":
        return [_tidy_value("", item) for item in value[:MAX_MCP_SERVERS]]
    return value


def _tidy_text(name: str, text: str) -> str:
    """`text` as every store can hold it: no NUL, no half of a surrogate pair, within its bound."""
    text = text.replace("\0", "")
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text)
    bound = MAX_ERROR_MESSAGE if name == "error_message" else MAX_TEXT
    if name == "api_key" or len(text) <= bound:
        return text
    # Masking comes before the cut: half a credential no longer looks like one.
    return mask(text)[:bound]


def _tidy_number(value: int | float) -> int | float:
    """12.0 as the integer 12; an integer that no machine word holds as a float, or infinity."""
    if isinstance(value, float):
        return int(value) if abs(value) <= MAX_COUNT and value.is_integer() else value
    if value.bit_length() <= _WORD_BITS:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _kind(value: Any) -> str:
    names = {list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    names |= {int: "a number", float: "a number"}
    return names.get(type(value), "a value of another kind")
