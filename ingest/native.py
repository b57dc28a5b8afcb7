"""The native source: events in the wire form of the specification, as JSON, NDJSON or msgpack.

The typed decoder takes a whole body in one pass. Where any event breaks a bound the body is gone
through again event by event, so that one bad event costs that event alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from shared.events import ReceivedEvent

from ingest.admission import Rejection, receive

SOURCE = "native"

Received = list[ReceivedEvent] | list[ReceivedEvent | Rejection]
Parser = Callable[[bytes], Received]


class Malformed(Exception):
    """The body as a whole is not of the format that its Content-Type names."""


class _Envelope(msgspec.Struct):
    events: list[ReceivedEvent]


_json_list = msgspec.json.Decoder(list[ReceivedEvent])
_json_event = msgspec.json.Decoder(ReceivedEvent)
_json_envelope = msgspec.json.Decoder(_Envelope)
_json_any = msgspec.json.Decoder()
_json_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_json_raw_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw])
_msgpack_list = msgspec.msgpack.Decoder(list[ReceivedEvent])
_msgpack_any = msgspec.msgpack.Decoder()
_msgpack_raw_list = msgspec.msgpack.Decoder(list[msgspec.Raw])

# A decoder met text that is not UTF-8, or nesting that no event has.
_NOT_THE_FORMAT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_json(body: bytes) -> Received:
    """One event, an array of events, or `{"events": […]}`. Raises Malformed."""
    if b"\\u0000" not in body:
        try:
            return _parse_json_typed(body)
        except _NOT_THE_FORMAT:
            pass
    return _parse_json_patiently(body)


def _parse_json_typed(body: bytes) -> list[ReceivedEvent]:
    if body.lstrip()[:1] == b"[":
        return _json_list.decode(body)
    try:
        return [_json_event.decode(body)]
    except msgspec.ValidationError:
        return _json_envelope.decode(body).events


def _parse_json_patiently(body: bytes) -> Received:
    try:
        if body.lstrip()[:1] == b"[":
            return _each_json(_json_raw_list.decode(body))
        if events := _enveloped(body):
            return _each_json(_json_raw_list.decode(events))
        return [_one_json(0, body)]
    except msgspec.ValidationError:
        raise Malformed("events must be an array") from None
    except _NOT_THE_FORMAT as error:
        return _each_plain(_read_with_nan(body, error))


def _enveloped(body: bytes) -> msgspec.Raw | None:
    try:
        members = _json_raw_envelope.decode(body)
    except msgspec.ValidationError:
        return None
    return members.get("events") if "request" not in members else None


def _each_json(raws: list[msgspec.Raw]) -> list[ReceivedEvent | Rejection]:
    return [_one_json(index, bytes(raw)) for index, raw in enumerate(raws)]


def _one_json(index: int, raw: bytes) -> ReceivedEvent | Rejection:
    try:
        return receive(index, _json_any.decode(raw))
    except _NOT_THE_FORMAT as error:
        if b"NaN" in raw or b"Infinity" in raw:
            return _one_with_nan(index, raw, error)
        return Rejection(index, None, _malformed("JSON", error))


def _one_with_nan(index: int, raw: bytes, error: Exception) -> ReceivedEvent | Rejection:
    try:
        return receive(index, _read_with_nan(raw, error))
    except Malformed as malformed:
        return Rejection(index, None, str(malformed))


def _read_with_nan(body: bytes, error: Exception) -> Any:
    """Read the JSON dialect in which NaN and Infinity are numbers, as Python's own writer does.

    They are errors all the same, but errors of one field of one event.
    """
    if b"NaN" not in body and b"Infinity" not in body:
        raise Malformed(_malformed("JSON", error)) from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed(_malformed("JSON", error)) from None


def _each_plain(value: Any) -> Received:
    if isinstance(value, dict) and "request" not in value and "events" in value:
        value = value["events"]
    events = value if isinstance(value, list) else [value]
    return [receive(index, event) for index, event in enumerate(events)]


def parse_ndjson(body: bytes) -> Received:
    """One event a line; blank lines are skipped and not counted."""
    if b"\\u0000" not in body:
        try:
            return _json_event.decode_lines(body)
        except _NOT_THE_FORMAT:
            pass
    lines = [line for line in body.split(b"\n") if line.strip()]
    return [_one_json(index, line) for index, line in enumerate(lines)]


def parse_msgpack(body: bytes) -> Received:
    """One event or an array of events. Raises Malformed."""
    try:
        if _is_msgpack_array(body):
            return _parse_msgpack_array(body)
        return [receive(0, _msgpack_any.decode(body))]
    except _NOT_THE_FORMAT as error:
        raise Malformed(_malformed("msgpack", error)) from None


def _parse_msgpack_array(body: bytes) -> Received:
    try:
        events = _msgpack_list.decode(body)
        if all(map(_is_plain, events)):
            return events
    except _NOT_THE_FORMAT:
        pass
    raws = _msgpack_raw_list.decode(body)
    return [_one_msgpack(index, bytes(raw)) for index, raw in enumerate(raws)]


def _one_msgpack(index: int, raw: bytes) -> ReceivedEvent | Rejection:
    try:
        return receive(index, _msgpack_any.decode(raw))
    except _NOT_THE_FORMAT as error:
        return Rejection(index, None, _malformed("msgpack", error))


def _is_msgpack_array(body: bytes) -> bool:
    return bool(body) and (0x90 <= body[0] <= 0x9F or body[0] in (0xDC, 0xDD))


def _is_plain(event: ReceivedEvent) -> bool:
    """Whether no text of the event holds NUL, which JSON bodies are searched for as a whole."""
    parts = (event.request, event.response, event.auth, event.routing, event.cost)
    for part in parts:
        if part is not None:
            for name in part.__struct_fields__:
                value = getattr(part, name)
                if type(value) is str and "\0" in value:
                    return False
    return not any("\0" in server for server in event.routing.mcp_servers)


def _malformed(format_name: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"not valid {format_name}: it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid {format_name}: it holds text that is not UTF-8"
    return f"not valid {format_name}: {error}"


PARSERS: dict[str, Parser] = {
    "application/json": parse_json,
    "application/x-ndjson": parse_ndjson,
    "application/jsonl": parse_ndjson,
    "application/msgpack": parse_msgpack,
    "application/x-msgpack": parse_msgpack,
}
