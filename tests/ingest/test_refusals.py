"""Every answer but 202 over HTTP: its status, its body, and that the next request works."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import pytest
import zstandard

from tests.harness import Pipeline, event

BODY_LIMIT = 20_000
EVENT_LIMIT = 20
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An ingest of small limits, and no worker."""
    limits = {"MAX_BODY_BYTES": str(BODY_LIMIT), "MAX_BATCH_EVENTS": str(EVENT_LIMIT)}
    with Pipeline(tmp_path_factory.mktemp("small"), workers=0, **limits) as running:
        yield running


@pytest.fixture(autouse=True)
def still_serving(small: Pipeline) -> Iterator[None]:
    """Whatever a test sent, the same connection then takes a good request."""
    yield
    assert small.post([event(1)]).status_code == 202


def error_of(answer: httpx.Response, status: int, kind: str) -> str:
    """The message of an error in the form that every service uses."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert error["type"] == kind
    assert set(error) == {"message", "type"}
    return str(error["message"])


def send(small: Pipeline, body: Any, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return small.post(None, content=body, headers={**JSON, **names})


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("application/json", b"", "not valid JSON"),
        ("application/json", b"{broken", "not valid JSON"),
        ("application/json", b"[{}", "not valid JSON"),
        ("application/json", b"words", "not valid JSON"),
        ("application/json", b"\xff\xfe{\0}\0", "not valid JSON"),
        ("application/json", b"[" * 5_000, "not valid JSON: it is nested too deeply"),
        ("application/msgpack", b"", "not valid msgpack"),
        ("application/msgpack", b"\x92\xc0", "not valid msgpack"),
        ("application/x-msgpack", b"\xc1", "not valid msgpack"),
    ],
)
def test_a_body_of_another_format_is_400(
    small: Pipeline, content_type: str, body: bytes, said: str
) -> None:
    answer = send(small, body, Content_Type=content_type)

    assert said in error_of(answer, 400, "invalid_request")


def packed(encoding: str, body: bytes) -> bytes:
    return (gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress)(body)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_damaged_encoding_is_400(small: Pipeline, encoding: str) -> None:
    plain = json.dumps([event(n) for n in range(10)]).encode()
    for body in (plain, packed(encoding, plain)[:-6], packed(encoding, plain) + b"tail"):
        message = error_of(send(small, body, Content_Encoding=encoding), 400, "invalid_request")
        assert f"not valid {encoding}" in message


@pytest.mark.parametrize("encoding", [None, "gzip", "zstd"])
def test_a_body_over_the_byte_limit_is_413_and_names_it(
    small: Pipeline, encoding: str | None
) -> None:
    fits = json.dumps([event(1)]).encode().ljust(BODY_LIMIT)
    for body, status in ((fits, 202), (fits + b" ", 413)):
        if encoding is None:
            answer = send(small, body)
        else:
            answer = send(small, packed(encoding, body), Content_Encoding=encoding)
        assert answer.status_code == status
    assert f"limit of {BODY_LIMIT} bytes" in error_of(answer, 413, "payload_too_large")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_small_body_that_unpacks_to_a_large_one_is_413(small: Pipeline, encoding: str) -> None:
    bomb = packed(encoding, bytes(100_000_000))
    if encoding == "gzip":
        bomb = gzip.compress(bytes(10_000_000))

    assert len(bomb) < BODY_LIMIT
    answer = send(small, bomb, Content_Encoding=encoding)
    assert f"limit of {BODY_LIMIT} bytes" in error_of(answer, 413, "payload_too_large")


@pytest.mark.parametrize("megabytes", [1, 40])
def test_a_large_declared_body_is_413(small: Pipeline, megabytes: int) -> None:
    answer = send(small, b" " * (megabytes * 1_000_000))

    assert f"limit of {BODY_LIMIT} bytes" in error_of(answer, 413, "payload_too_large")


def test_a_large_body_in_chunks_is_413(small: Pipeline) -> None:
    answer = send(small, itertools.repeat(b" " * 10_000, 500))

    assert f"limit of {BODY_LIMIT} bytes" in error_of(answer, 413, "payload_too_large")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_more_events_than_the_limit_is_413_and_names_it(small: Pipeline, content_type: str) -> None:
    smallest = '{"request":{"endpoint":"/"}}'
    for count, status in ((EVENT_LIMIT, 202), (EVENT_LIMIT + 1, 413)):
        body = "\n".join([smallest] * count)
        if content_type == "application/json":
            body = "[" + ",".join([smallest] * count) + "]"
        answer = send(small, body, Content_Type=content_type)
        assert answer.status_code == status
    message = error_of(answer, 413, "payload_too_large")
    assert f"{EVENT_LIMIT + 1} events" in message
    assert f"limit of {EVENT_LIMIT} events" in message


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "json", ""])
def test_another_content_type_is_415_and_names_the_accepted_ones(
    small: Pipeline, content_type: str
) -> None:
    message = error_of(send(small, b"[]", Content_Type=content_type), 415, "unsupported_media_type")

    for accepted in ("json", "x-ndjson", "jsonl", "msgpack", "x-msgpack"):
        assert f"application/{accepted}" in message


def test_no_content_type_is_415(small: Pipeline) -> None:
    answer = small.http.post(f"{small.ingest_url}/analytics/events", content=b"[]")

    assert "application/json" in error_of(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd"])
def test_another_encoding_is_415_and_names_the_accepted_ones(
    small: Pipeline, encoding: str
) -> None:
    answer = send(small, b"[]", Content_Encoding=encoding)

    message = error_of(answer, 415, "unsupported_media_type")
    assert "gzip" in message
    assert "zstd" in message


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{"id": "a"}, 5]'),
        ("application/x-ndjson", b'{"id": "a"}\n\n5\n'),
        ("application/msgpack", msgpack.packb([{"id": "a"}, 5])),
    ],
)
def test_a_request_without_a_good_event_is_422_and_names_each(
    small: Pipeline, content_type: str, body: bytes
) -> None:
    answer = send(small, body, Content_Type=content_type)

    assert "rejected" in error_of(answer, 422, "unprocessable_entity")
    assert answer.json()["rejected"] == [
        {"index": 0, "id": "a", "error": "request: is required"},
        {"index": 1, "id": None, "error": "an event must be an object, not a number"},
    ]


@pytest.mark.parametrize("body", [b"null", b"5", b"{}", b'{"events": 5}', b'"words"'])
def test_json_that_is_no_event_is_422(small: Pipeline, body: bytes) -> None:
    answer = send(small, body)

    error_of(answer, 422, "unprocessable_entity")
    assert [refused["index"] for refused in answer.json()["rejected"]] == [0]


def test_malformed_lines_alone_are_422(small: Pipeline) -> None:
    answer = send(small, b"{broken\n{broken", Content_Type="application/x-ndjson")

    error_of(answer, 422, "unprocessable_entity")
    assert [refused["index"] for refused in answer.json()["rejected"]] == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": 5},
        {"timestamp": "soon"},
        {"timestamp": "2024-01-01T00:00:00"},
        {"timestamp": 32_503_680_000},
        {"id": ""},
        {"id": "x" * 129},
        {"request": {"endpoint": "/", "size_bytes": -1}},
        {"response": {"status_code": 99}},
        {"performance": {"duration_ms": "fast"}},
        {"token_usage": {"prompt_tokens": 1.5}},
        {"cost": {"total_cost": -1}},
    ],
)
def test_an_event_over_a_bound_is_refused_by_its_field(
    small: Pipeline, change: dict[str, Any]
) -> None:
    answer = small.post({**event(1), **change})

    [(name, value)] = change.items()
    field = f"{name}.{list(value)[-1]}" if isinstance(value, dict) else name
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["error"].startswith(f"{field}: ")


@pytest.mark.parametrize("path", ["/", "/analytics", "/analytics/events/", "/analytics/stats"])
def test_a_path_that_is_not_there_is_404(small: Pipeline, path: str) -> None:
    answer = small.http.post(small.ingest_url + path, json=[event(1)])

    assert path in error_of(answer, 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_405_and_the_right_one_named(small: Pipeline, method: str) -> None:
    answer = small.http.request(method, f"{small.ingest_url}/analytics/events")

    assert method in error_of(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]
