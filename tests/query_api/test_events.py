"""`GET /analytics/events`."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from tests.query_api.server import QueryServer
from tests.stores.samples import extreme_events, make_event, varied_events

AT = 1_767_225_600
RANGE = {"start": AT, "end": AT + 9_999}


def _ids(body: Any) -> list[str]:
    return [event["id"] for event in body["events"]]


def _follow(query: QueryServer, **params: Any) -> list[str]:
    """The ids of every page, each asked for with the cursor of the one before."""
    body = query.get("events", **params)
    found = _ids(body)
    while body["next_cursor"]:
        body = query.get("events", **params, cursor=body["next_cursor"])
        found += _ids(body)
    return found


def test_an_empty_range_is_an_empty_page(query: QueryServer) -> None:
    assert query.get("events", start=AT, end=AT + 5) == {
        "events": [],
        "count": 0,
        "start": AT,
        "end": AT + 5,
        "next_cursor": None,
    }


def test_the_newest_event_comes_first_unless_asked_otherwise(query: QueryServer) -> None:
    query.store.append([make_event(name, AT + n) for n, name in ((2, "c"), (0, "a"), (1, "b"))])

    assert _ids(query.get("events", **RANGE)) == ["c", "b", "a"]
    assert _ids(query.get("events", **RANGE, order="desc")) == ["c", "b", "a"]
    assert _ids(query.get("events", **RANGE, order="asc")) == ["a", "b", "c"]


def test_an_event_is_answered_in_its_stored_form(query: QueryServer) -> None:
    events = extreme_events()
    query.store.append(events)
    body = query.get("events", start=0, end=2_000_000_000, limit=100)

    expected = {event.id: msgspec.to_builtins(event) for event in events}
    assert {event["id"]: event for event in body["events"]} == expected


def test_a_page_holds_a_thousand_events_unless_asked_otherwise(query: QueryServer) -> None:
    query.store.append([make_event(f"{n:05}", AT + n) for n in range(1_001)])
    body = query.get("events", **RANGE)

    assert body["count"] == len(body["events"]) == 1_000
    assert body["next_cursor"]
    assert query.get("events", **RANGE, limit=10_000)["count"] == 1_001


def test_limit_zero_gives_no_events(query: QueryServer) -> None:
    query.store.append([make_event("a", AT)])
    body = query.get("events", **RANGE, limit=0)

    assert (body["events"], body["count"], body["next_cursor"]) == ([], 0, None)


@pytest.mark.parametrize("limit", ["10001", "-1", "ten", "1e3", "", "5&limit=5"])
def test_a_limit_out_of_bounds_is_refused(query: QueryServer, limit: str) -> None:
    assert query.refusal("events", f"limit={limit}") == (400, "limit")


@pytest.mark.parametrize("order", ["up", "ASC", ""])
def test_an_unknown_order_is_refused(query: QueryServer, order: str) -> None:
    assert query.refusal("events", f"order={order}") == (400, "order")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 40, 41])
def test_following_the_cursor_gives_each_event_once(
    query: QueryServer, order: str, limit: int
) -> None:
    # Five seconds hold forty events, so pages end within a second.
    query.store.append([make_event(f"{n * 7 % 40:02}", AT + n % 5) for n in range(40)])
    found = _follow(query, **RANGE, order=order, limit=limit)

    whole = _ids(query.get("events", **RANGE, order=order))
    assert found == whole
    assert len(set(found)) == 40


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_events_that_arrive_meanwhile_neither_repeat_nor_hide_others(
    query: QueryServer, order: str
) -> None:
    query.store.append([make_event(f"m{n:02}", AT + 100 + n) for n in range(10)])
    found: list[str] = []
    body = query.get("events", **RANGE, order=order, limit=3)
    while True:
        found += _ids(body)
        step = len(found)
        query.store.append(
            [make_event(f"new{step}", AT + 100 + step), make_event(f"old{step}", AT + step)]
        )
        if body["next_cursor"] is None or step > 100:
            break
        body = query.get("events", limit=3, cursor=body["next_cursor"])

    assert len(found) == len(set(found))
    assert {f"m{n:02}" for n in range(10)} <= set(found)


def test_a_cursor_alone_goes_on_with_its_range_order_and_filters(query: QueryServer) -> None:
    query.store.append(
        [make_event(f"{n}", AT + n, model="m" if n % 2 else None, status=429) for n in range(20)]
    )
    body = query.get(
        "events", start=AT + 1, end=AT + 15, order="asc", limit=3, model="m", status_code=429
    )
    found = _ids(body)
    while body["next_cursor"]:
        body = query.get("events", limit=2, cursor=body["next_cursor"])
        assert (body["start"], body["end"]) == (AT + 1, AT + 15)
        found += _ids(body)

    assert found == ["1", "3", "5", "7", "9", "11", "13", "15"]


def test_a_default_range_does_not_move_while_its_cursor_is_followed(query: QueryServer) -> None:
    now = query.get("events")["end"]
    query.store.append([make_event(str(n), now - 10 * n) for n in range(5)])
    body = query.get("events", limit=2)
    following = query.get("events", limit=2, cursor=body["next_cursor"])

    assert (following["start"], following["end"]) == (body["start"], body["end"])


def _forged(*fields: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "abc",
        "%00",
        "ä",
        "🙂",
        "AAAA",
        _forged(),
        _forged(0, 9, "asc", {}, 5),
        _forged(0, 9, "asc", {}, 5, None),
        _forged(0, 9, "up", {}, 5, "a"),
        _forged(-1, 9, "asc", {}, 5, "a"),
        _forged(0, 10**30, "asc", {}, 5, "a"),
        _forged(0, 9, "asc", {}, 10**18, "a"),
        _forged(0, 9, "asc", {}, 5, "\x00"),
        _forged(0, 9, "asc", {}, 5, "\ud800"),
        _forged(0, 9, "asc", {"colour": ["red"]}, 5, "a"),
        _forged(0, 9, "asc", {"status_code": [10**30]}, 5, "a"),
        _forged(0, 9, "asc", {"model": "m"}, 5, "a"),
    ],
)
def test_what_is_no_cursor_is_refused(query: QueryServer, cursor: str) -> None:
    assert query.refusal("events", f"cursor={cursor}") == (400, "cursor")


def test_a_cursor_past_everything_gives_an_empty_page(query: QueryServer) -> None:
    query.store.append(varied_events(5, start=AT, end=AT + 9))
    body = query.get("events", cursor=_forged(AT, AT + 9, "asc", {}, AT + 9, "zzzz"))

    assert (body["events"], body["next_cursor"]) == ([], None)
