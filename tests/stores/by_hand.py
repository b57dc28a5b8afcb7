"""Answers worked out in plain Python from the full list of events, as their JSON objects.

Written from what the service promises, with nothing of the stores: it is what they are held
against.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

Json = dict[str, Any]
Wanted = Mapping[str, Sequence[Any]]
"""Filter to the values of it that are asked for."""


def _of_response(name: str) -> Callable[[Json], Any]:
    return lambda event: event["response"] and event["response"][name]


VALUES: dict[str, Callable[[Json], Any]] = {
    "model": lambda event: event["request"]["model"],
    "endpoint": lambda event: event["request"]["endpoint"],
    "backend": lambda event: event["routing"]["backend"],
    "api_key_id": lambda event: event["auth"]["api_key_id"],
    "status_code": _of_response("status_code"),
    "success": lambda event: succeeded(event),
    "upstream_mode": lambda event: event["routing"]["upstream_mode"],
    "stream": lambda event: event["request"]["stream"],
}
LENGTHS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600}


def succeeded(event: Json) -> bool | None:
    response = event["response"]
    if response is None:
        return None
    told = response["success"]
    return 200 <= response["status_code"] < 400 if told is None else bool(told)


def chosen(events: Iterable[Json], start: int, end: int, wanted: Wanted) -> list[Json]:
    return [
        event
        for event in events
        if start <= event["timestamp"] <= end
        and all(VALUES[name](event) in values for name, values in wanted.items())
    ]


def aggregate(events: Sequence[Json], start: int, end: int) -> Json:
    rates = [rate for e in events if (rate := e["performance"]["tokens_per_second"]) is not None]
    costs: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if event["request"]["model"] is not None and _cost(event) is not None:
            costs[event["request"]["model"]] += _cost(event) or 0
    plain = _figures(events)
    return {
        "total_requests": plain["requests"],
        "successful_requests": plain["successful_requests"],
        "failed_requests": plain["failed_requests"],
        "total_input_tokens": plain["input_tokens"],
        "total_output_tokens": plain["output_tokens"],
        "avg_duration_ms": plain["avg_duration_ms"] or 0.0,
        "models_used": _counts(events, "model"),
        "endpoints_hit": _counts(events, "endpoint"),
        "backends_used": _counts(events, "backend"),
        "period_start": start,
        "period_end": end,
        "total_cached_tokens": _usage(events, "cached_tokens"),
        "total_reasoning_tokens": _usage(events, "reasoning_tokens"),
        "avg_tokens_per_second": sum(rates) / len(rates) if rates else None,
        "total_cost": plain["cost"],
        "cost_by_model": dict(costs),
        "unpriced_requests": plain["unpriced_requests"],
        "latency_ms": plain["latency_ms"],
    }


def timeseries(
    events: Sequence[Json], start: int, end: int, interval: str, group_by: str | None, tz: str
) -> list[Json]:
    value = VALUES[group_by] if group_by else lambda event: None
    groups = sorted({value(event) for event in events}, key=lambda v: (v is not None, str(v)))
    buckets: defaultdict[tuple[int, Any], list[Json]] = defaultdict(list)
    for event in events:
        buckets[_bucket(event["timestamp"], interval, tz), value(event)].append(event)
    return [
        {"start": first, "group": group, **_figures(buckets[first, group])}
        for first in _buckets(start, end, interval, tz)
        for group in (groups if group_by else [None])
    ]


def percentile(durations: Sequence[float], share: float) -> float:
    """By nearest rank."""
    return sorted(durations)[ceil(share * len(durations) - 1e-9) - 1]


def latency(durations: Sequence[float]) -> Json:
    shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: percentile(durations, p) if durations else None for name, p in shares.items()}


def _figures(events: Sequence[Json]) -> Json:
    outcomes = [succeeded(event) for event in events]
    durations = [event["performance"]["duration_ms"] for event in events]
    costs = [_cost(event) for event in events]
    return {
        "requests": len(events),
        "successful_requests": outcomes.count(True),
        "failed_requests": outcomes.count(False),
        "input_tokens": sum(_input_tokens(event) for event in events),
        "output_tokens": sum(_output_tokens(event) for event in events),
        "cost": float(sum(cost or 0 for cost in costs)),
        "unpriced_requests": costs.count(None),
        "avg_duration_ms": sum(durations) / len(durations) if durations else None,
        "latency_ms": latency(durations),
    }


def _cost(event: Json) -> float | None:
    return None if event["cost"] is None else event["cost"]["total_cost"]


def _input_tokens(event: Json) -> int:
    usage = event["token_usage"]
    return int((usage["prompt_tokens"] if usage else event["request"]["input_tokens"]) or 0)


def _output_tokens(event: Json) -> int:
    if usage := event["token_usage"]:
        return int(usage["completion_tokens"])
    return int((event["response"] and event["response"]["output_tokens"]) or 0)


def _usage(events: Sequence[Json], name: str) -> int:
    return sum((event["token_usage"] or {}).get(name) or 0 for event in events)


def _counts(events: Sequence[Json], name: str) -> dict[str, int]:
    return dict(Counter(v for event in events if (v := VALUES[name](event)) is not None))


def _bucket(timestamp: int, interval: str, tz: str) -> int:
    if interval != "1d":
        return timestamp - timestamp % LENGTHS[interval]
    local = datetime.fromtimestamp(timestamp, ZoneInfo(tz))
    return int(local.replace(hour=0, minute=0, second=0, fold=0).timestamp())


def _buckets(start: int, end: int, interval: str, tz: str) -> list[int]:
    if interval != "1d":
        length = LENGTHS[interval]
        return list(range(start // length * length, end + 1, length))
    zone = ZoneInfo(tz)
    day, last = (datetime.fromtimestamp(moment, zone).date() for moment in (start, end))
    days = (day + timedelta(days=n) for n in range((last - day).days + 1))
    return [int(datetime(d.year, d.month, d.day, tzinfo=zone).timestamp()) for d in days]
