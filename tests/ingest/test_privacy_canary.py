"""No message content and no raw key leaves ingest: a canary in every place where either can be.

The canary goes into every unknown field and every content-bearing place of every accepted format.
Then it is looked for in the broker's memory while the events are queued and after they were
written, in the broker's and the store's files, in every log and in every answer. A witness in a
field that is kept shows that the search would find it.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
import zstandard

from tests.harness import Pipeline, wait_until
from tests.ingest.litellm_payloads import failure, payload
from tests.ingest.otlp_spans import CHAT
from tests.ingest.otlp_spans import ENCODINGS as OTLP_ENCODINGS
from tests.ingest.otlp_spans import Sent as Span
from tests.places import files_in, memory_of

CANARY = "cAnArY7f3a91c2"
WITNESS = "witness-agent/1.0"
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": f"my name is {CANARY}"}]}]
NESTED = {"deep": {"deeper": [{"deepest": CANARY}]}, CANARY: CANARY}
UNKNOWN: dict[str, Any] = {
    "messages": MESSAGES,
    "prompt": CANARY,
    "input": [CANARY],
    "choices": [{"message": {"content": CANARY}}],
    "system": f"You are {CANARY}",
    "tools": [{"function": {"arguments": CANARY}}],
    "body": json.dumps(MESSAGES),
    "headers": {"authorization": f"Bearer {CANARY}", "cookie": CANARY},
    "metadata": NESTED,
    CANARY: CANARY,
    "nul": f"\0{CANARY}",
}
TOKEN = "the-gateway"

numbers = itertools.count()


def good() -> dict[str, Any]:
    """An event that is taken, a canary in every place that is dropped, hashed or masked."""
    known: dict[str, dict[str, Any]] = {
        "request": {"endpoint": f"/v1/chat/completions?prompt={CANARY}", "user_agent": WITNESS},
        "response": {"status_code": 401, "error_message": f"wrong key: Bearer {CANARY}"},
        "performance": {"duration_ms": 5},
        "auth": {"api_key": CANARY, "api_key_id": CANARY, "api_key_label": f"old sk-{CANARY}"},
        "routing": {"backend": "openai"},
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "cost": {"total_cost": 0.5},
    }
    groups = {name: {**UNKNOWN, **fields} for name, fields in known.items()}
    return {"id": f"good-{next(numbers)}", "timestamp": 1_700_000_000, **UNKNOWN, **groups}


def good_with_key_as_id() -> dict[str, Any]:
    return {**good(), "auth": {"api_key_id": f"sk-{CANARY}"}}


def good_with_a_cut_error() -> dict[str, Any]:
    """The bound of the message falls into the credential."""
    message = "." * 2_030 + f"Bearer {CANARY}{CANARY}"
    return {**good(), "response": {"status_code": 500, "error_message": message}}


def bad() -> list[dict[str, Any]]:
    """Events that are refused, the canary in what is wrong with them."""
    request = {"endpoint": "/v1/responses"}
    wrong: list[dict[str, Any]] = [
        {"request": CANARY},
        {"request": [CANARY]},
        {"request": {**UNKNOWN, "endpoint": MESSAGES}},
        {"request": {**request, "model": {"content": CANARY}}},
        {"request": {**request, "model": [CANARY]}},
        {"request": {**request, "size_bytes": CANARY}},
        {"request": {**request, "stream": CANARY}},
        {"request": request, "response": CANARY},
        {"request": request, "response": {**UNKNOWN, "status_code": CANARY}},
        {"request": request, "routing": {"mcp_servers": [{"content": CANARY}]}},
        {"request": request, "routing": {"mcp_servers": CANARY}},
        {"request": request, "timestamp": CANARY},
        {"request": request, "timestamp": NESTED},
        {"request": request, "id": NESTED},
        {"request": request, "id": CANARY * 20},
        {"request": request, "id": f"{CANARY}\n"},
        {"request": request, "cost": MESSAGES},
        UNKNOWN,
    ]
    return [{**UNKNOWN, "id": f"bad-{next(numbers)}", **fields} for fields in wrong]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_lines(events: list[Any]) -> bytes:
    return b"\n".join(map(as_json, events))


def as_msgpack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def unchanged(body: bytes) -> bytes:
    return body


FORMATS: list[tuple[str, Callable[[list[Any]], bytes]]] = [
    ("application/json", as_json),
    ("application/json", lambda events: as_json({"events": events, **UNKNOWN})),
    ("application/x-ndjson", as_lines),
    ("application/jsonl", as_lines),
    ("application/msgpack", as_msgpack),
    ("application/x-msgpack", as_msgpack),
]
ENCODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("identity", unchanged),
    ("gzip", gzip.compress),
    ("zstd", zstandard.ZstdCompressor().compress),
]
HALF = f'{{"request": {{"endpoint": "/"}}, "messages": "{CANARY}'.encode()
ODD_JSON = (
    f'{{"messages": ["{CANARY}\\ud83d", NaN, 1e999], "request": {{"endpoint": "/"}}}}'.encode()
)

Sent = tuple[dict[str, str], bytes]


def batches() -> Iterator[Sent]:
    """Good and bad events together and apart, in every format and encoding."""
    for (content_type, encode), (encoding, pack) in itertools.product(FORMATS, ENCODINGS):
        headers = {"Content-Type": content_type, "Content-Encoding": encoding}
        all_good = [good(), good_with_key_as_id(), good_with_a_cut_error()]
        for events in (all_good, [good(), *bad()], bad()):
            yield headers, pack(encode(events))


def single_events() -> Iterator[Sent]:
    for event in (good(), *bad()):
        yield {"Content-Type": "application/json"}, as_json(event)
        yield {"Content-Type": "application/json"}, as_json(CANARY)
        yield {"Content-Type": "application/msgpack"}, as_msgpack(event)
        yield {"Content-Type": "application/msgpack"}, as_msgpack(CANARY)


def oddities() -> Iterator[Sent]:
    """Malformed bodies, and those that only the patient readers take."""
    for content_type, _ in FORMATS:
        for body in (HALF, HALF + b"\n" + HALF, CANARY.encode(), ODD_JSON, b"[" + ODD_JSON + b"]"):
            yield {"Content-Type": content_type}, body
            yield {"Content-Type": content_type, "Content-Encoding": "gzip"}, body
            yield {"Content-Type": content_type, "Content-Encoding": "zstd"}, body
    yield {"Content-Type": "application/msgpack"}, as_msgpack([good()])[:-5]
    yield {"Content-Type": "application/msgpack"}, as_msgpack([{**good(), 5: CANARY}])
    yield {"Content-Type": "application/json"}, as_json([[[CANARY]]])
    yield {"Content-Type": "application/json"}, b'{"x":' * 5_000 + as_json(CANARY)
    yield {"Content-Type": "application/json"}, HALF.ljust(200_000, b"x")
    yield {"Content-Type": "application/json"}, as_json([UNKNOWN] * 101)
    yield {"Content-Type": "text/plain"}, HALF
    yield {"Content-Type": "application/json; charset=" + CANARY}, as_json(good())
    yield {"Content-Type": "application/json", "Cookie": CANARY, "X-Prompt": CANARY}, b"[]"
    yield {"Content-Type": "application/json", "User-Agent": CANARY}, as_json(good())
    yield {"Content-Type": "application/json", "Authorization": f"Bearer {CANARY}"}, as_json(good())


def from_litellm() -> Iterator[Sent]:
    """What LiteLLM posts, whole and broken, in each of its three forms."""
    credential = f"Bearer {CANARY}"
    calls = [
        payload(id=f"call-{next(numbers)}", text=CANARY),
        failure(id=f"call-{next(numbers)}", text=credential),
        payload(id=f"call-{next(numbers)}", text=CANARY, saved_cache_cost=float("nan")),
        payload(id=f"call-{next(numbers)}", text=CANARY, metadata=CANARY, response_cost=CANARY),
        payload(text=CANARY, startTime=CANARY),
        payload(text=CANARY, id=MESSAGES),
        CANARY,
        None,
    ]
    bodies = [as_json(calls), as_lines(calls), *map(as_json, calls), as_json(calls)[:-9]]
    for body, (encoding, pack) in itertools.product(bodies, ENCODINGS):
        yield {"Content-Type": "application/json", "Content-Encoding": encoding}, pack(body)


CONTENT = {
    "gen_ai.input.messages": as_json(MESSAGES).decode(),
    "gen_ai.output.messages": CANARY,
    "gen_ai.system_instructions": CANARY,
    "gen_ai.prompt": CANARY,
    "gen_ai.prompt.0.content": CANARY,
    "gen_ai.completion": CANARY,
    "gen_ai.tool.definitions": CANARY,
    "gen_ai.request.stop_sequences": [CANARY],
    "llm.input_messages.0.message.content": CANARY,
    "llm.output_messages.0.message.content": CANARY,
    "llm.invocation_parameters": CANARY,
    "input.value": CANARY,
    "output.value": CANARY,
    "url.full": f"https://upstream.example/?key={CANARY}",
    "http.request.header.authorization": [f"Bearer {CANARY}"],
    CANARY: CANARY,
}


def from_opentelemetry() -> Iterator[Sent]:
    """Model calls, failed calls, agents, plain spans and broken ones, all full of content."""
    exception = {
        "exception.type": "BadRequestError",
        "exception.message": CANARY,
        "exception.stacktrace": CANARY,
    }
    event = {"gen_ai.event.content": CANARY, **CONTENT}
    failed: dict[str, Any] = {"failed": True, "message": CANARY, "events": [exception, event]}
    attributes = {**CHAT, **CONTENT, "user_agent.original": WITNESS}
    for content_type, encode in OTLP_ENCODINGS:
        number = next(numbers)
        spans = [
            Span(trace_id="ca11" * 8, span_id=f"{number:015x}1", attributes=attributes),
            Span(trace_id="ca11" * 8, span_id=f"{number:015x}2", attributes=attributes, **failed),
            Span(trace_id="ca11" * 8, attributes={**attributes, "gen_ai.operation.name": CANARY}),
            Span(attributes=CONTENT, **failed),
            Span(trace_id="0" * 32, attributes=attributes, **failed),
        ]
        whole = encode(spans)
        for body, (encoding, pack) in itertools.product((whole, whole[:-30]), ENCODINGS):
            yield {"Content-Type": content_type, "Content-Encoding": encoding}, pack(body)


SOURCES: list[tuple[str, Callable[[], Iterator[Sent]]]] = [
    ("/analytics/events", batches),
    ("/analytics/events", single_events),
    ("/analytics/events", oddities),
    ("/sources/litellm", from_litellm),
    ("/v1/traces", from_opentelemetry),
]


def send_everything(pipeline: Pipeline) -> tuple[int, str]:
    """How many events were taken, and every answer's headers and body."""
    taken = 0
    answers: list[str] = []
    for path, bodies in SOURCES:
        for headers, body in bodies():
            for target in (path, f"{path}?prompt={CANARY}"):
                # The same ids again are the same events: they count once.
                url = pipeline.ingest_url + target
                answer = pipeline.http.post(url, content=body, headers=headers)
                answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
            taken += answer.json().get("accepted", 0) if answer.status_code == 202 else 0
    for target in ("/", "/metrics", "/healthz/ready"):
        answer = pipeline.http.post(pipeline.ingest_url + target, content=HALF)
        answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
    return taken, "\n".join(answers)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Where a canary could be, by name, after everything was sent and written."""
    folder = tmp_path_factory.mktemp("canary")
    settings = {
        "INGEST_TOKENS": TOKEN,
        "QUERY_TOKENS": TOKEN,
        "LOG_LEVEL": "debug",
        "MAX_BODY_BYTES": "150000",
        "MAX_BATCH_EVENTS": "100",
    }
    found: dict[str, bytes] = {}
    with Pipeline(folder, workers=0, **settings) as pipeline:
        pipeline.http.headers["Authorization"] = f"Bearer {TOKEN}"
        taken, answers = send_everything(pipeline)
        assert taken >= 4 * len(FORMATS) * len(ENCODINGS)
        found["answers"] = answers.encode()
        found["memory while queued"] = memory_of(pipeline)
        found["broker's files while queued"] = files_in(folder / "broker")
        pipeline.start_worker()
        wait_until(lambda: pipeline.backlog() == 0, within=60, what="everything written")
        found["memory after writing"] = memory_of(pipeline)
        found["export"] = pipeline.http.get(
            f"{pipeline.query_url}/analytics/export",
            params={"start": 1_600_000_000, "end": 2_000_000_000, "format": "json"},
        ).content
        found["metrics"] = b"".join(
            pipeline.http.get(f"{url}/metrics").content
            for url in (pipeline.ingest_url, pipeline.query_url)
        )
    found["store"] = (folder / "store.jsonl").read_bytes()
    found["logs"] = b"".join(path.read_bytes() for path in folder.glob("*.log"))
    found["every file"] = files_in(folder)
    return found


KEPT = ["memory while queued", "broker's files while queued", "store", "export", "every file"]


@pytest.mark.parametrize("place", [*KEPT, "memory after writing", "answers", "logs", "metrics"])
def test_no_content_and_no_key_is_found(places: dict[str, bytes], place: str) -> None:
    content = places[place]

    assert content
    at = content.find(CANARY.encode())
    assert at < 0, f"in {place}: {content[max(0, at - 300) : at + 100]!r}"


@pytest.mark.parametrize("place", KEPT)
def test_what_is_kept_would_be_found_there(places: dict[str, bytes], place: str) -> None:
    assert WITNESS.encode() in places[place]


def test_every_kind_of_answer_was_seen(places: dict[str, bytes]) -> None:
    statuses = {
        int(line[:3]) for line in places["answers"].decode().splitlines() if line[:3].isdigit()
    }

    assert statuses >= {202, 400, 401, 404, 405, 413, 415, 422}


def test_each_source_left_events(places: dict[str, bytes]) -> None:
    stored = [json.loads(line)["id"] for line in places["store"].splitlines()]

    assert sum(name.startswith("good-") for name in stored) > 10
    assert sum(name.startswith("call-") for name in stored) == 4
    assert sum(name.startswith("ca11") for name in stored) == 4


def test_keys_are_stored_as_hashes_and_credentials_masked(places: dict[str, bytes]) -> None:
    stored = [json.loads(line) for line in places["store"].splitlines()]

    assert stored
    full = [event for event in stored if event["id"].startswith("good-")]
    full = [event for event in full if event["auth"]["api_key_label"]]
    assert {event["auth"]["api_key_label"] for event in full} == {"old [masked]"}
    assert len({event["auth"]["api_key_id"] for event in full}) == 1
    assert all(event["auth"]["api_key_id"].startswith("key_") for event in full)
    assert {event["request"]["endpoint"] for event in full} == {"/v1/chat/completions"}
    errors = {event["response"]["error_message"] for event in full}
    assert "wrong key: [masked]" in errors
