"""Whatever a body holds: it is malformed, or every one of its events is accepted or refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.admission import Gate
from ingest.native import parse_json, parse_msgpack, parse_ndjson
from ingest.privacy import Scrubber
from ingest.source import Malformed, Received
from shared.stream import QueuedBatch, pack

GATE = Gate(Scrubber(key_salt="salt", anonymize_ip=True), clock=lambda: 1_700_000_000.5)
FIELDS = {
    "request": ["endpoint", "model", "stream", "size_bytes", "input_tokens", "client_ip"],
    "response": ["status_code", "size_bytes", "success", "error_message"],
    "performance": ["duration_ms", "ttfb_ms"],
    "auth": ["authenticated", "api_key", "api_key_id", "api_key_label"],
    "routing": ["backend", "mcp_servers", "mcp_enabled"],
    "token_usage": ["prompt_tokens", "cached_tokens"],
    "cost": ["total_cost", "currency"],
}

texts = (
    st.text(st.characters(), max_size=20)
    | st.sampled_from(
        ["", "\0", "\ud800", "\udc00\ud800", "x" * 3_000, "sk-abcdefgh", "2024-01-01T00:00:00Z"]
    )
    | st.sampled_from(["203.0.113.7:1", "fe80::1%0", "::ffff:1.2.3.4", "[", "1.2.3.4,", "😀" * 600])
)
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**53, 2**63, 2**64, -(2**63) - 1, 10**30, -(10**400), 10**4_200, 1e308])
    | st.sampled_from([1_700_000_000, 1.7e18, 100, 599, 12.0, -0.0, 946_684_799.5])
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


PLACES = [
    *((name, field) for name, fields in FIELDS.items() for field in [*fields, "unknown", "\ud800"]),
    *((name,) for name in [*FIELDS, "id", "timestamp", "unknown", "\ud800", "events"]),
]


def changed(changes: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """A plain event with other values in some places."""
    event: dict[str, Any] = {"request": {"endpoint": "/v1/responses"}}
    for (name, *field), value in changes:
        if not field:
            event[name] = value
        elif isinstance(event.setdefault(name, {}), dict):
            event[name][field[0]] = value
    return event


plausible = st.lists(st.tuples(st.sampled_from(PLACES), scalars), max_size=4).map(changed)
wild = st.lists(st.tuples(st.sampled_from(PLACES), values), max_size=4).map(changed)
events = plausible | wild | values


def handle(parse: Callable[[bytes], Received], body: bytes) -> int | None:
    """Take `body` the way ingest does; the number of its events, None where it is malformed."""
    try:
        received = parse(body)
    except Malformed:
        return None
    total = len(received)
    admission = GATE.admit(received)
    assert len(admission.accepted) + len(admission.rejected) == total
    indexes = [rejection.index for rejection in admission.rejected]
    assert indexes == sorted(set(indexes))
    assert all(0 <= index < total for index in indexes)
    assert all(": " in r.error or "an event must be" in r.error for r in admission.rejected)
    msgspec.json.encode(admission.rejected)
    queued = [
        event
        for batch in pack("native", admission.accepted)
        for event in msgspec.msgpack.decode(batch.data, type=QueuedBatch).events
    ]
    assert len(queued) == len(admission.accepted)
    assert "\\u0000" not in msgspec.json.encode(queued).decode()
    return total


def json_text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def odd(value: Any) -> Any:
    """`value` with what only msgpack has: extensions, times, bytes, keys that are no text."""
    if isinstance(value, dict):
        return {(len(key), key) if "0" in key else key: odd(item) for key, item in value.items()}
    if isinstance(value, list):
        return [odd(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgpack.ExtType(value % 128, b"extension") if value > 0 else msgpack.Timestamp(0, 5)
    return value.encode("utf-8", "replace") if value == "sk-abcdefgh" else value


def msgpack_bytes(value: Any) -> bytes:
    data: bytes = msgpack.packb(odd(value), unicode_errors="surrogatepass")
    return data


@settings(max_examples=600, deadline=None)
@given(st.lists(events, max_size=4))
@example([{"request": {"endpoint": "/"}, "timestamp": 10**400}])
@example([{"request": {"endpoint": "/", "model": "\ud83d"}, "x": float("nan")}])
def test_every_json_event_is_accounted_for(items: list[Any]) -> None:
    assert handle(parse_json, json_text(items)) == len(items)
    assert handle(parse_json, json_text({"events": items})) == len(items)
    assert handle(parse_ndjson, b"\n".join(map(json_text, items))) == len(items)


@settings(max_examples=150, deadline=None)
@given(events)
def test_a_single_json_value_is_accounted_for(item: Any) -> None:
    assert handle(parse_json, json_text(item)) is not None


@settings(max_examples=600, deadline=None)
@given(st.lists(events, max_size=3))
def test_every_msgpack_event_is_accounted_for(items: list[Any]) -> None:
    assert handle(parse_msgpack, msgpack_bytes(items)) == len(items)


json_pieces = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n", b" ", b'"', b"\\", b"\\ud800"),
        *(b"\\u0000", b"NaN", b"-Infinity", b"1e999", b"9" * 5_000, b"-", b"null", b"true"),
        *(b'"request"', b'"endpoint"', b'"events"', b'"id"', b'"timestamp"', b'"x":'),
        *(b'{"request":{"endpoint":"/"}}', b'{"request":{"endpoint":"/"},', b"\xff", b"\0"),
        *(b"\xef\xbb\xbf", b"\xed\xa0\xbd", b"[" * 3_000, b"]" * 3_000),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(json_pieces, max_size=14).map(b"".join))
def test_any_text_is_malformed_or_accounted_for(body: bytes) -> None:
    handle(parse_json, body)
    assert handle(parse_ndjson, body) is not None


msgpack_pieces = st.binary(max_size=6) | st.sampled_from(
    [
        *(b"\x80", b"\x81", b"\x82", b"\x90", b"\x91", b"\x92", b"\xc0", b"\xc1", b"\xc3"),
        *(
            b"\xdc\xff\xff",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
        ),
        *(msgpack.packb(name) for name in ("request", "endpoint", "id", "timestamp", "response")),
        *(msgpack.packb({"request": {"endpoint": "/"}}), msgpack.packb("sk-abcdefgh\0")),
        *(b"\xd6\xff" + struct.pack(">I", 2**31), b"\xc7\x0c\xff" + b"\xff" * 12, b"\xd4\x05\x00"),
        *(b"\xcb" + struct.pack(">d", float("nan")), b"\xcf" + b"\xff" * 8, b"\xc4\x01\xff"),
        *(b"\xa1\xff", b"\xa3\xed\xa0\xbd", b"\x91" * 3_000),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(msgpack_pieces, max_size=12).map(b"".join))
def test_any_bytes_are_malformed_or_accounted_for(body: bytes) -> None:
    handle(parse_msgpack, body)


@pytest.mark.parametrize("parse", [parse_json, parse_ndjson, parse_msgpack])
@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=200))
def test_noise_is_malformed_or_accounted_for(
    parse: Callable[[bytes], Received], body: bytes
) -> None:
    handle(parse, body)


@settings(max_examples=150, deadline=None)
@given(st.lists(plausible, min_size=1, max_size=3).map(json_text), st.data())
def test_a_damaged_body_is_malformed_or_accounted_for(body: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:place] + data.draw(st.binary(max_size=3)) + body[place + 1 :]

    handle(parse_json, damaged)
    handle(parse_ndjson, damaged)
