"""A summary: what a cell of a rollup adds up."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from shared.events import Event
from shared.stores.histogram import bucket_of, pack_histogram


class Summary:
    """What a cell adds up. Every field is additive, so cells merge and events can be taken out."""

    __slots__ = (
        "cached_tokens",
        "cost",
        "duration_ms",
        "failed",
        "histogram",
        "input_tokens",
        "output_tokens",
        "rate",
        "rated",
        "reasoning_tokens",
        "requests",
        "successful",
        "unpriced",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.successful = 0
        self.failed = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.reasoning_tokens = 0
        self.unpriced = 0
        self.rated = 0
        self.cost = 0.0
        self.duration_ms = 0.0
        self.rate = 0.0
        self.histogram: dict[int, int] = {}

    def add_event(self, event: Event, sign: int = 1) -> None:
        """Add an event, or with `sign` -1 take it out."""
        self.add(figures_of(event, sign))

    def add(self, figures: tuple[tuple[float, ...], int, int]) -> None:
        """Add `NUMBERS`, and a count to a bucket of the histogram."""
        numbers, bucket, count = figures
        self._add_numbers(numbers)
        self.histogram[bucket] = self.histogram.get(bucket, 0) + count

    def merge(self, other: Summary) -> None:
        self._add_numbers(other.numbers())
        histogram = self.histogram
        for bucket, count in other.histogram.items():
            histogram[bucket] = histogram.get(bucket, 0) + count

    def _add_numbers(self, numbers: tuple[Any, ...]) -> None:
        # Written out: this runs several times for every event that is stored.
        (
            requests,
            successful,
            failed,
            input_tokens,
            output_tokens,
            cached_tokens,
            reasoning_tokens,
            unpriced,
            rated,
            cost,
            duration_ms,
            rate,
        ) = numbers
        self.requests += requests
        self.successful += successful
        self.failed += failed
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cached_tokens += cached_tokens
        self.reasoning_tokens += reasoning_tokens
        self.unpriced += unpriced
        self.rated += rated
        self.cost += cost
        self.duration_ms += duration_ms
        self.rate += rate

    def numbers(self) -> tuple[float, ...]:
        """All but the histogram, in the order of `NUMBERS`."""
        return _numbers(self)

    def packed_histogram(self) -> bytes:
        return pack_histogram(self.histogram)


COUNTS = (
    "requests",
    "successful",
    "failed",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "unpriced",
    "rated",
)
"""The integer fields of a summary."""
SUMS = ("cost", "duration_ms", "rate")
"""Its float fields."""
NUMBERS = COUNTS + SUMS
_numbers = attrgetter(*NUMBERS)


def figures_of(event: Event, sign: int) -> tuple[tuple[float, ...], int, int]:
    """What one event adds to each of its cells: `NUMBERS`, a histogram bucket, its count."""
    response, usage, performance = event.response, event.token_usage, event.performance
    succeeded = response is not None and response.succeeded
    cost, rate = event.total_cost, performance.tokens_per_second
    numbers = (
        sign,
        sign if succeeded else 0,
        sign if response is not None and not succeeded else 0,
        sign * (event.input_tokens or 0),
        sign * (event.output_tokens or 0),
        sign * (usage.cached_tokens or 0) if usage is not None else 0,
        sign * (usage.reasoning_tokens or 0) if usage is not None else 0,
        sign if cost is None else 0,
        0 if rate is None else sign,
        sign * (cost or 0.0),
        sign * performance.duration_ms,
        sign * (rate or 0.0),
    )
    return numbers, bucket_of(performance.duration_ms), sign
