"""OTLP/HTTP traces: which spans are events, what is read of them, and OTLP's answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ingest.admission import Rejection
from ingest.otlp import OTLP
from ingest.source import NO_LIMIT, Malformed
from shared.events import ReceivedCost, ReceivedEvent, ReceivedTokenUsage
from tests.harness import Pipeline
from tests.ingest.otlp_spans import (
    CHAT,
    ENCODINGS,
    JSON,
    PROTOBUF,
    START,
    Sent,
    as_json,
    as_protobuf,
)

Receive = Callable[[Sequence[Sent]], list[Any]]


@pytest.fixture(params=[PROTOBUF, JSON])
def receive(request: pytest.FixtureRequest) -> Receive:
    """Spans to what the source makes of them, in each encoding."""
    encode = dict(ENCODINGS)[request.param]
    return lambda spans: list(OTLP.parsers[request.param](encode(spans), NO_LIMIT))


def one(receive: Receive, span: Sent) -> ReceivedEvent:
    [event] = receive([span])
    assert isinstance(event, ReceivedEvent), event
    return event


def test_a_model_call_becomes_an_event(receive: Receive) -> None:
    attributes = {
        **CHAT,
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "user_agent.original": "app/1",
        "client.address": "203.0.113.9",
        "gen_ai.response.finish_reasons": ["stop"],
    }
    event = one(receive, Sent(attributes=attributes))

    assert event.id == "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
    assert event.timestamp == START
    request, performance = event.request, event.performance
    assert (request.endpoint, request.model) == ("/v1/chat/completions", "gpt-4o")
    assert (request.stream, request.user_agent, request.client_ip) == (
        True,
        "app/1",
        "203.0.113.9",
    )
    assert (performance.duration_ms, performance.ttfb_ms) == (1_500.0, 250.0)
    assert (event.routing.backend, event.routing.upstream_mode) == ("openai", "chat")
    assert event.token_usage == ReceivedTokenUsage(100, 20, 120, 60, 10, 5)
    assert event.response is not None
    assert event.response.status_code == 200


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 100,
            "gen_ai.usage.completion_tokens": 20,
        },
        {
            "gen_ai.system": "openai",
            "llm.request.type": "chat",
            "gen_ai.response.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 100,
            "gen_ai.usage.completion_tokens": 20,
            "llm.usage.total_tokens": 120,
        },
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "openai",
            "llm.model_name": "gpt-4o",
            "llm.token_count.prompt": 100,
            "llm.token_count.completion": 20,
            "llm.token_count.total": 120,
        },
    ],
    ids=["old names", "OpenLLMetry", "OpenInference"],
)
def test_older_and_other_conventions_mean_the_same(
    receive: Receive, attributes: dict[str, Any]
) -> None:
    event = one(receive, Sent(attributes=attributes))

    assert event.request.model == "gpt-4o"
    assert (event.routing.backend, event.routing.upstream_mode) == ("openai", "chat")
    assert event.token_usage == ReceivedTokenUsage(100, 20, 120)


def test_openinferences_details_and_costs_are_read(receive: Receive) -> None:
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "claude",
        "llm.system": "anthropic",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
        "llm.token_count.prompt_details.cache_read": 60,
        "llm.token_count.prompt_details.cache_write": 30,
        "llm.token_count.completion_details.reasoning": 8,
        "llm.cost.prompt": 0.25,
        "llm.cost.completion": 0.5,
        "llm.cost.total": 0.75,
    }
    event = one(receive, Sent(attributes=attributes))

    assert event.routing.backend == "anthropic"
    assert event.token_usage == ReceivedTokenUsage(100, 20, 120, 60, 30, 8)
    assert event.cost == ReceivedCost(0.25, 0.5, None, 0.75)


@pytest.mark.parametrize(
    ("parameters", "model", "stream"),
    [
        ('{"model": "gpt-4o", "stream": true, "stop": ["secret"]}', "gpt-4o", True),
        ('{"temperature": 1}', None, False),
        ("not json", None, False),
        ('{"model": 5}', None, False),
    ],
)
def test_a_call_that_failed_has_its_model_from_openinferences_parameters(
    receive: Receive, parameters: str, model: str | None, stream: bool
) -> None:
    attributes = {"openinference.span.kind": "LLM", "llm.invocation_parameters": parameters}
    event = one(receive, Sent(attributes=attributes, failed=True))

    assert (event.request.model, event.request.stream) == (model, stream)


def test_cached_tokens_that_were_left_out_of_the_input_are_added(receive: Receive) -> None:
    cached = {
        "gen_ai.usage.cache_read_input_tokens": 600,
        "gen_ai.usage.cache_creation_input_tokens": 300,
    }
    event = one(receive, Sent(attributes={**CHAT, **cached}))

    assert event.token_usage == ReceivedTokenUsage(1_000, 20, 1_020, 600, 300)


@pytest.mark.parametrize(
    ("attributes", "endpoint", "mode"),
    [
        ({"gen_ai.operation.name": "embeddings"}, "/v1/embeddings", "embeddings"),
        ({"gen_ai.operation.name": "text_completion"}, "/v1/completions", "completions"),
        ({"gen_ai.operation.name": "generate_content"}, "/v1/generateContent", "generate_content"),
        (
            {"gen_ai.operation.name": "chat", "openai.api.type": "responses"},
            "/v1/responses",
            "responses",
        ),
        ({"openinference.span.kind": "EMBEDDING"}, "/v1/embeddings", "embeddings"),
        ({"gen_ai.request.model": "m", "llm.request.type": "embedding"}, "/v1/embeddings", None),
        ({"gen_ai.request.model": "m", "llm.request.type": "rerank"}, "/v1/chat/completions", None),
    ],
)
def test_the_operation_gives_endpoint_and_mode(
    receive: Receive, attributes: dict[str, Any], endpoint: str, mode: str | None
) -> None:
    event = one(receive, Sent(attributes=attributes))

    assert event.request.endpoint == endpoint
    assert mode is None or event.routing.upstream_mode == mode


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "POST", "http.response.status_code": 200},
        {**CHAT, "gen_ai.operation.name": "invoke_agent"},
        {**CHAT, "gen_ai.operation.name": "invoke_workflow"},
        {**CHAT, "gen_ai.operation.name": "execute_tool"},
        {**CHAT, "gen_ai.operation.name": "create_agent"},
        {**CHAT, "openinference.span.kind": "AGENT"},
        {"openinference.span.kind": "CHAIN", "llm.model_name": "m", "llm.token_count.prompt": 9},
        {"traceloop.span.kind": "workflow", "gen_ai.request.model": "m"},
        {"gen_ai.usage.input_tokens": 5},
    ],
)
def test_what_is_no_model_call_is_left_out(receive: Receive, attributes: dict[str, Any]) -> None:
    assert receive([Sent(attributes=attributes)]) == []


def test_an_agents_calls_are_counted_once(receive: Receive) -> None:
    agent = Sent(attributes={**CHAT, "gen_ai.operation.name": "invoke_agent"}, span_id="a" * 16)
    calls = [Sent(span_id="b" * 16), Sent(span_id="c" * 16)]

    assert [event.id[-1] for event in receive([*calls, agent])] == ["b", "c"]


@pytest.mark.parametrize(
    ("span", "status", "message"),
    [
        (Sent(failed=True, message="secret"), 500, "error"),
        (Sent(attributes={**CHAT, "error.type": "RateLimitError"}), 429, "RateLimitError"),
        (Sent(failed=True, attributes={**CHAT, "error.type": "429"}), 429, "429"),
        (
            Sent(attributes={**CHAT, "error.type": "openai.NotFoundError"}),
            404,
            "openai.NotFoundError",
        ),
        (Sent(attributes={**CHAT, "error.type": "²²²"}), 500, "²²²"),
        (
            Sent(attributes={**CHAT, "error.type": "e", "http.response.status_code": 503}),
            503,
            "e",
        ),
        (Sent(attributes={**CHAT, "error.type": "e", "http.status_code": 200}), 500, "e"),
        (
            Sent(
                failed=True,
                events=[{"exception.type": "BadRequestError", "exception.message": "secret"}],
            ),
            400,
            "BadRequestError",
        ),
    ],
)
def test_an_error_has_its_status_and_type_and_nothing_of_its_message(
    receive: Receive, span: Sent, status: int, message: str
) -> None:
    event = one(receive, span)

    assert event.response is not None
    assert (event.response.status_code, event.response.success) == (status, False)
    assert event.response.error_message == message


def test_odd_values_cost_themselves_alone(receive: Receive) -> None:
    attributes = {
        **CHAT,
        "gen_ai.request.model": "m\0" + "x" * 2_000,
        "gen_ai.provider.name": ["openai"],
        "gen_ai.usage.input_tokens": "many",
        "gen_ai.response.time_to_first_chunk": float("nan"),
        "llm.cost.total": float("nan"),
        "gen_ai.request.stream": "yes",
    }
    event = one(receive, Sent(attributes=attributes, milliseconds=-5))

    assert event.request.model is not None
    assert len(event.request.model) == 1_024
    assert event.routing.backend == "unknown"
    assert event.token_usage == ReceivedTokenUsage(0, 20, 20)
    assert event.performance.duration_ms == 0.0
    assert event.performance.ttfb_ms is None


@pytest.mark.parametrize("ids", [{"trace_id": "0" * 32}, {"trace_id": "ab"}, {"span_id": ""}])
def test_a_bad_span_costs_itself(receive: Receive, ids: dict[str, str]) -> None:
    good, bad = receive([Sent(), Sent(**ids)])  # type: ignore[arg-type]

    assert isinstance(good, ReceivedEvent)
    assert isinstance(bad, Rejection)
    assert "must be" in bad.error


def test_a_span_of_another_shape_costs_itself_in_json() -> None:
    body = json.loads(as_json([Sent(), Sent(span_id="c" * 16)]))
    spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["startTimeUnixNano"] = "yesterday"
    spans.append("no span")
    bad, good, odd = OTLP.parsers[JSON](json.dumps(body).encode(), NO_LIMIT)

    assert isinstance(good, ReceivedEvent)
    assert isinstance(bad, Rejection)
    assert isinstance(odd, Rejection)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(PROTOBUF, b"\xff\xff"), (JSON, b"{"), (JSON, b"[]"), (JSON, b'{"resourceSpans": 5}')],
)
def test_what_is_no_request_is_refused_as_a_whole(content_type: str, body: bytes) -> None:
    with pytest.raises(Malformed):
        OTLP.parsers[content_type](body, NO_LIMIT)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An ingest of a small queue that nobody empties."""
    folder = tmp_path_factory.mktemp("otlp")
    with Pipeline(folder, workers=0, MAX_BACKLOG_EVENTS="4", MAX_BATCH_EVENTS="5") as running:
        yield running


