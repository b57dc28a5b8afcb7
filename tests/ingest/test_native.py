"""The native formats: what is one body, what is one event, and what one bad event costs."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from ingest.admission import Rejection
from ingest.native import NATIVE, parse_json, parse_msgpack, parse_ndjson
from ingest.source import Malformed, Received
from shared.events import ReceivedEvent


def wire(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {"id": f"event-{number}", "request": {"endpoint": "/v1/responses"}, **changes}


BAD = wire(9, response={"status_code": 999})
BAD_ERROR = "response.status_code: 999 is not in 100–599"


def ndjson(events: list[Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def as_json(events: list[Any]) -> Received:
    return parse_json(json.dumps(events).encode())


def as_envelope(events: list[Any]) -> Received:
    return parse_json(json.dumps({"events": events}).encode())


def as_late_envelope(events: list[Any]) -> Received:
    return parse_json(json.dumps({"sent_by": "a gateway " * 20, "events": events}).encode())


def as_ndjson(events: list[Any]) -> Received:
    return parse_ndjson(ndjson(events))


def as_msgpack(events: list[Any]) -> Received:
    return parse_msgpack(packed(events))


FORMATS = pytest.mark.parametrize(
    "send", [as_json, as_envelope, as_late_envelope, as_ndjson, as_msgpack]
)


def ids(received: Received) -> list[str | None]:
    return [event.id for event in received if event is not None]


def errors(received: Received) -> list[tuple[int, str]]:
    return [(event.index, event.error) for event in received if isinstance(event, Rejection)]


@FORMATS
def test_events_come_out_in_their_order(send: Any) -> None:
    received = send([wire(n) for n in range(20)])

    assert ids(received) == [f"event-{n}" for n in range(20)]
    assert all(isinstance(event, ReceivedEvent) for event in received)


@FORMATS
def test_no_event_is_an_empty_request(send: Any) -> None:
    assert send([]) == []


@FORMATS
def test_one_bad_event_costs_that_event_alone(send: Any) -> None:
    received = send([wire(0), BAD, wire(2), "words", wire(4)])

    assert ids(received) == ["event-0", "event-9", "event-2", None, "event-4"]
    assert errors(received) == [(1, BAD_ERROR), (3, "an event must be an object, not text")]


@FORMATS
def test_an_event_among_bad_ones_is_the_same_as_alone(send: Any) -> None:
    rich = wire(
        1,
        timestamp=1_700_000_000.5,
        request={"endpoint": "/é", "model": "m", "size_bytes": 5, "user_agent": "a\0b"},
        response={"status_code": 404, "error_message": "no"},
        performance={"duration_ms": 3},
        routing={"mcp_servers": ["a", "b"]},
        unknown={"deep": [1, {"x": None}]},
    )

    assert send([rich])[0] == send([rich, BAD])[0]


@FORMATS
def test_unknown_fields_are_dropped_at_every_level(send: Any) -> None:
    plain = wire(1, response={"status_code": 200})
    adorned = wire(
        1,
        request={"endpoint": "/v1/responses", "messages": [{"role": "user"}]},
        response={"status_code": 200, "body": {"choices": []}},
        prompt="words",
    )

    assert send([adorned]) == send([plain])


@FORMATS
def test_nul_is_taken_out_of_text(send: Any) -> None:
    received = send([wire(1, request={"endpoint": "/", "model": "a\0b"}), wire(2)])

    assert isinstance(received[0], ReceivedEvent)
    assert received[0].request.model == "ab"
    assert ids(received) == ["event-1", "event-2"]


@pytest.mark.parametrize("send", [parse_json, parse_ndjson])
def test_a_single_json_event_is_an_event(send: Any) -> None:
    assert ids(send(json.dumps(wire(1)).encode())) == ["event-1"]


def test_a_single_msgpack_event_is_an_event() -> None:
    assert ids(parse_msgpack(packed(wire(1)))) == ["event-1"]


def test_white_space_around_json_changes_nothing() -> None:
    for spaces in (b" \r\n\t", b" " * 500):
        for value in (wire(1), [wire(1)], {"events": [wire(1)]}):
            body = spaces + json.dumps(value, indent=2).encode() + spaces
            assert ids(parse_json(body)) == ["event-1"]


@pytest.mark.parametrize("value", [wire(1), [wire(1)], {"events": [wire(1)]}, [wire(1, x="\0")]])
def test_a_byte_order_mark_is_forgiven(value: Any) -> None:
    mark = b"\xef\xbb\xbf"

    assert ids(parse_json(mark + json.dumps(value).encode())) == ["event-1"]
    assert ids(parse_ndjson(mark + ndjson([wire(1), wire(2)]))) == ["event-1", "event-2"]


def test_an_event_may_have_an_unknown_field_named_events() -> None:
    for events in ([], [wire(2)], "words", None):
        for body in ({"events": events, **wire(1)}, {**wire(1), "events": events}):
            assert ids(parse_json(json.dumps(body).encode())) == ["event-1"]


@pytest.mark.parametrize("events", [5, None, "words", wire(1)])
def test_an_envelope_without_an_array_is_a_rejection(events: Any) -> None:
    received = parse_json(json.dumps({"events": events}).encode())

    assert errors(received) == [(0, "events: is not an array")]


@pytest.mark.parametrize("body", [b"null", b"5", b'"words"', b"true", b"{}", b"NaN", b"[5]"])
def test_json_that_is_no_event_is_a_rejection(body: bytes) -> None:
    for parse in (parse_json, parse_ndjson):
        assert [index for index, _ in errors(parse(body))] == [0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"[",
        b'{"id": "1"',
        b"words",
        b"{}{}",
        b"[] []",
        b'[{"request": {"endpoint": "/"}},]',
        b"{'id': 1}",
        b"[NaN",
        b'{"id": "\xff", "request": {"endpoint": "\xff"}}',
        b"\0",
        b'{"request": {"endpoint": "\n"}}',
        '{"request": {"endpoint": "/"}}'.encode("utf-16"),
        b'{"request": {"endpoint": ' + b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_what_is_no_json_is_malformed_as_a_whole(body: bytes) -> None:
    with pytest.raises(Malformed, match="not valid JSON"):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        packed([wire(1)])[:-1],
        packed([wire(1)]) + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5_000 + b"\x01",
    ],
)
def test_what_is_no_msgpack_is_malformed_as_a_whole(body: bytes) -> None:
    with pytest.raises(Malformed, match="not valid msgpack"):
        parse_msgpack(body)


@pytest.mark.parametrize(
    ("number", "said"),
    [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e999", "inf")],
)
def test_a_json_number_that_is_none_is_an_error_of_its_field(number: str, said: str) -> None:
    bad = b'{"id": "bad", "request": {"endpoint": "/"}, "performance": {"duration_ms": %b}}'
    body = bad % number.encode()
    good = json.dumps(wire(1)).encode()
    error = f"performance.duration_ms: {said} is not a finite number"

    assert errors(parse_json(body)) == [(0, error)]
    for received in (
        parse_json(b"[%b,%b,%b]" % (good, body, good)),
        parse_json(b'{"events": [%b,%b,%b]}' % (good, body, good)),
        parse_ndjson(b"%b\n%b\n%b" % (good, body, good)),
    ):
        assert ids(received) == ["event-1", "bad", "event-1"]
        assert errors(received) == [(1, error)]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_msgpack_number_that_is_none_is_an_error_of_its_field(number: float) -> None:
    bad = wire(2, performance={"duration_ms": number})

    received = parse_msgpack(packed([wire(1), bad]))

    assert errors(received) == [(1, f"performance.duration_ms: {number} is not a finite number")]


@pytest.mark.parametrize("digits", [20, 400, 5_000])
def test_an_integer_past_every_bound_is_an_error_of_its_field(digits: int) -> None:
    body = b'{"request": {"endpoint": "/", "size_bytes": %b}}' % (b"9" * digits)

    for received in (parse_json(body), parse_json(b"[%b]" % body), parse_ndjson(body)):
        [(index, error)] = errors(received)
        assert index == 0
        assert error.startswith("request.size_bytes: ")
        assert len(error) < 80


def test_half_a_surrogate_pair_in_json_does_not_cost_the_event() -> None:
    body = rb'{"request": {"endpoint": "/", "model": "cut \ud83d"}, "x": "\udc00"}'

    for received in (parse_json(body), parse_json(b"[%b]" % body), parse_ndjson(body)):
        assert isinstance(received[0], ReceivedEvent)
        assert received[0].request.model == "cut \ufffd"


def test_text_that_is_not_utf8_costs_its_event() -> None:
    bad = b'{"request": {"endpoint": "\xff"}}'
    good = json.dumps(wire(1)).encode()

    for received in (parse_json(b"[%b,%b]" % (good, bad)), parse_ndjson(b"%b\n%b" % (good, bad))):
        assert errors(received) == [(1, "not valid JSON: it holds text that is not UTF-8")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_ndjson_lines_are_skipped_and_not_counted(end: bytes) -> None:
    lines = [json.dumps(event).encode() for event in (wire(0), BAD, wire(2))]
    blank = end + b"  \t" + end + end

    good = parse_ndjson(blank + lines[0] + blank + lines[2])
    assert ids(good) == ["event-0", "event-2"]
    assert errors(good) == []
    mixed = parse_ndjson(blank + blank.join(lines) + blank)
    assert ids(mixed) == ["event-0", "event-9", "event-2"]
    assert errors(mixed) == [(1, BAD_ERROR)]


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n"])
def test_ndjson_of_blank_lines_is_an_empty_request(body: bytes) -> None:
    assert parse_ndjson(body) == []


def test_a_malformed_ndjson_line_costs_that_line() -> None:
    good = json.dumps(wire(1)).encode()

    received = parse_ndjson(good + b"\n{broken\n" + good + b"\n" + good[:-1])

    assert ids(received) == ["event-1", None, "event-1", None]
    assert [index for index, _ in errors(received)] == [1, 3]
    assert all("not valid JSON" in error for _, error in errors(received))


def test_an_ndjson_line_is_one_event_no_more_and_no_less() -> None:
    good = json.dumps(wire(1)).encode()

    assert len(errors(parse_ndjson(good + b" " + good))) == 1
    assert all(
        isinstance(e, Rejection) for e in parse_ndjson(json.dumps(wire(1), indent=1).encode())
    )


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        # A map or an extension as a key; text that is not UTF-8; an extension as text.
        (b"\x82\xa7request\x81\xa8endpoint\xa1/\x81\x01\x02\x01", "not valid msgpack"),
        (b"\x82\xa7request\x81\xa8endpoint\xa1/\xd4\x05\x00\x01", "not valid msgpack"),
        (b"\x81\xa7request\x81\xa8endpoint\xa1\xff", "not UTF-8"),
        (b"\x82\xa2id\xa1a\xa7request\x81\xa8endpoint\xd4\x05\x00", "request.endpoint: "),
    ],
)
def test_msgpack_that_no_event_can_hold_costs_its_event(body: bytes, outcome: str) -> None:
    good = packed(wire(1))

    received = parse_msgpack(b"\x93" + good + body + good)

    assert ids(received)[::2] == ["event-1", "event-1"]
    [(index, error)] = errors(received)
    assert index == 1
    assert outcome in error


def test_msgpack_keys_that_are_no_text_are_unknown_fields() -> None:
    odd: dict[Any, Any] = {**wire(1), 5: 1, None: 2, b"raw": 3, True: 4, (1, 2): 5}

    assert ids(parse_msgpack(packed([odd]))) == ["event-1"]
    assert ids(parse_msgpack(packed(odd))) == ["event-1"]


def test_a_msgpack_timestamp_is_a_time() -> None:
    body = packed(wire(1, timestamp=msgpack.Timestamp(1_700_000_000, 5)))

    [received] = parse_msgpack(body)

    assert isinstance(received, ReceivedEvent)
    assert received.timestamp == pytest.approx(1_700_000_000)


def test_every_content_type_of_the_native_source_has_a_parser() -> None:
    assert set(NATIVE.parsers) == {
        "application/json",
        "application/x-ndjson",
        "application/jsonl",
        "application/msgpack",
        "application/x-msgpack",
    }
