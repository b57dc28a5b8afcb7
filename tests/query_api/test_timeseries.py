"""`GET /analytics/timeseries`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.query_api.server import QueryServer
from tests.stores.samples import DAY, HOUR, MINUTE, make_event

AT = 1_767_225_600
"""2026-01-01T00:00:00Z."""


def _requests(body: Any) -> dict[Any, int]:
    """Requests by the bucket's start, in seconds from AT, and by group where there is one."""
    return {
        (point["start"] - AT, point["group"]) if body["group_by"] else point["start"] - AT: point[
            "requests"
        ]
        for point in body["points"]
    }


def test_an_empty_point_has_zeros_and_nulls(query: QueryServer) -> None:
    assert query.get("timeseries", start=AT, end=AT + 60, interval="5m") == {
        "interval": "5m",
        "tz": "UTC",
        "group_by": None,
        "start": AT,
        "end": AT + 60,
        "points": [
            {
                "start": AT,
                "group": None,
                "requests": 0,
                "successful_requests": 0,
                "failed_requests": 0,
                "input_tokens": 0,
                "output_tokens": 0,
                "cost": 0.0,
                "unpriced_requests": 0,
                "avg_duration_ms": None,
                "latency_ms": {"p50": None, "p90": None, "p95": None, "p99": None, "max": None},
            }
        ],
    }


def test_a_point_has_the_figures_of_its_bucket(query: QueryServer) -> None:
    query.store.append(
        [
            make_event("a", AT + 60, tokens=(7, 3), cost=0.5, duration_ms=100),
            make_event("b", AT + 119, status=500, tokens=(1, 1), cost=None, duration_ms=300),
            make_event("c", AT + 119, status=None, tokens=None, cost=0.25, duration_ms=200),
        ]
    )
    point = query.get("timeseries", start=AT, end=AT + 180, interval="1m")["points"][1]

    assert point == {
        "start": AT + 60,
        "group": None,
        "requests": 3,
        "successful_requests": 1,
        "failed_requests": 1,
        "input_tokens": 8,
        "output_tokens": 4,
        "cost": 0.75,
        "unpriced_requests": 1,
        "avg_duration_ms": 200.0,
        "latency_ms": {"p50": 200.0, "p90": 300.0, "p95": 300.0, "p99": 300.0, "max": 300.0},
    }


@pytest.mark.parametrize(
    ("interval", "length"),
    [("1m", MINUTE), ("5m", 5 * MINUTE), ("15m", 15 * MINUTE), ("1h", HOUR), ("1d", DAY)],
)
def test_every_bucket_of_the_range_is_there(query: QueryServer, interval: str, length: int) -> None:
    query.store.append([make_event("a", AT + 1), make_event("b", AT + 3 * length)])
    body = query.get("timeseries", start=AT + 1, end=AT + 4 * length, interval=interval)

    assert body["interval"] == interval
    assert _requests(body) == {0: 1, length: 0, 2 * length: 0, 3 * length: 1, 4 * length: 0}


def test_hours_are_the_default_interval(query: QueryServer) -> None:
    body = query.get("timeseries", start=AT, end=AT + HOUR)

    assert body["interval"] == "1h"
    assert list(_requests(body)) == [0, HOUR]


def test_the_first_and_the_last_bucket_count_what_is_in_the_range(query: QueryServer) -> None:
    query.store.append([make_event(str(n), AT + n) for n in range(0, 300, 10)])
    body = query.get("timeseries", start=AT + 30, end=AT + 250, interval="1m")

    assert _requests(body) == {0: 3, 60: 6, 120: 6, 180: 6, 240: 2}


