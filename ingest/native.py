"""The native source: events in the wire form of the specification, as JSON, NDJSON or msgpack.

The typed decoder takes a whole body in one pass. Where any event breaks a bound the body is gone
through again event by event, so that one bad event costs that event alone.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from shared.events import ReceivedEvent
from shared.openapi import reference

from ingest.admission import Rejection
from ingest.plain import receive
from ingest.source import NO_LIMIT, Malformed, Received, Source, require_few


class _Envelope(msgspec.Struct):
    events: list[ReceivedEvent]
    request: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Where it is present the object is an event, and its `events` an unknown field."""


_json_list = msgspec.json.Decoder(list[ReceivedEvent])
_json_event = msgspec.json.Decoder(ReceivedEvent)
_json_envelope = msgspec.json.Decoder(_Envelope)
_json_any = msgspec.json.Decoder()
_json_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_json_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_json_encoder = msgspec.json.Encoder()
_msgpack_list = msgspec.msgpack.Decoder(list[ReceivedEvent])
_msgpack_event = msgspec.msgpack.Decoder(ReceivedEvent)
_msgpack_any = msgspec.msgpack.Decoder()
_msgpack_raw_list = msgspec.msgpack.Decoder(list[msgspec.Raw])

# A decoder met text that is not UTF-8, or nesting that no event has.
_NOT_THE_FORMAT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_BYTES = 64
_NUL = b"\\u0000"
_LONGEST_INTEGER = 19


def parse_json(body: bytes, limit: int = NO_LIMIT) -> Received:
    """One event, an array of events, or `{"events": […]}`. Raises Malformed."""
    if not _holds_nul(body):
        try:
            return _parse_json_typed(body)
        except _NOT_THE_FORMAT:
            pass
    return _parse_json_patiently(body.removeprefix(_BYTE_ORDER_MARK), limit)


def _holds_nul(body: bytes) -> bool:
    """Whether some text of a JSON body holds NUL. Most bodies have no backslash, found fast."""
    return b"\\" in body and _NUL in body


def _parse_json_typed(body: bytes) -> list[ReceivedEvent]:
    head = body[:_HEAD_BYTES].lstrip()
    if head[:1] == b"[":
        return _json_list.decode(body)
    if b'"events"' not in head:
        try:
            return [_json_event.decode(body)]
        except msgspec.ValidationError:
            pass
    envelope = _json_envelope.decode(body)
    return envelope.events if envelope.request is msgspec.UNSET else [_json_event.decode(body)]


def _parse_json_patiently(body: bytes, limit: int) -> Received:
    try:
        if body.lstrip()[:1] == b"[":
            return _each_json(_json_raw_list.decode(body), limit)
        if events := _enveloped(body):
            return _each_json(_json_raw_list.decode(events), limit)
    except _NOT_THE_FORMAT:
        pass
    return _each_plain(_read_json(body), limit)


def _enveloped(body: bytes) -> msgspec.Raw | None:
    members = _json_raw_members.decode(body)
    return members.get("events") if "request" not in members else None


def _each_json(raws: list[msgspec.Raw], limit: int) -> list[ReceivedEvent | Rejection]:
    require_few(raws, limit)
    return [_one_json(index, bytes(raw)) for index, raw in enumerate(raws)]


def _one_json(index: int, raw: bytes) -> ReceivedEvent | Rejection:
    try:
        if not _holds_nul(raw):
            return _json_event.decode(raw)
    except _NOT_THE_FORMAT:
        pass
    try:
        return receive(index, _read_json(raw))
    except Malformed as malformed:
        return Rejection(index, None, str(malformed))


def _read_json(raw: bytes) -> Any:
    """Any JSON value; raises Malformed.

    Python's own reader takes what msgspec refuses though it is JSON: half a surrogate pair, numbers
    past every bound. It takes NaN and Infinity too: they are errors, but errors of one field.
    """
    try:
        return _json_any.decode(raw)
    except _NOT_THE_FORMAT as error:
        try:
            return json.loads(raw.decode(), parse_int=_read_integer)
        except (ValueError, RecursionError):
            raise Malformed(_malformed("JSON", error)) from None


