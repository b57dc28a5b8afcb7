"""From a queued event to the stored one: a visible list of small steps, each pure.

Ingest has checked and stripped the event already. What is left is to work out what the sender left
out, so that every store holds the same complete form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from shared.events import MAX_NUMBER, Event

from worker.pricing import PriceTable, price_event

Step = Callable[[Event], None]


def derive_success(event: Event) -> None:
    """A response without `success`: 200 ≤ status < 400."""
    if event.response is not None:
        event.response.success = event.response.succeeded


def derive_total_tokens(event: Event) -> None:
    """Usage without `total_tokens`: prompt and completion tokens together."""
    usage = event.token_usage
    if usage is not None and usage.total_tokens is None:
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens


def derive_tokens_per_second(event: Event) -> None:
    """A performance without its rate: output tokens ÷ duration, where both are known."""
    performance = event.performance
    if performance.tokens_per_second is None and performance.duration_ms > 0:
        tokens = event.output_tokens
        rate = None if tokens is None else tokens * 1_000 / performance.duration_ms
        # A duration of next to nothing gives a rate that would drown every average.
        if rate is not None and rate <= MAX_NUMBER:
            performance.tokens_per_second = rate


def derive_total_cost(event: Event) -> None:
    """A cost that the sender gave without its total: the sum of its parts."""
    cost = event.cost
    if cost is not None and cost.total_cost is None:
        cost.total_cost = cost.input_cost + cost.output_cost + (cost.cached_cost or 0.0)


STEPS: tuple[Step, ...] = (
    derive_success,
    derive_total_tokens,
    derive_tokens_per_second,
    derive_total_cost,
)


def steps_with(prices: PriceTable) -> tuple[Step, ...]:
    """All steps: the derivations, and what the request cost by these prices."""
    return (*STEPS, partial(price_event, table=prices))


def normalise(events: list[Event], steps: Sequence[Step] = STEPS) -> list[Event]:
    """Complete `events` in place and return them."""
    for event in events:
        for step in steps:
            step(event)
    return events
