"""Each step of the normalisation: what it works out, and what it leaves alone."""

from typing import Any

import pytest

from shared.events import Cost, Event, Performance, Request, Response, TokenUsage
from worker.normalise import (
    derive_success,
    derive_tokens_per_second,
    derive_total_cost,
    derive_total_tokens,
    normalise,
)


def make(**parts: Any) -> Event:
    return Event(id="e", timestamp=1_700_000_000, request=Request("/v1/chat/completions"), **parts)


@pytest.mark.parametrize(
    ("status", "success"),
    [(199, False), (200, True), (302, True), (399, True), (400, False), (500, False)],
)
def test_success_follows_the_status_where_the_sender_left_it_out(
    status: int, success: bool
) -> None:
    event = make(response=Response(status_code=status))
    derive_success(event)
    assert event.response is not None
    assert event.response.success is success


@pytest.mark.parametrize("success", [True, False])
def test_a_success_that_was_sent_stays(success: bool) -> None:
    event = make(response=Response(status_code=500 if success else 200, success=success))
    derive_success(event)
    assert event.response is not None
    assert event.response.success is success


def test_a_missing_response_stays_missing() -> None:
    assert normalise([make()])[0].response is None


def test_total_tokens_is_the_sum_where_it_was_left_out() -> None:
    event = make(token_usage=TokenUsage(prompt_tokens=7, completion_tokens=5, reasoning_tokens=3))
    derive_total_tokens(event)
    assert event.token_usage is not None
    assert event.token_usage.total_tokens == 12


def test_total_tokens_that_were_sent_stay() -> None:
    event = make(token_usage=TokenUsage(prompt_tokens=7, completion_tokens=5, total_tokens=99))
    derive_total_tokens(event)
    assert event.token_usage is not None
    assert event.token_usage.total_tokens == 99


def test_the_rate_is_output_tokens_over_duration() -> None:
    event = make(
        performance=Performance(duration_ms=500), token_usage=TokenUsage(completion_tokens=20)
    )
    derive_tokens_per_second(event)
    assert event.performance.tokens_per_second == 40.0


def test_the_rate_takes_the_response_tokens_where_there_is_no_usage() -> None:
    event = make(
        performance=Performance(duration_ms=2_000),
        response=Response(status_code=200, output_tokens=10),
    )
    derive_tokens_per_second(event)
    assert event.performance.tokens_per_second == 5.0


@pytest.mark.parametrize(
    "parts",
    [
        {"performance": Performance(duration_ms=0), "token_usage": TokenUsage()},
        {"performance": Performance(duration_ms=100)},
        {
            "performance": Performance(duration_ms=5e-324),
            "token_usage": TokenUsage(completion_tokens=2**53),
        },
    ],
    ids=["no duration", "no tokens", "a duration of next to nothing"],
)
def test_there_is_no_rate_without_a_basis(parts: dict[str, Any]) -> None:
    event = make(**parts)
    derive_tokens_per_second(event)
    assert event.performance.tokens_per_second is None


def test_a_rate_that_was_sent_stays() -> None:
    event = make(
        performance=Performance(duration_ms=500, tokens_per_second=1.5),
        token_usage=TokenUsage(completion_tokens=20),
    )
    derive_tokens_per_second(event)
    assert event.performance.tokens_per_second == 1.5


def test_total_cost_is_the_sum_of_its_parts_where_it_was_left_out() -> None:
    event = make(cost=Cost(input_cost=0.25, output_cost=0.5, cached_cost=0.125))
    derive_total_cost(event)
    assert event.total_cost == 0.875


def test_a_total_cost_that_was_sent_stays() -> None:
    event = make(cost=Cost(input_cost=0.25, output_cost=0.5, total_cost=0.0))
    derive_total_cost(event)
    assert event.total_cost == 0.0


def test_normalising_twice_changes_nothing_more() -> None:
    event = make(
        response=Response(status_code=404),
        performance=Performance(duration_ms=10),
        token_usage=TokenUsage(prompt_tokens=1, completion_tokens=2),
        cost=Cost(input_cost=1.0),
    )
    once = repr(normalise([event]))
    assert repr(normalise([event])) == once
