"""Events from plain objects: what is forgiven, and how what is not is said."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.admission import Rejection
from ingest.plain import receive
from shared.events import ReceivedEvent, ReceivedRequest


def taken(raw: Any) -> ReceivedEvent:
    received = receive(0, raw)
    assert isinstance(received, ReceivedEvent), received
    return received


def refused(raw: Any) -> str:
    received = receive(7, raw)
    assert isinstance(received, Rejection), received
    assert received.index == 7
    return received.error


def with_group(group: str, **fields: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {"id": "event", "request": {"endpoint": "/v1/responses"}}
    raw[group] = {**raw.get(group, {}), **fields}
    return raw


def test_the_endpoint_alone_makes_an_event_with_every_default() -> None:
    received = taken({"request": {"endpoint": "/v1/responses"}})

    assert received == ReceivedEvent(ReceivedRequest("/v1/responses"))
    assert received.request.method == "POST"
    assert received.performance.duration_ms == 0
    assert received.routing.backend == "unknown"
    assert not received.auth.authenticated


def test_null_stands_for_the_default_at_both_levels() -> None:
    raw = {
        "id": None,
        "timestamp": None,
        "request": {
            "endpoint": "/v1/responses",
            "method": None,
            "stream": None,
            "size_bytes": None,
        },
        **dict.fromkeys(("response", "performance", "auth", "routing", "token_usage", "cost")),
    }

    assert taken(raw) == taken({"request": {"endpoint": "/v1/responses"}})


@pytest.mark.parametrize(
    ("group", "field", "bound"),
    [
        ("request", "endpoint", 1_024),
        ("request", "model", 1_024),
        ("request", "user_agent", 1_024),
        ("response", "error_message", 2_048),
        ("auth", "api_key_label", 1_024),
        ("routing", "backend", 1_024),
        ("cost", "currency", 1_024),
    ],
)
def test_text_is_cut_at_its_bound(group: str, field: str, bound: int) -> None:
    received = taken(with_group(group, **{field: "é" * (bound + 1)}))
    whole = taken(with_group(group, **{field: "é" * bound}))

    assert getattr(getattr(received, group), field) == "é" * bound
    assert received == whole


def test_mcp_servers_are_cut_in_number_and_length() -> None:
    received = taken(with_group("routing", mcp_servers=["s" * 2_000] * 100))

    assert received.routing.mcp_servers == ("s" * 1_024,) * 64


@pytest.mark.parametrize("field", ["error_message", "api_key_label", "api_key_id"])
def test_a_credential_that_the_cut_would_split_is_masked_first(field: str) -> None:
    bound = 2_048 if field == "error_message" else 1_024
    group = "response" if field == "error_message" else "auth"
    text = "." * (bound - 12) + "AIza" + "Q" * 35

    received = taken(with_group(group, **{field: text}))

    assert "AIza" not in getattr(getattr(received, group), field)


def test_a_raw_key_is_not_cut_for_its_hash_is_of_all_of_it() -> None:
    assert taken(with_group("auth", api_key="k" * 5_000)).auth.api_key == "k" * 5_000


def test_whole_floats_are_integers() -> None:
    received = taken(with_group("request", size_bytes=12.0, input_tokens=2.0**52))

    assert (received.request.size_bytes, received.request.input_tokens) == (12, 2**52)


def test_nul_and_half_surrogate_pairs_leave_text_that_every_store_holds() -> None:
    received = taken(with_group("request", model="a\0b\ud83dc", user_agent="\udc00"))

    assert (received.request.model, received.request.user_agent) == ("ab\ufffdc", "\ufffd")


def test_a_msgpack_timestamp_is_a_timestamp() -> None:
    raw = {"request": {"endpoint": "/"}, "timestamp": datetime(2024, 1, 1, tzinfo=UTC)}

    assert taken(raw).timestamp == 1_704_067_200


def test_unknown_fields_and_keys_that_are_no_text_are_dropped_at_every_level() -> None:
    raw = {
        "request": {"endpoint": "/", "messages": [{"content": "hi"}], 5: 1, None: 2},
        "choices": [1],
        7: {"a": 1},
        b"raw": 1,
        ("a",): 2,
        "\ud800": 3,
    }

    assert taken(raw) == taken({"request": {"endpoint": "/"}})


@pytest.mark.parametrize(
    ("group", "field", "value", "error"),
    [
        ("response", "status_code", 999, "response.status_code: 999 is not in 100–599"),
        ("response", "status_code", 99, "response.status_code: 99 is not in 100–599"),
        ("response", "status_code", -1, "response.status_code: -1 is not in 100–599"),
        ("request", "size_bytes", -1, "request.size_bytes: -1 is negative"),
        ("request", "size_bytes", 1.5, "request.size_bytes: 1.5 is not of type int"),
        ("request", "input_tokens", 1.5, "request.input_tokens: 1.5 is not of type int"),
        ("request", "size_bytes", 2**53 + 1, "request.size_bytes: 9007199254740993 is too large"),
        ("request", "size_bytes", 1e300, "request.size_bytes: 1e+300 is too large"),
        ("request", "size_bytes", 10**30, "request.size_bytes: 1e+30 is too large"),
        ("request", "size_bytes", True, "request.size_bytes: expected int, got bool"),
        ("request", "stream", 1, "request.stream: 1 is not of type bool"),
        ("request", "model", 5, "request.model: 5 is not of type str"),
        ("performance", "duration_ms", -0.5, "performance.duration_ms: -0.5 is negative"),
        ("performance", "duration_ms", 1e16, "performance.duration_ms: 1e+16 is too large"),
        (
            "performance",
            "ttfb_ms",
            math.nan,
            "performance.ttfb_ms: nan is not a finite number",
        ),
        (
            "cost",
            "total_cost",
            -math.inf,
            "cost.total_cost: -inf is not a finite number",
        ),
        (
            "token_usage",
            "prompt_tokens",
            10**400,
            "token_usage.prompt_tokens: inf is not a finite number",
        ),
    ],
)
def test_a_number_out_of_bounds_is_named_and_quoted(
    group: str, field: str, value: Any, error: str
) -> None:
    assert refused(with_group(group, **{field: value})) == error


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ({}, "request: is required"),
        ({"request": {}}, "request.endpoint: is required"),
        ({"request": "secret words"}, "request: expected object, got str"),
        ({"request": {"endpoint": ["secret"]}}, "request.endpoint: expected str, got array"),
        ({"request": {"endpoint": {"a": "secret"}}}, "request.endpoint: expected str, got object"),
        ({"request": {"endpoint": b"secret"}}, "request.endpoint: expected str, got bytes"),
        (with_group("request", size_bytes="secret"), "request.size_bytes: expected int, got str"),
        (
            with_group("routing", mcp_servers=["ok", {"secret": "secret"}]),
            "routing.mcp_servers.1: expected str, got object",
        ),
        ({**with_group("request"), "id": 5}, "id: 5 is not of type str"),
        ("secret", "an event must be an object, not text"),
        ([], "an event must be an object, not an array"),
        (None, "an event must be an object, not null"),
        (True, "an event must be an object, not a boolean"),
        (1.5, "an event must be an object, not a number"),
        (b"secret", "an event must be an object, not a value of another kind"),
    ],
)
def test_what_is_wrong_is_said_by_field_and_no_text_is_repeated(raw: Any, error: str) -> None:
    said = refused(raw)

    assert "secret" not in said
    assert said == error


def test_a_rejection_repeats_the_id_only_where_it_is_one() -> None:
    bad: dict[str, object] = {"request": {}}

    assert receive(0, {**bad, "id": "mine"}) == Rejection(
        0, "mine", "request.endpoint: is required"
    )
    for unusable in ("x" * 129, "a\nb", 5, ["mine"], ""):
        received = receive(0, {**bad, "id": unusable})
        assert isinstance(received, Rejection)
        assert received.id is None
