"""Every content type and encoding over HTTP, from the body to the store."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import zstandard

from tests.harness import Pipeline, event, wait_until

START = 1_700_000_000
numbers = itertools.count(1_000)


def fresh(count: int) -> list[dict[str, Any]]:
    return [event(next(numbers)) for _ in range(count)]


def stored(pipeline: Pipeline) -> set[str]:
    page = pipeline.get("events", start=START, end=START + 1_000_000, limit=10_000)
    return {found["id"] for found in page["events"]}


def wait_stored(pipeline: Pipeline, events: list[dict[str, Any]]) -> None:
    wanted = {sent["id"] for sent in events}
    wait_until(lambda: wanted <= stored(pipeline), within=30, what=f"{len(wanted)} events stored")


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_lines(events: list[Any]) -> bytes:
    return b"\n".join(map(as_json, events))


def as_msgpack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


FORMATS: dict[str, tuple[str, int, Callable[[list[Any]], bytes]]] = {
    "json: one": ("application/json", 1, lambda events: as_json(events[0])),
    "json: array": ("application/json", 3, as_json),
    "json: envelope": ("application/json", 3, lambda events: as_json({"events": events})),
    "json: charset": ("Application/JSON; charset=utf-8", 3, as_json),
    "x-ndjson": ("application/x-ndjson", 3, as_lines),
    "jsonl": ("application/jsonl", 3, as_lines),
    "msgpack: one": ("application/msgpack", 1, lambda events: as_msgpack(events[0])),
    "msgpack: array": ("application/msgpack", 3, as_msgpack),
    "x-msgpack": ("application/x-msgpack", 3, as_msgpack),
}
ENCODINGS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_and_encoding_reaches_the_store(
    pipeline: Pipeline, name: str, encoding: str | None
) -> None:
    content_type, count, encode = FORMATS[name]
    events = fresh(count)
    headers = {"Content-Type": content_type}
    if encoding is not None:
        headers["Content-Encoding"] = encoding

    body = ENCODINGS[encoding](encode(events))
    answer = pipeline.post(None, content=body, headers=headers)

    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"accepted": count, "rejected": []}
    wait_stored(pipeline, events)


@pytest.mark.parametrize(
    ("content_type", "encode"),
    [
        ("application/json", as_json),
        ("application/json", lambda events: as_json({"events": events})),
        ("application/x-ndjson", as_lines),
        ("application/msgpack", as_msgpack),
    ],
)
def test_one_bad_event_among_99_good_ones_costs_that_event_alone(
    pipeline: Pipeline, content_type: str, encode: Callable[[Any], bytes]
) -> None:
    events = fresh(100)
    events[3]["response"]["status_code"] = 999

    answer = pipeline.post(None, content=encode(events), headers={"Content-Type": content_type})

    assert answer.status_code == 202
    error = "response.status_code: 999 is not in 100–599"
    rejected = {"index": 3, "id": events[3]["id"], "error": error}
    assert answer.json() == {"accepted": 99, "rejected": [rejected]}
    wait_stored(pipeline, events[:3] + events[4:])
    assert events[3]["id"] not in stored(pipeline)


def test_an_id_sent_twice_in_one_request_is_one_event_and_the_first_wins(
    pipeline: Pipeline,
) -> None:
    [first], [after] = fresh(1), fresh(1)
    second = {**first, "request": {"endpoint": "/v1/second"}}

    assert pipeline.post([first, second, after]).json()["accepted"] == 3

    wait_stored(pipeline, [after])
    page = pipeline.get("events", start=first["timestamp"], end=first["timestamp"])
    assert [found["request"]["endpoint"] for found in page["events"]] == ["/v1/chat/completions"]


def test_an_event_of_one_field_is_stored_complete(pipeline: Pipeline) -> None:
    sent = {"id": "smallest", "timestamp": START - 10, "request": {"endpoint": "/v1/responses"}}

    assert pipeline.post(sent).status_code == 202

    found = wait_until(
        lambda: pipeline.get("events", start=START - 10, end=START - 10)["events"], within=30
    )
    assert found == [
        {
            "id": "smallest",
            "timestamp": START - 10,
            "request": {
                "endpoint": "/v1/responses",
                "method": "POST",
                "model": None,
                "stream": False,
                "size_bytes": 0,
                "message_count": None,
                "input_tokens": None,
                "user_agent": None,
                "client_ip": None,
            },
            "response": None,
            "performance": {
                "duration_ms": 0.0,
                "ttfb_ms": None,
                "upstream_duration_ms": None,
                "tokens_per_second": None,
            },
            "auth": {
                "authenticated": False,
                "api_key_id": None,
                "api_key_label": None,
                "auth_method": None,
            },
            "routing": {
                "backend": "unknown",
                "upstream_mode": "unknown",
                "mcp_enabled": False,
                "mcp_servers": [],
                "system_prompt_applied": False,
            },
            "token_usage": None,
            "cost": None,
        }
    ]


@pytest.mark.parametrize(
    "timestamp",
    [
        START - 20,
        START - 19.5,
        (START - 20) * 1_000,
        (START - 20) * 1_000_000,
        (START - 20) * 1_000_000_000,
        "2023-11-14T22:13:00Z",
        "2023-11-15T00:13:00.999+02:00",
    ],
)
def test_a_timestamp_of_any_unit_is_stored_in_seconds(
    pipeline: Pipeline, timestamp: float | str
) -> None:
    [sent] = fresh(1)

    assert pipeline.post({**sent, "timestamp": timestamp}).status_code == 202

    def found() -> bool:
        page = pipeline.get("events", start=START - 20, end=START - 20)
        return sent["id"] in {event["id"] for event in page["events"]}

    wait_until(found, within=30)


def test_an_event_without_id_and_time_gets_both(pipeline: Pipeline) -> None:
    answer = pipeline.post({"request": {"endpoint": "/v1/nameless"}})

    assert answer.status_code == 202
    [found] = wait_until(
        lambda: pipeline.get("events", endpoint="/v1/nameless")["events"], within=30
    )
    assert len(found["id"]) == 36
    assert found["id"][14] == "7"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"[]"),
        ("application/json", b'{"events": []}'),
        ("application/x-ndjson", b"\n \n"),
        ("application/msgpack", b"\x90"),
    ],
)
def test_a_request_without_events_is_taken(
    pipeline: Pipeline, content_type: str, body: bytes
) -> None:
    answer = pipeline.post(None, content=body, headers={"Content-Type": content_type})

    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "rejected": []})


def test_a_body_sent_in_chunks_is_read_to_its_end(pipeline: Pipeline) -> None:
    events = fresh(50)
    body = as_json(events)
    chunks = (body[start : start + 1_000] for start in range(0, len(body), 1_000))

    answer = pipeline.post(None, content=chunks, headers={"Content-Type": "application/json"})

    assert answer.json() == {"accepted": 50, "rejected": []}
    wait_stored(pipeline, events)
