"""`GET /analytics/top`."""

from __future__ import annotations

from typing import Any

import pytest

from shared.stores.base import DIMENSIONS, dimension_of
from tests.query_api.server import QueryServer
from tests.stores.samples import make_event, varied_events

AT = 1_767_225_600
RANGE = {"start": AT, "end": AT + 999}


def _values(query: QueryServer, **params: Any) -> list[Any]:
    return [group["value"] for group in query.get("top", **RANGE, **params)["groups"]]


def test_an_empty_range_has_no_groups(query: QueryServer) -> None:
    assert query.get("top", **RANGE) == {
        "by": "model",
        "sort": "requests",
        **RANGE,
        "total_groups": 0,
        "groups": [],
    }


def test_a_group_has_the_figures_of_its_events(query: QueryServer) -> None:
    query.store.append(
        [
            make_event("a", AT, model="m1", tokens=(7, 3), cost=0.5, duration_ms=100),
            make_event("b", AT + 9, model="m1", status=500, tokens=(1, 1), cost=None),
            make_event("c", AT + 999, model="m1", status=None, cost=0.25, duration_ms=200),
            make_event("d", AT, model=None),
            make_event("early", AT - 1, model="m1"),
            make_event("late", AT + 1_000, model="m1"),
        ]
    )
    body = query.get("top", **RANGE)

    assert body["total_groups"] == 2
    assert body["groups"][0] == {
        "value": "m1",
        "requests": 3,
        "successful_requests": 1,
        "failed_requests": 1,
        "input_tokens": 18,
        "output_tokens": 9,
        "cost": 0.75,
        "unpriced_requests": 1,
        "avg_duration_ms": pytest.approx(400 / 3),
        "latency_ms": {"p50": 100.0, "p90": 200.0, "p95": 200.0, "p99": 200.0, "max": 200.0},
    }
    assert body["groups"][1]["value"] is None


@pytest.mark.parametrize("by", DIMENSIONS)
def test_any_filter_can_be_what_groups_are_of(query: QueryServer, by: str) -> None:
    events = varied_events(80, start=AT, end=AT + 999)
    query.store.append(events)
    counts: dict[Any, int] = {}
    for event in events:
        value = dimension_of(event, by)  # type: ignore[arg-type]
        counts[value] = counts.get(value, 0) + 1
    body = query.get("top", **RANGE, by=by)

    assert {group["value"]: group["requests"] for group in body["groups"]} == counts
    assert body["total_groups"] == len(counts)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("requests", ["many", "dear", "failing", "slow"]),
        ("cost", ["dear", "failing", "many", "slow"]),
        ("tokens", ["slow", "many", "dear", "failing"]),
        ("errors", ["failing", "dear", "many", "slow"]),
        ("avg_duration", ["slow", "many", "failing", "dear"]),
        ("p95", ["many", "slow", "failing", "dear"]),
    ],
)
def test_groups_come_with_the_most_of_what_they_are_sorted_by_first(
    query: QueryServer, sort: str, expected: list[str]
) -> None:
    query.store.append(
        [
            make_event("m1", AT, model="many", duration_ms=900, cost=0.1),
            make_event("m2", AT, model="many", duration_ms=20, cost=0.1),
            make_event("m3", AT, model="many", duration_ms=20, cost=0.1),
            make_event("d1", AT, model="dear", cost=9, duration_ms=100),
            make_event("d2", AT, model="dear", cost=9, duration_ms=100, tokens=(1, 1)),
            make_event("f", AT, model="failing", status=500, cost=1, duration_ms=200, tokens=None),
            make_event("s", AT, model="slow", duration_ms=800, tokens=(10, 99), cost=0.2),
        ]
    )
    assert _values(query, sort=sort) == expected


def test_the_limit_cuts_the_groups_and_not_their_number(query: QueryServer) -> None:
    query.store.append([make_event(str(n), AT, model=f"m{n:02}") for n in range(12)])

    assert _values(query) == [f"m{n:02}" for n in range(10)]
    assert _values(query, limit=3) == ["m00", "m01", "m02"]
    assert _values(query, limit=0) == []
    assert len(_values(query, limit=1_000)) == 12
    assert query.get("top", **RANGE, limit=3)["total_groups"] == 12


@pytest.mark.parametrize(
    "wrong", ["by=id", "by=none", "by=", "sort=slowest", "limit=1001", "limit=-1", "limit=ten"]
)
def test_a_wrong_parameter_is_refused_by_its_name(query: QueryServer, wrong: str) -> None:
    assert query.refusal("top", wrong) == (400, wrong.partition("=")[0])
