"""What LiteLLM's generic callback posts, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ingest.admission import Gate, Rejection
from ingest.litellm import parse
from ingest.privacy import Scrubber
from ingest.source import Malformed
from shared.events import ReceivedCost, ReceivedEvent, ReceivedTokenUsage
from tests.harness import Pipeline
from tests.ingest.litellm_payloads import START, failure, payload


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def one(value: Any) -> ReceivedEvent:
    [event] = parse(encode([value]))
    assert isinstance(event, ReceivedEvent), event
    return event


def ids(body: bytes) -> list[str | None]:
    return [event.id for event in parse(body) if event is not None]


def test_a_call_becomes_an_event() -> None:
    event = one(payload())

    assert event.id == "chatcmpl-1:success:1700000000.25"
    assert event.timestamp == START
    request, response, routing = event.request, event.response, event.routing
    assert (request.endpoint, request.model, request.stream) == (
        "/v1/chat/completions",
        "gpt-4o",
        False,
    )
    assert (request.client_ip, request.user_agent) == ("203.0.113.9", "witness-agent/1.0")
    assert response is not None
    assert (response.status_code, response.error_message) == (200, None)
    assert (routing.backend, routing.upstream_mode) == ("openai", "chat")
    assert (routing.mcp_enabled, routing.mcp_servers) == (True, ("web",))
    assert event.auth.authenticated
    assert event.auth.api_key_id is not None
    assert event.auth.api_key_id.startswith("88dc28d0")
    assert event.auth.api_key_label == "team-blue"
    assert event.token_usage == ReceivedTokenUsage(10, 5, 15)
    assert event.cost == ReceivedCost(0.000025, 0.00005, None, 0.000075, "USD", "litellm")


def test_the_duration_is_from_start_to_end_and_the_first_byte_that_of_a_stream() -> None:
    whole, streamed = one(payload()), one(payload(stream=True))

    assert (whole.performance.duration_ms, whole.performance.ttfb_ms) == (1_500.0, None)
    assert (streamed.performance.duration_ms, streamed.performance.ttfb_ms) == (1_500.0, 500.0)
    assert streamed.request.stream


def test_a_clock_that_was_set_back_gives_no_negative_duration() -> None:
    assert one(payload(endTime=START - 1)).performance.duration_ms == 0.0


def test_cached_tokens_are_in_the_prompt_and_their_cost_is_their_own() -> None:
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 50,
        "total_tokens": 1_050,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    # LiteLLM's input cost holds the cached tokens' 0.00075.
    costs = {"total_cost": 0.00225, "input_cost": 0.00175, "output_cost": 0.0005}
    event = one(
        payload(
            usage=usage,
            response_cost=0.00225,
            cost_breakdown={**costs, "cache_read_cost": 0.00075, "reasoning_cost": 0.0002},
        )
    )

    assert event.token_usage == ReceivedTokenUsage(1_000, 50, 1_050, 600, None, 20)
    assert event.cost is not None
    assert event.cost.input_cost == pytest.approx(0.001)
    assert event.cost.cached_cost == pytest.approx(0.00075)
    assert event.cost.total_cost == 0.00225


def test_anthropics_cache_writes_are_in_the_prompt() -> None:
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 600, "cache_creation_tokens": 300},
        "cache_read_input_tokens": 600,
        "cache_creation_input_tokens": 300,
    }

    assert one(payload(usage=usage)).token_usage == ReceivedTokenUsage(1_000, 50, 1_050, 600, 300)


def test_without_details_the_sums_are_taken() -> None:
    event = one(payload(metadata={"usage_object": None}))

    assert event.token_usage == ReceivedTokenUsage(10, 5, 15)
    assert not event.auth.authenticated


def test_a_failure_has_its_status_and_class_and_nothing_of_its_message() -> None:
    event = one(failure(text="my secret plan"))

    assert event.response is not None
    assert (event.response.status_code, event.response.success) == (429, False)
    assert event.response.error_message == "RateLimitError: vendor_rate_limit"
    assert event.token_usage is None
    assert event.cost is not None
    assert event.cost.total_cost == 0.0


@pytest.mark.parametrize("code", ["", None, "None", 200, "99", "abc", {}, "²²²"])
def test_a_failure_without_a_status_is_a_500(code: Any) -> None:
    event = one(failure(code=code))

    assert event.response is not None
    assert event.response.status_code == 500


def test_a_retry_and_its_success_are_two_events_and_a_repeated_post_is_one() -> None:
    first = one(failure(id="chatcmpl-1"))
    again = one(payload(id="chatcmpl-1", startTime=START + 2))

    assert len({first.id, again.id}) == 2
    assert one(payload()).id == one(payload()).id


def test_a_long_or_odd_id_still_makes_one() -> None:
    for odd in ("resp_" + "x" * 400, "two\nlines"):
        [a], [b] = ids(encode([payload(id=odd)])), ids(encode([payload(id=odd)]))
        assert a == b
        assert a is not None
        assert len(a) == 64


@pytest.mark.parametrize(
    ("call_type", "endpoint", "mode"),
    [
        ("completion", "/v1/chat/completions", "chat"),
        ("aresponses", "/v1/responses", "responses"),
        ("anthropic_messages", "/v1/messages", "messages"),
        ("aembedding", "/v1/embeddings", "embeddings"),
        ("_arealtime", "/v1/realtime", "realtime"),
        ("aocr", "/aocr", "aocr"),
        ("", "/unknown", "unknown"),
    ],
)
def test_the_call_type_gives_endpoint_and_mode(call_type: str, endpoint: str, mode: str) -> None:
    event = one(payload(call_type=call_type))

    assert (event.request.endpoint, event.routing.upstream_mode) == (endpoint, mode)


def test_a_model_loses_its_own_providers_prefix() -> None:
    bedrock = one(payload(model="bedrock/us.anthropic.claude", custom_llm_provider="bedrock"))
    other = one(payload(model="meta-llama/llama-4", custom_llm_provider="together_ai"))

    assert bedrock.request.model == "us.anthropic.claude"
    assert other.request.model == "meta-llama/llama-4"


def test_a_cost_of_nothing_is_kept_only_where_litellm_knows_it() -> None:
    unpriced = one(payload(response_cost=0.0, cost_breakdown=None))
    cached = one(payload(response_cost=0.0, cost_breakdown=None, cache_hit=True))
    free = one(payload(response_cost=0.0, cost_breakdown={"total_cost": 0.0}))

    assert unpriced.cost is None
    for event in (cached, free):
        assert event.cost is not None
        assert event.cost.total_cost == 0.0


def test_an_array_one_object_and_lines_are_taken_alike() -> None:
    calls = [payload(id="a"), None, failure(id="b")]
    lines = b"\n".join(map(encode, calls))
    expected = ["a:success:1700000000.25", "b:failure:1700000000.25"]

    assert ids(encode(calls)) == expected
    assert ids(lines) == ids(lines + b"\n") == ids(b"\n" + lines) == expected
    assert ids(encode(payload(id="a"))) == expected[:1]
    assert ids(json.dumps(payload(id="a"), indent=2).encode()) == expected[:1]
    assert ids(b"[]") == ids(b"[null]") == ids(b"null") == []


def test_nan_and_infinity_cost_their_field_alone() -> None:
    calls = [
        payload(id="a", saved_cache_cost=float("nan"), hidden_params={"x": [float("inf")]}),
        payload(id="b", response_cost=float("nan"), endTime=float("-inf")),
    ]
    for body in (encode(calls), b"\n".join(map(encode, calls))):
        a, b = parse(body)
        assert isinstance(a, ReceivedEvent)
        assert isinstance(b, ReceivedEvent)
        assert a.cost == one(payload()).cost
        assert b.cost is not None
        assert b.cost.total_cost == 0.000075
        assert b.performance.duration_ms == 0.0


def test_a_field_of_another_type_costs_itself_alone() -> None:
    strange = payload(
        cost_breakdown={"input_cost": "much", "output_cost": 0.5},
        metadata={"user_api_key_hash": "h", "usage_object": "?", "mcp_tool_call_metadata": []},
        stream="yes",
        model=["gpt-4o"],
        error_information="none",
    )
    event = one(strange)

    assert event.auth.api_key_id == "h"
    assert event.token_usage == ReceivedTokenUsage(10, 5, 15)
    assert event.cost is not None
    assert (event.cost.input_cost, event.cost.output_cost) == (0.0, 0.5)
    assert event.request.model is None


def test_a_bad_element_costs_itself_and_is_named() -> None:
    wrong: list[Any] = [{}, 5, "text", [payload()], payload(startTime="now"), payload(id=None)]
    calls = [payload(id="a"), *wrong, payload(id="z"), payload(prompt_tokens=-5, metadata=None)]
    found = parse(encode(calls))

    refused = [event for event in found if isinstance(event, Rejection)]
    assert [event.index for event in refused] == [1, 2, 3, 4, 5, 6]
    assert {event.error for event in refused} == {
        "id: is missing, or not of its type",
        "startTime: is missing, or not of its type",
        "a LiteLLM payload must be an object",
    }


@pytest.mark.parametrize("cost", [0.1, float("nan"), "much"])
def test_a_refusal_is_numbered_over_nulls_whatever_else_the_body_holds(cost: Any) -> None:
    calls = [None, payload(id="a", saved_cost=cost, response_cost=cost), None, payload(startTime=1)]
    gate = Gate(Scrubber(key_salt="", anonymize_ip=False))
    for body in (encode(calls), b"\n".join(map(encode, calls))):
        admission = gate.admit(parse(body))

        assert [event.id for event in admission.accepted] == ["a:success:1700000000.25"]
        assert [refused.index for refused in admission.rejected] == [3]


@pytest.mark.parametrize("space", ["", " ", "\r\n\t "])
def test_an_array_with_nan_is_taken_however_it_is_spaced(space: str) -> None:
    calls = [payload(id=name, response_cost=float("nan")) for name in "abc"]
    spaced = f"{space},{space}".join(map(json.dumps, calls))
    body = f"{space}[{space}{spaced}{space}]{space}".encode()

    assert ids(body) == [f"{name}:success:1700000000.25" for name in "abc"]
    assert parse(f"{space}[{space}NaN{space}]{space}".encode()) == [None]


def test_odd_text_is_mended() -> None:
    body = encode([payload(user_agent="a\0b" + "c" * 2_000)]).replace(b"gpt-4o", b"gpt\\ud83d-4o")
    [event] = parse(body)

    assert isinstance(event, ReceivedEvent)
    assert event.request.model == "gpt\ufffd-4o"
    assert event.request.user_agent is not None
    assert event.request.user_agent.startswith("abccc")
    assert len(event.request.user_agent) == 1_024


BROKEN = [
    *(
        b"",
        b"{",
        b"[{}",
        b"[1,]",
        b"[1, ]",
        b"[NaN,]",
        b"[NaN\n, ]",
        b"[NaN",
        b"[NaN 1]",
        b"[,NaN]",
    ),
    *(b"[NaN]]", b"[NaN] 1", b"[NaN,", b"\xff", b"[\xff]", b"[" * 50_000, b"not json"),
]


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(body)


@pytest.fixture(scope="module")
def workless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An ingest of a small queue that nobody empties."""
    folder = tmp_path_factory.mktemp("litellm")
    with Pipeline(folder, workers=0, MAX_BACKLOG_EVENTS="3", MAX_BODY_BYTES="2048") as running:
        yield running


def post(pipeline: Pipeline, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    url = f"{pipeline.ingest_url}/sources/litellm"
    return pipeline.http.post(url, content=body, headers=headers)


def test_large_bodies_are_taken_and_a_full_queue_is_a_503(workless: Pipeline) -> None:
    calls = [payload(id="a", text="x" * 40_000), failure(id="b"), None, payload(id="c")]
    taken = post(workless, encode(calls))

    assert (taken.status_code, taken.json()) == (202, {"accepted": 3, "rejected": []})
    assert workless.backlog() == 3

    full = post(workless, encode([payload(id="d")]))
    assert full.status_code == 503
    assert full.json()["error"]["type"] == "queue_full"
    assert int(full.headers["Retry-After"]) >= 1
    metrics = workless.http.get(f"{workless.ingest_url}/metrics").text
    assert 'routiium_ingest_responses_total{source="litellm",status="503"} 1.0' in metrics
    assert 'routiium_ingest_events_total{outcome="accepted",source="litellm"} 3.0' in metrics
