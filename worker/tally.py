"""The tally: what a batch adds to the traffic counters.

A store tells how many events of an append were new, not which. All or none is what nearly every
append says, and then the tally is exact. In a batch that mixes new events with repeats, repeats
within the batch are found by their ids; of the others the newest in the stream's order are taken
for the new ones, which is right for what was delivered again and a guess for what was sent again.
Their number is right in any case.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from shared.events import Event
from shared.traffic import DURATION_BOUNDS_MS, MAX_LABEL, OTHER, UNKNOWN, Labels, Sums, Traffic

MAX_COMBINATIONS = 256
"""Combinations of labels that one batch is counted by. What is beyond is rare in it."""


class Tally:
    """Sums over the events of one batch, by model, endpoint and backend."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str | None, str, str], Sums] = {}

    def add(self, events: Sequence[Event]) -> None:
        for event in events:
            request = event.request
            labels = (request.model, request.endpoint, event.routing.backend)
            sums = self._sums.get(labels)
            if sums is None:
                sums = self._sums[labels] = Sums()
            _add(sums, event)

    def traffic(self) -> Traffic:
        """The sums, the largest first; past MAX_COMBINATIONS they are those of other models."""
        merged: dict[Labels, Sums] = {}
        largest = sorted(self._sums.items(), key=lambda item: item[1].requests, reverse=True)
        for place, (labels, sums) in enumerate(largest):
            named = _named(*labels)
            if place >= MAX_COMBINATIONS:
                named = (OTHER, *named[1:])
            if len(merged) >= 2 * MAX_COMBINATIONS and named not in merged:
                named = (OTHER, OTHER, OTHER)
            if named in merged:
                _merge(merged[named], sums)
            else:
                merged[named] = sums
        return list(merged.items())


def newly_written(events: Sequence[Event], new: int) -> Sequence[Event]:
    """The events of an append that are taken for the new ones, where the store says how many."""
    if new == len(events):
        return events
    return list({event.id: event for event in reversed(events)}.values())[:new]


def _add(sums: Sums, event: Event) -> None:
    sums.requests += 1
    response, usage, cost = event.response, event.token_usage, event.total_cost
    if response is not None and not response.succeeded:
        sums.errors += 1
    sums.input_tokens += event.input_tokens or 0
    sums.output_tokens += event.output_tokens or 0
    if usage is not None:
        sums.cached_tokens += usage.cached_tokens or 0
    if cost is None:
        sums.unpriced += 1
    else:
        sums.cost += cost
    duration = event.performance.duration_ms
    sums.duration_ms += duration
    sums.buckets[bisect_left(DURATION_BOUNDS_MS, duration)] += 1


def _named(*values: str | None) -> Labels:
    model, endpoint, backend = ((value or UNKNOWN)[:MAX_LABEL] for value in values)
    return (model, endpoint, backend)


def _merge(into: Sums, other: Sums) -> None:
    for name in Sums.__struct_fields__[:-1]:
        setattr(into, name, getattr(into, name) + getattr(other, name))
    into.buckets = [a + b for a, b in zip(into.buckets, other.buckets, strict=True)]