def post(pipeline: Pipeline, content_type: str, body: bytes, **headers: str) -> httpx.Response:
    url = f"{pipeline.ingest_url}/v1/traces"
    return pipeline.http.post(url, content=body, headers={"Content-Type": content_type, **headers})


def status_message(answer: httpx.Response) -> str:
    """The message of a google.rpc.Status in protobuf."""
    content = answer.content
    assert content[:1] == b"\x12"
    size = 2 if content[1] < 0x80 else 3
    return content[size:].decode()


def test_answers_are_otlps_own_in_the_content_type_of_the_request(small: Pipeline) -> None:
    bad = [Sent(span_id="d" * 16), Sent(trace_id="0" * 32)]
    for content_type, encode in ENCODINGS:
        whole = post(small, content_type, encode([Sent()]))
        packed = post(
            small,
            content_type,
            gzip.compress(encode([Sent(attributes={})])),
            **{"Content-Encoding": "gzip"},
        )
        partial = post(small, content_type, encode(bad))
        for answer in (whole, packed, partial):
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == content_type
        assert whole.content == packed.content == (b"" if content_type == PROTOBUF else b"{}")
        if content_type == PROTOBUF:
            told = ExportTraceServiceResponse.FromString(partial.content).partial_success
            assert told.rejected_spans == 1
            assert "trace_id: must be 16 bytes" in told.error_message
        else:
            partial_success = partial.json()["partialSuccess"]
            assert partial_success["rejectedSpans"] == "1"
            assert "trace_id: must be 16 bytes" in partial_success["errorMessage"]

    for content_type, encode in ENCODINGS:
        full = post(small, content_type, encode([Sent()]))
        refused = post(small, content_type, b"{")
        many = post(small, content_type, encode([Sent()] * 6))
        assert [answer.status_code for answer in (full, refused, many)] == [429, 400, 413]
        assert int(full.headers["Retry-After"]) >= 1
        for answer in (full, refused, many):
            assert answer.headers["Content-Type"] == content_type
            if content_type == PROTOBUF:
                assert len(status_message(answer)) > 10
            else:
                body = answer.json()
                assert body["message"] == body["error"]["message"]
    assert post(small, "text/plain", as_protobuf([Sent()])).status_code == 415