def test_each_bucket_has_a_point_for_each_group_of_the_range(query: QueryServer) -> None:
    query.store.append(
        [
            make_event("a", AT, model="m1"),
            make_event("b", AT + 60, model="m2"),
            make_event("c", AT + 130, model=None),
            make_event("d", AT + 999, model="outside"),
        ]
    )
    body = query.get("timeseries", start=AT, end=AT + 150, interval="1m", group_by="model")

    assert body["group_by"] == "model"
    assert list(_requests(body).items()) == [
        ((0, None), 0),
        ((0, "m1"), 1),
        ((0, "m2"), 0),
        ((60, None), 0),
        ((60, "m1"), 0),
        ((60, "m2"), 1),
        ((120, None), 1),
        ((120, "m1"), 0),
        ((120, "m2"), 0),
    ]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("endpoint", ["/v1/chat/completions"]),
        ("backend", ["openai"]),
        ("api_key_id", [None, "key_1"]),
        ("status_code", [None, 200, 404]),
        ("success", [None, False, True]),
        ("upstream_mode", ["chat"]),
        ("stream", [False, True]),
    ],
)
def test_any_filter_can_be_what_is_grouped_by(
    query: QueryServer, name: str, groups: list[Any]
) -> None:
    query.store.append(
        [
            make_event("a", AT, status=200, stream=True),
            make_event("b", AT, status=404, api_key_id="key_1"),
            make_event("c", AT, status=None),
        ]
    )
    body = query.get("timeseries", start=AT, end=AT, group_by=name)

    assert [point["group"] for point in body["points"]] == groups


def test_grouped_by_nothing_is_one_series(query: QueryServer) -> None:
    query.store.append([make_event("a", AT, model="m1"), make_event("b", AT, model="m2")])
    body = query.get("timeseries", start=AT, end=AT, group_by="none")

    assert body["group_by"] is None
    assert _requests(body) == {0: 2}


def test_a_range_without_events_has_no_groups(query: QueryServer) -> None:
    assert query.get("timeseries", start=AT, end=AT + 60, group_by="model")["points"] == []


def test_days_are_those_of_the_zone(query: QueryServer) -> None:
    # Berlin's 29 March 2026 has 23 hours: from 23:00 UTC to 22:00 UTC.
    march = 1_774_738_800
    offsets = (-1, 0, 23 * HOUR - 1, 23 * HOUR)
    query.store.append([make_event(str(n), march + offset) for n, offset in enumerate(offsets)])
    body = query.get(
        "timeseries", start=march - 9, end=march + DAY, interval="1d", tz="Europe/Berlin"
    )

    assert body["tz"] == "Europe/Berlin"
    assert [(point["start"] - march, point["requests"]) for point in body["points"]] == [
        (-DAY, 1),
        (0, 2),
        (23 * HOUR, 1),
    ]


def test_intervals_under_a_day_are_utcs_and_say_so(query: QueryServer) -> None:
    body = query.get("timeseries", start=AT, end=AT, interval="1h", tz="Asia/Kolkata")

    assert (body["tz"], body["points"][0]["start"]) == ("UTC", AT)


def test_five_thousand_points_are_the_most(query: QueryServer) -> None:
    last = AT + 5_000 * MINUTE - 1
    body = query.get("timeseries", start=AT, end=last, interval="1m")
    assert len(body["points"]) == 5_000

    assert query.refusal("timeseries", f"start={AT}&end={last + 1}&interval=1m") == (
        400,
        "interval",
    )
    assert query.refusal("timeseries", "start=0&end=253402300799&interval=1d") == (400, "interval")


def test_groups_count_towards_the_most_points(query: QueryServer) -> None:
    query.store.append([make_event(f"{n}", AT, model=f"m{n}") for n in range(101)])
    fine, over = AT + 49 * MINUTE - 1, AT + 50 * MINUTE - 1
    body = query.get("timeseries", start=AT, end=fine, interval="1m", group_by="model")
    assert len(body["points"]) == 49 * 101

    wrong = f"start={AT}&end={over}&interval=1m&group_by=model"
    assert query.refusal("timeseries", wrong) == (400, "group_by")


@pytest.mark.parametrize(
    "wrong",
    [
        "interval=2h",
        "interval=",
        "interval=1m&interval=1m",
        "group_by=id",
        "group_by=model&group_by=stream",
        "tz=Mars/Olympus",
        "tz=Europe",
        "tz=../../etc/passwd",
        "tz=/etc/passwd",
        "tz=",
        f"tz={'x' * 300}",
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(query: QueryServer, wrong: str) -> None:
    assert query.refusal("timeseries", wrong) == (400, wrong.partition("=")[0])


def test_the_calendars_last_day_is_refused_where_no_day_follows(query: QueryServer) -> None:
    wrong = "start=253402300799&end=253402300799&interval=1d&tz=Pacific/Kiritimati"
    assert query.refusal("timeseries", wrong) == (400, "end")
