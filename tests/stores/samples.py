"""Events to try a store with, and comparisons that hold every field to account."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
import pytest

from shared.events import (
    MAX_COUNT,
    MAX_ERROR_MESSAGE,
    MAX_TEXT,
    Auth,
    Cost,
    Event,
    Performance,
    Request,
    Response,
    Routing,
    TokenUsage,
)
from shared.stores.base import Aggregate, Latency, Point, Selection, Store
from shared.stores.fold import point_order

MINUTE, HOUR, DAY = 60, 3_600, 86_400

BASE = 2_000_000_000
"""The tests' now, 2033-05-18. It lies ahead, so that a server which expires by its own clock
never does so before the injected one has said it."""

EVER = Selection(start=0, end=253_402_300_799)

PERCENTILE_TOLERANCE = 0.02
SUM_TOLERANCE = 1e-9


class MakeStore(Protocol):
    """Opens the store, on the same underlying data each time."""

    def __call__(
        self, ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
    ) -> Store: ...


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = BASE) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_event(
    event_id: str,
    timestamp: int = BASE,
    *,
    model: str | None = "gpt-4o",
    endpoint: str = "/v1/chat/completions",
    backend: str = "openai",
    upstream_mode: str = "chat",
    api_key_id: str | None = None,
    stream: bool = False,
    status: int | None = 200,
    success: bool | None = None,
    duration_ms: float = 100.0,
    rate: float | None = None,
    tokens: tuple[int, int] | None = (10, 5),
    cost: float | None = 0.25,
) -> Event:
    """A plain event. `status` None: no response; `tokens` are prompt and completion."""
    return Event(
        id=event_id,
        timestamp=timestamp,
        request=Request(endpoint=endpoint, model=model, stream=stream, size_bytes=512),
        response=None if status is None else Response(status_code=status, success=success),
        performance=Performance(duration_ms=duration_ms, tokens_per_second=rate),
        auth=Auth(api_key_id=api_key_id),
        routing=Routing(backend=backend, upstream_mode=upstream_mode),
        token_usage=None if tokens is None else TokenUsage(*tokens, sum(tokens)),
        cost=None if cost is None else Cost(input_cost=cost, total_cost=cost),
    )


def varied_event(event_id: str, timestamp: int, chance: random.Random) -> Event:
    """An event with every dimension, token, price and duration drawn by `chance`."""
    found = make_event(
        event_id,
        timestamp,
        model=chance.choice([None, "gpt-4o", "gpt-4o-mini", "GPT-4o", "claude-3-5-sonnet"]),
        endpoint=chance.choice(["/v1/chat/completions", "/v1/responses"]),
        backend=chance.choice(["openai", "anthropic", "bedrock"]),
        upstream_mode=chance.choice(["chat", "responses"]),
        api_key_id=chance.choice([None, "key_1", "key_2"]),
        stream=chance.random() < 0.5,
        status=chance.choice([None, 100, 200, 200, 200, 301, 404, 429, 500, 599]),
        success=chance.choice([None, None, None, True, False]),
        duration_ms=chance.choice([0.0, chance.lognormvariate(6, 2), chance.uniform(0.5, 2)]),
        rate=chance.choice([None, chance.uniform(1, 400)]),
        tokens=chance.choice([None, (chance.randrange(5_000), chance.randrange(900))]),
        cost=chance.choice([None, chance.uniform(0, 0.2)]),
    )
    if found.token_usage is None:
        found.request.input_tokens = chance.choice([None, chance.randrange(1_000)])
        if found.response is not None:
            found.response.output_tokens = chance.choice([None, chance.randrange(1_000)])
    else:
        found.token_usage.cached_tokens = chance.choice([None, 7])
        found.token_usage.reasoning_tokens = chance.choice([None, 11])
    if chance.random() < 0.1 and found.cost is not None:
        found.cost.total_cost = None
    return found


def varied_events(count: int, *, start: int, end: int, seed: int = 1) -> list[Event]:
    """Events at random times from `start` to `end`, in no order."""
    chance = random.Random(seed)
    return [varied_event(f"v{n}", chance.randint(start, end), chance) for n in range(count)]


def extreme_events() -> list[Event]:
    """Events at the bounds of what a producer may send, and all that may be absent."""
    chance = random.Random(2)

    def noise(length: int) -> str:
        # Not compressible: a bound on an index shows itself.
        return "".join(chr(chance.randrange(0x1F300, 0x1F600)) for _ in range(length))

    odd = "“quoted” \"double\" 'single' `back` \\ / % _ \r\n\t\x01\x7f\u2028 ünïcødé 😀 e\u0301"
    full = Event(
        id=noise(128),
        timestamp=946_684_800,
        request=Request(odd, odd, odd, True, MAX_COUNT, MAX_COUNT, MAX_COUNT, odd, "2001:db8::1"),
        response=Response(599, MAX_COUNT, MAX_COUNT, True, odd),
        performance=Performance(1e15, 0.1, 1 / 3, 1e-300),
        auth=Auth(True, odd, odd, odd),
        routing=Routing(odd, odd, True, ["", "a b", 'a","b', odd], True),
        token_usage=TokenUsage(*[MAX_COUNT] * 6),
        cost=Cost(0.1, 1e15, 1e-9, 0.1 + 0.2, odd, odd),
    )
    long = make_event("long", model=noise(MAX_TEXT), endpoint=noise(MAX_TEXT))
    long.routing = Routing(noise(MAX_TEXT), noise(MAX_TEXT), mcp_servers=[noise(MAX_TEXT)] * 64)
    long.auth.api_key_id = noise(MAX_TEXT)
    long.response = Response(error_message=noise(MAX_ERROR_MESSAGE))
    bare = Event("-", BASE, Request(endpoint=""))
    empty = Event("0", BASE, Request("", "", ""), Response(100, success=False), cost=Cost())
    empty.auth.api_key_id = ""
    statuses = [make_event(f"status {code}", status=code) for code in (100, 199, 200, 399, 400)]
    null = make_event("null", model=None, status=None, tokens=None, cost=None)
    return [full, long, bare, empty, null, *statuses]


def wire(events: Iterable[Event]) -> list[str]:
    """The events as their JSON lines, which tell 1 from 1.0 and from true."""
    return [msgspec.json.encode(event).decode() for event in events]


def scanned(store: Store, selection: Selection = EVER) -> list[Event]:
    """What a scan gives, sorted by id."""
    found = [event for chunk in store.scan(selection) for event in chunk]
    return sorted(found, key=lambda event: event.id)


def by_id(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.id)


def assert_same_aggregate(found: Aggregate, expected: Aggregate) -> None:
    """Counts and sums of integers alike, sums of floats nearly, percentiles within 2 %."""
    _assert_same(msgspec.to_builtins(found), msgspec.to_builtins(expected))


def assert_same_points(found: Sequence[Point], expected: Sequence[Point]) -> None:
    """The same points, in the contract's order (points of a tie in either)."""
    assert [point_order(point) for point in found] == [point_order(point) for point in expected]
    ours, theirs = (sorted(points, key=_point_key) for points in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        _assert_same(msgspec.to_builtins(one), msgspec.to_builtins(other))


def _point_key(point: Point) -> tuple[int, str]:
    return (point.start, repr(point.group))


def _assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert_same_latency(Latency(**found.pop("latency_ms")), Latency(**expected.pop("latency_ms")))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert type(found[name]) is type(value), name
        if isinstance(value, float) or name == "cost_by_model":
            assert found[name] == pytest.approx(value, rel=SUM_TOLERANCE, abs=0), name
        else:
            assert found[name] == value, name


def assert_same_latency(found: Latency, expected: Latency) -> None:
    for name in ("p50", "p90", "p95", "p99", "max"):
        ours, exact = getattr(found, name), getattr(expected, name)
        if exact is None:
            assert ours is None, name
        else:
            assert ours == pytest.approx(exact, rel=PERCENTILE_TOLERANCE, abs=0), name
