"""What the endpoints of a range share: start, end, the filters, and what they refuse."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared.stores.base import DIMENSIONS, dimension_of
from tests.query_api.server import QueryServer
from tests.stores.samples import DAY, HOUR, make_event, varied_events

RANGED = ["events", "aggregate", "export", "timeseries", "top"]
AT = 1_767_225_600
"""2026-01-01T00:00:00Z."""


def _period(path: str, body: Any) -> tuple[int, int]:
    if path == "aggregate":
        return body["period_start"], body["period_end"]
    if path == "export":
        return body["period"]["start"], body["period"]["end"]
    return body["start"], body["end"]


def _ids(query: QueryServer, **params: Any) -> list[str]:
    return sorted(event["id"] for event in query.get("events", **params)["events"])


@pytest.mark.parametrize("path", RANGED)
def test_the_default_range_ends_now(query: QueryServer, path: str) -> None:
    span = DAY if path == "export" else HOUR
    before = int(time.time())
    start, end = _period(path, query.get(path))

    assert before <= end <= time.time()
    assert start == end - span


@pytest.mark.parametrize("path", RANGED)
def test_the_default_start_is_a_span_before_the_given_end(query: QueryServer, path: str) -> None:
    span = DAY if path == "export" else HOUR

    assert _period(path, query.get(path, end=AT)) == (AT - span, AT)
    assert _period(path, query.get(path, end=10)) == (0, 10)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1767225600", AT),
        ("2026-01-01T00:00:00Z", AT),
        ("2026-01-01T00:00:00%2B00:00", AT),
        ("2026-01-01T00:00:00%2B01:00", AT - HOUR),
        # A plus sign that the client did not encode arrives as a space.
        ("2026-01-01T00:00:00+01:00", AT - HOUR),
        ("2026-01-01T00:00:00+0530", AT - 5 * HOUR - 1_800),
        ("2025-12-31T19:00:00-05:00", AT),
        ("2026-01-01%2000:00:00Z", AT),
        ("2026-01-01T00:00Z", AT),
        ("2026-01-01T00:00:00.999Z", AT),
    ],
)
def test_a_time_is_unix_seconds_or_iso_8601(query: QueryServer, text: str, seconds: int) -> None:
    body = query.http.get(f"/analytics/events?start={text}&end={AT + DAY}").json()
    assert body["start"] == seconds


@pytest.mark.parametrize("path", RANGED)
def test_both_ends_of_the_range_are_within_it(query: QueryServer, path: str) -> None:
    query.store.append([make_event(str(n), AT + n) for n in range(-1, 12)])
    body = query.get(path, start=AT, end=AT + 10)

    if path == "aggregate":
        assert body["total_requests"] == 11
    elif path == "timeseries":
        assert sum(point["requests"] for point in body["points"]) == 11
    elif path == "top":
        assert [group["requests"] for group in body["groups"]] == [11]
    else:
        assert body["count"] == 11


@pytest.mark.parametrize("path", RANGED)
@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ("start=200&end=100", "start"),
        ("start=yesterday", "start"),
        ("end=1.5", "end"),
        ("end=-1", "end"),
        ("start=", "start"),
        ("end=2026-01-01T00:00:00", "end"),
        ("end=2026-01-01", "end"),
        ("end=2026-13-01T00:00:00Z", "end"),
        ("end=1767225600000", "end"),
        ("end=99999999999999999999999", "end"),
        ("end=%D9%A1", "end"),
        ("start=1&start=2", "start"),
        ("start=1&start=1", "start"),
        ("status_code=abc", "status_code"),
        ("status_code=99", "status_code"),
        ("status_code=600", "status_code"),
        ("success=maybe", "success"),
        ("stream=2", "stream"),
        ("model=%00", "model"),
        ("modle=gpt-4o", "modle"),
        ("Start=1", "Start"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(
    query: QueryServer, path: str, wrong: str, param: str
) -> None:
    assert query.refusal(path, wrong) == (400, param)


@pytest.mark.parametrize("path", ["stats", *RANGED])
def test_an_unknown_parameter_is_refused(query: QueryServer, path: str) -> None:
    assert query.refusal(path, "surprise=1") == (400, "surprise")


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/healthz/live"])
def test_an_unknown_parameter_is_refused_beside_the_questions_too(
    query: QueryServer, path: str
) -> None:
    answer = query.http.get(path, params={"surprise": "1"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "surprise")
    assert query.http.get(path).status_code == 200


def test_a_parameter_of_another_endpoint_is_unknown(query: QueryServer) -> None:
    assert query.refusal("stats", "start=1") == (400, "start")
    assert query.refusal("aggregate", "limit=5") == (400, "limit")
    assert query.refusal("export", "cursor=abc") == (400, "cursor")
    answer = query.http.post("/analytics/clear?sure=yes")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "sure")


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_filter_keeps_the_events_of_its_value(query: QueryServer, dimension: str) -> None:
    events = varied_events(80, start=AT, end=AT + 999)
    query.store.append(events)
    value = next(v for e in events if (v := dimension_of(e, dimension)) is not None)  # type: ignore[arg-type]
    expected = sorted(e.id for e in events if dimension_of(e, dimension) == value)  # type: ignore[arg-type]
    params = {"start": AT, "end": AT + 999, dimension: str(value)}

    assert _ids(query, **params) == expected
    assert query.get("aggregate", **params)["total_requests"] == len(expected)
    assert query.get("export", **params)["count"] == len(expected)
    points = query.get("timeseries", **params)["points"]
    assert sum(point["requests"] for point in points) == len(expected)
    groups = query.get("top", **params)["groups"]
    assert sum(group["requests"] for group in groups) == len(expected)


def test_a_repeated_filter_means_any_and_different_ones_mean_both(query: QueryServer) -> None:
    query.store.append(
        [
            make_event("a", AT, model="m1", status=200),
            make_event("b", AT, model="m2", status=200),
            make_event("c", AT, model="m3", status=200),
            make_event("d", AT, model="m1", status=500),
            make_event("e", AT, model=None, status=None),
        ]
    )

    def found(**filters: Any) -> list[str]:
        return _ids(query, start=AT, end=AT, **filters)

    assert found(model=["m1", "m2"]) == ["a", "b", "d"]
    assert found(model=["m1", "m2"], status_code=200) == ["a", "b"]
    assert found(model="m1", success="false") == ["d"]
    assert found(status_code=[200, 500], success="1", model=["m3", "m1"]) == ["a", "c"]
    assert found(model="M1") == []


def test_a_comma_is_part_of_a_filters_value(query: QueryServer) -> None:
    query.store.append([make_event("a", AT, model="a,b"), make_event("b", AT, model="a")])

    assert _ids(query, start=AT, end=AT, model="a,b") == ["a"]


def test_an_empty_filter_value_means_the_empty_text(query: QueryServer) -> None:
    query.store.append([make_event("a", AT, model=""), make_event("b", AT, model=None)])

    assert _ids(query, start=AT, end=AT, model="") == ["a"]
