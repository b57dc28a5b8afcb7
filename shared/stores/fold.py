"""Figures worked out in plain Python, event by event: exact, and one pass.

The memory store answers with these, and they are what the other stores are compared with.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from shared.events import Event
from shared.stores.base import Aggregate, Dimension, DimensionValue, Latency, Point, dimension_of


def nearest_rank(ordered: Sequence[float], p: float) -> float | None:
    """The value at rank ⌈p·n⌉ of `ordered`, ascending; None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(p * len(ordered)) - 1)]


def latency_of(durations: list[float]) -> Latency:
    durations.sort()
    return Latency(
        p50=nearest_rank(durations, 0.50),
        p90=nearest_rank(durations, 0.90),
        p95=nearest_rank(durations, 0.95),
        p99=nearest_rank(durations, 0.99),
        max=durations[-1] if durations else None,
    )


def fold_aggregate(events: Iterable[Event]) -> Aggregate:
    """The aggregate of `events`."""
    total = Aggregate()
    models: Counter[str] = Counter()
    endpoints: Counter[str] = Counter()
    backends: Counter[str] = Counter()
    durations: list[float] = []
    rates: list[float] = []
    for event in events:
        total.total_requests += 1
        _add_outcome(total, event)
        _add_cost(total, event)
        total.total_input_tokens += event.input_tokens or 0
        total.total_output_tokens += event.output_tokens or 0
        if (usage := event.token_usage) is not None:
            total.total_cached_tokens += usage.cached_tokens or 0
            total.total_reasoning_tokens += usage.reasoning_tokens or 0
        if (model := event.request.model) is not None:
            models[model] += 1
        endpoints[event.request.endpoint] += 1
        backends[event.routing.backend] += 1
        durations.append(event.performance.duration_ms)
        if (rate := event.performance.tokens_per_second) is not None:
            rates.append(rate)
    total.models_used = dict(models)
    total.endpoints_hit = dict(endpoints)
    total.backends_used = dict(backends)
    if durations:
        total.avg_duration_ms = math.fsum(durations) / len(durations)
    if rates:
        total.avg_tokens_per_second = math.fsum(rates) / len(rates)
    total.latency_ms = latency_of(durations)
    return total


def _add_outcome(total: Aggregate, event: Event) -> None:
    if event.response is None:
        return
    if event.response.succeeded:
        total.successful_requests += 1
    else:
        total.failed_requests += 1


def _add_cost(total: Aggregate, event: Event) -> None:
    cost = event.total_cost
    if cost is None:
        total.unpriced_requests += 1
        return
    total.total_cost += cost
    if (model := event.request.model) is not None:
        total.cost_by_model[model] = total.cost_by_model.get(model, 0.0) + cost


def fold_timeseries(
    events: Iterable[Event], edges: Sequence[int], group_by: Dimension | None
) -> list[Point]:
    """The points of `events`; those outside `edges` are left out."""
    points: dict[tuple[int, DimensionValue], Point] = {}
    durations: dict[tuple[int, DimensionValue], list[float]] = {}
    for event in events:
        bucket = bisect_right(edges, event.timestamp) - 1
        if not 0 <= bucket < len(edges) - 1:
            continue
        group = dimension_of(event, group_by) if group_by else None
        key = (bucket, group)
        if key not in points:
            points[key] = Point(start=edges[bucket], group=group)
            durations[key] = []
        _add_to_point(points[key], event)
        durations[key].append(event.performance.duration_ms)
    for key, point in points.items():
        point.avg_duration_ms = math.fsum(durations[key]) / len(durations[key])
        point.latency_ms = latency_of(durations[key])
    return sorted(points.values(), key=point_order)


def point_order(point: Point) -> tuple[int, str]:
    """The order of points: by start, then by the group's text."""
    return (point.start, "" if point.group is None else str(point.group))


def _add_to_point(point: Point, event: Event) -> None:
    point.requests += 1
    if event.response is not None:
        if event.response.succeeded:
            point.successful_requests += 1
        else:
            point.failed_requests += 1
    point.input_tokens += event.input_tokens or 0
    point.output_tokens += event.output_tokens or 0
    if event.total_cost is None:
        point.unpriced_requests += 1
    else:
        point.cost += event.total_cost
