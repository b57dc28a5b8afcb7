"""`GET /analytics/stats` and `GET /analytics/aggregate`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.query_api.server import QueryServer
from tests.stores.samples import make_event

AT = 1_767_225_600


def test_stats_of_an_empty_store(query: QueryServer) -> None:
    assert query.get("stats") == {
        "total_events": 0,
        "backend_type": "jsonl",
        "ttl_seconds": None,
        "max_events": None,
        "oldest_timestamp": None,
        "newest_timestamp": None,
        "size_bytes": 0,
    }


def test_stats_tell_what_the_store_holds(query: QueryServer) -> None:
    query.store.append([make_event("a", AT + 5), make_event("b", AT), make_event("c", AT + 9)])
    body = query.get("stats")

    assert body["total_events"] == 3
    assert (body["oldest_timestamp"], body["newest_timestamp"]) == (AT, AT + 9)
    assert body["size_bytes"] == query.path.stat().st_size


def test_a_ttl_shows_in_stats_and_ends_events_in_every_answer(tmp_path: Path) -> None:
    now = int(time.time())
    with QueryServer(tmp_path, TTL_SECONDS="600") as query:
        query.store.append([make_event("ended", now - 700), make_event("alive", now - 60)])

        stats = query.get("stats")
        assert (stats["ttl_seconds"], stats["total_events"]) == (600, 1)
        assert query.get("aggregate")["total_requests"] == 1
        assert [event["id"] for event in query.get("events")["events"]] == ["alive"]
        assert query.get("export")["count"] == 1
        assert sum(p["requests"] for p in query.get("timeseries")["points"]) == 1


def test_an_empty_range_has_zeros_and_nulls(query: QueryServer) -> None:
    assert query.get("aggregate", start=AT, end=AT + 60) == {
        "total_requests": 0,
        "successful_requests": 0,
        "failed_requests": 0,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "avg_duration_ms": 0.0,
        "models_used": {},
        "endpoints_hit": {},
        "backends_used": {},
        "period_start": AT,
        "period_end": AT + 60,
        "total_cached_tokens": 0,
        "total_reasoning_tokens": 0,
        "avg_tokens_per_second": None,
        "total_cost": 0.0,
        "cost_by_model": {},
        "unpriced_requests": 0,
        "latency_ms": {"p50": None, "p90": None, "p95": None, "p99": None, "max": None},
    }


def test_an_aggregate_counts_and_adds_what_its_range_holds(query: QueryServer) -> None:
    plain = make_event("plain", AT, model="m1", duration_ms=100, rate=50.0, cost=0.5)
    assert plain.token_usage is not None
    plain.token_usage.cached_tokens = 4
    plain.token_usage.reasoning_tokens = 2
    failed = make_event("failed", AT + 1, model="m2", status=500, duration_ms=300, cost=None)
    told = make_event("told", AT + 2, model="m1", status=500, success=True, tokens=None, cost=0.25)
    told.request.input_tokens = 7
    assert told.response is not None
    told.response.output_tokens = 3
    silent = make_event("silent", AT + 3, model=None, status=None, tokens=None, cost=None)
    outside = make_event("outside", AT + 61)
    query.store.append([plain, failed, told, silent, outside])

    assert query.get("aggregate", start=AT, end=AT + 60) == {
        "total_requests": 4,
        "successful_requests": 2,
        "failed_requests": 1,
        "total_input_tokens": 27,
        "total_output_tokens": 13,
        "avg_duration_ms": 150.0,
        "models_used": {"m1": 2, "m2": 1},
        "endpoints_hit": {"/v1/chat/completions": 4},
        "backends_used": {"openai": 4},
        "period_start": AT,
        "period_end": AT + 60,
        "total_cached_tokens": 4,
        "total_reasoning_tokens": 2,
        "avg_tokens_per_second": 50.0,
        "total_cost": pytest.approx(0.75),
        "cost_by_model": {"m1": pytest.approx(0.75)},
        "unpriced_requests": 2,
        "latency_ms": {"p50": 100.0, "p90": 300.0, "p95": 300.0, "p99": 300.0, "max": 300.0},
    }