def _read_integer(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _each_plain(value: Any, limit: int) -> Received:
    if isinstance(value, dict) and "request" not in value and "events" in value:
        value = value["events"]
        if not isinstance(value, list):
            return _refused("events: is not an array")
    events = value if isinstance(value, list) else [value]
    require_few(events, limit)
    return [receive(index, event) for index, event in enumerate(events)]


def _refused(why: str) -> list[ReceivedEvent | Rejection]:
    return [Rejection(0, None, why)]


def parse_ndjson(body: bytes, limit: int = NO_LIMIT) -> Received:
    """One event a line; blank lines are skipped and not counted."""
    lines = [line for line in body.removeprefix(_BYTE_ORDER_MARK).split(b"\n") if line.strip()]
    require_few(lines, limit)
    if not _holds_nul(body):
        try:
            events = _json_event.decode_lines(body)
        except _NOT_THE_FORMAT:
            pass
        else:
            # The decoder minds values, not lines: two on a line, or one on two, are no NDJSON.
            if len(events) == len(lines):
                return events
    return [_one_json(index, line) for index, line in enumerate(lines)]


def parse_msgpack(body: bytes, limit: int = NO_LIMIT) -> Received:
    """One event or an array of events. Raises Malformed."""
    try:
        if _is_msgpack_array(body):
            return _parse_msgpack_array(body, limit)
        return [receive(0, _msgpack_any.decode(body))]
    except _NOT_THE_FORMAT as error:
        raise Malformed(_malformed("msgpack", error)) from None


def _parse_msgpack_array(body: bytes, limit: int) -> Received:
    try:
        events = _msgpack_list.decode(body)
        if _NUL not in _json_encoder.encode(events):
            return events
    except _NOT_THE_FORMAT:
        pass
    raws = _msgpack_raw_list.decode(body)
    require_few(raws, limit)
    return [_one_msgpack(index, bytes(raw)) for index, raw in enumerate(raws)]


def _one_msgpack(index: int, raw: bytes) -> ReceivedEvent | Rejection:
    try:
        event = _msgpack_event.decode(raw)
        if _NUL not in _json_encoder.encode(event):
            return event
    except _NOT_THE_FORMAT:
        pass
    try:
        return receive(index, _msgpack_any.decode(raw))
    except _NOT_THE_FORMAT as error:
        return Rejection(index, None, _malformed("msgpack", error))


def _is_msgpack_array(body: bytes) -> bool:
    return bool(body) and (0x90 <= body[0] <= 0x9F or body[0] in (0xDC, 0xDD))


def _malformed(format_name: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"not valid {format_name}: it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid {format_name}: it holds text that is not UTF-8"
    return f"not valid {format_name}: {error}"


_EVENT = reference(ReceivedEvent)
_EVENTS = {"type": "array", "items": _EVENT}
_ENVELOPE = {"type": "object", "properties": {"events": _EVENTS}, "required": ["events"]}

NATIVE = Source(
    name="native",
    path="/analytics/events",
    summary="Post events: one, many, as JSON, NDJSON or msgpack",
    about="Only `request.endpoint` is required, and unknown fields are dropped. With an `id` of "
    "your own a post that was cut off can be repeated, and stays one event. One bad event costs "
    "that event alone: the answer names it and its field.",
    parsers={
        "application/json": parse_json,
        "application/x-ndjson": parse_ndjson,
        "application/jsonl": parse_ndjson,
        "application/msgpack": parse_msgpack,
        "application/x-msgpack": parse_msgpack,
    },
    body={
        "application/json": {"anyOf": [_EVENT, _EVENTS, _ENVELOPE]},
        "application/x-ndjson": list[ReceivedEvent],
        "application/jsonl": list[ReceivedEvent],
        "application/msgpack": ReceivedEvent | list[ReceivedEvent],
        "application/x-msgpack": ReceivedEvent | list[ReceivedEvent],
    },
)
