"""The answers of query_api on any store, held against ones worked out by hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from query_api.app import create_app
from shared.events import Event
from shared.queue_admin import QueueAdmin
from shared.settings import load_settings
from shared.stores.base import Store
from tests.stores import by_hand
from tests.stores.by_hand import Json, Wanted
from tests.stores.opening import Opening
from tests.stores.samples import (
    DAY,
    HOUR,
    MINUTE,
    PERCENTILE_TOLERANCE,
    SUM_TOLERANCE,
    make_event,
    varied_event,
)

NOBODY = "redis://127.0.0.1:1/0"
CHANGES = [
    int(datetime(2026, *moment, tzinfo=UTC).timestamp())
    for moment in ((3, 8, 7), (3, 29, 1), (10, 25, 1), (11, 1, 6))
]
"""When clocks change in New York, Berlin, Berlin and New York."""
ZONES = ("UTC", "Europe/Berlin", "America/New_York")
SPANS = {"1m": 2 * HOUR, "5m": 12 * HOUR, "15m": 30 * HOUR, "1h": 4 * DAY, "1d": 240 * DAY}
"""How much of the year is asked for by an interval, so that its points stay within the bound."""
FILTER_VALUES: dict[str, list[Any]] = {
    "model": ["gpt-4o", "gpt-4o-mini", "GPT-4o", "claude-3-5-sonnet", "nobody"],
    "endpoint": ["/v1/chat/completions", "/v1/responses"],
    "backend": ["openai", "anthropic", "bedrock"],
    "api_key_id": ["key_1", "key_2"],
    "status_code": [100, 200, 301, 404, 429, 500, 599],
    "success": [True, False],
    "upstream_mode": ["chat", "responses"],
    "stream": [True, False],
}

Ask = Callable[..., Any]


def spread_events(count: int, chance: random.Random) -> list[Event]:
    """Events around the changes of clocks, many of them at the edges of minutes, hours, days."""
    return [varied_event(f"e{n}", _moment(chance), chance) for n in range(count)]


def _moment(chance: random.Random) -> int:
    near = chance.choice(CHANGES)
    if chance.random() < 0.4:
        return near + chance.randint(-2 * DAY, 2 * DAY)
    # New York's midnights are four and five hours off, Berlin's one and two: all are whole hours.
    length = chance.choice([MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR])
    return near + chance.randint(-48, 48) * length + chance.choice([-1, 0, 0, 1])


class Questions:
    """Asks query_api, and works the same out by hand."""

    def __init__(self, store: Store, events: list[Event], chance: random.Random) -> None:
        self._events: list[Json] = msgspec.to_builtins(events)
        self._chance = chance
        settings = load_settings(env_file=None, broker_url=NOBODY)
        app = create_app(store, QueueAdmin.from_url(NOBODY), settings)
        self._http = httpx.Client(
            transport=httpx.WSGITransport(app), base_url="http://query", timeout=60
        )

    def ask_all(self, filters: list[Wanted]) -> None:
        for wanted in filters:
            start, end = self._range(self._chance.choice(list(SPANS.values())))
            found = by_hand.chosen(self._events, start, end, wanted)
            self._ask_aggregate(start, end, wanted, found)
            self._ask_export(start, end, wanted, found)
            self._ask_events(start, end, wanted, found)
            self._ask_timeseries("1d", self._chance.choice([None, *by_hand.VALUES]), wanted)

    def ask_series(self, intervals: list[str], groups: list[str | None]) -> None:
        for interval, group_by in itertools.product(intervals, groups):
            self._ask_timeseries(interval, group_by, {})

    def close(self) -> None:
        self._http.close()

    def _ask_aggregate(self, start: int, end: int, wanted: Wanted, found: list[Json]) -> None:
        answer = self.get("aggregate", wanted, start=start, end=end)
        _assert_same(answer, by_hand.aggregate(found, start, end))

    def _ask_export(self, start: int, end: int, wanted: Wanted, found: list[Json]) -> None:
        answer = self.get("export", wanted, start=start, end=end)
        assert answer["count"] == len(found)
        assert sorted(answer["events"], key=_order) == sorted(found, key=_order)

    def _ask_events(self, start: int, end: int, wanted: Wanted, found: list[Json]) -> None:
        order = self._chance.choice(["asc", "desc"])
        limit = self._chance.randint(1, max(1, len(found)))
        page = self.get("events", wanted, start=start, end=end, order=order, limit=limit)
        pages = [page["events"]]
        while page["next_cursor"] and len(pages) < 4:
            page = self.get("events", {}, cursor=page["next_cursor"], limit=limit)
            pages.append(page["events"])
        expected = sorted(found, key=_order, reverse=order == "desc")
        assert list(itertools.chain(*pages)) == expected[: limit * len(pages)]

    def _ask_timeseries(self, interval: str, group_by: str | None, wanted: Wanted) -> None:
        tz = self._chance.choice(ZONES)
        start, end = self._range(SPANS[interval])
        asked = {"group_by": group_by} if group_by else {}
        answer = self.get(
            "timeseries", wanted, start=start, end=end, interval=interval, tz=tz, **asked
        )
        found = by_hand.chosen(self._events, start, end, wanted)
        expected = by_hand.timeseries(found, start, end, interval, group_by, tz)
        assert [(p["start"], p["group"]) for p in answer["points"]] == [
            (p["start"], p["group"]) for p in expected
        ]
        for point, by_us in zip(answer["points"], expected, strict=True):
            _assert_same(point, by_us)

    def _range(self, span: int) -> tuple[int, int]:
        """A range that begins and ends at an event, or a second beside it."""
        start = self._chance.choice(self._events)["timestamp"] + self._chance.choice([-1, 0, 1])
        near = [t for e in self._events if start <= (t := e["timestamp"]) <= start + span]
        end = self._chance.choice(near or [start]) + self._chance.choice([-1, 0, 1])
        return start, min(max(start, end), start + span)

    def get(self, path: str, wanted: Wanted, **params: Any) -> Any:
        pairs: list[tuple[str, Any]] = [
            (name, _text(value)) for name, values in wanted.items() for value in values
        ]
        pairs += [(name, _text(value)) for name, value in params.items()]
        answer = self._http.get(f"/analytics/{path}", params=pairs)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _order(event: Json) -> tuple[int, bytes]:
    return (event["timestamp"], event["id"].encode())


def _assert_same(answer: Json, by_us: Json) -> None:
    answer, by_us = dict(answer), dict(by_us)
    found, exact = answer.pop("latency_ms"), by_us.pop("latency_ms")
    assert_near(found, exact)
    assert answer.keys() == by_us.keys()
    for name, value in by_us.items():
        if isinstance(value, float) or name == "cost_by_model":
            assert answer[name] == pytest.approx(value, rel=SUM_TOLERANCE, abs=1e-12), name
        else:
            assert answer[name] == value, name


def assert_near(found: Json, exact: Json) -> None:
    """Percentiles within the tolerance that the service promises."""
    assert found.keys() == exact.keys()
    for name, value in exact.items():
        if value is None:
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(value, rel=PERCENTILE_TOLERANCE, abs=0), name


def single_filters() -> list[Wanted]:
    """Each filter with each of its values, and with two of them."""
    ones = [{name: [value]} for name, values in FILTER_VALUES.items() for value in values]
    return [*ones, *({name: values[:2]} for name, values in FILTER_VALUES.items())]


def paired_filters(chance: random.Random) -> list[Wanted]:
    """Each pair of filters, with one or two values of each."""
    return [
        {name: chance.sample(FILTER_VALUES[name], chance.randint(1, 2)) for name in pair}
        for pair in itertools.combinations(FILTER_VALUES, 2)
    ]


def durations(chance: random.Random, count: int) -> dict[str, list[float]]:
    """Durations in ms by the name of their distribution."""
    humps = ((200.0, 20.0), (9_000.0, 300.0))
    return {
        "log-normal": [chance.lognormvariate(6.5, 1.1) for _ in range(count)],
        "uniform": [chance.uniform(1, 10_000) for _ in range(count)],
        "constant": [1_234.5] * count,
        "bimodal": [max(1.0, chance.gauss(*chance.choice(humps))) for _ in range(count)],
    }


class AnswersContract(Opening):
    """Every filter, pair of filters, group and interval, and percentiles."""

    @pytest.fixture
    def chance(self) -> random.Random:
        return random.Random(5)

    @pytest.fixture
    def questions(
        self, store: Store, chance: random.Random
    ) -> Iterator[Callable[[int], Questions]]:
        asking: list[Questions] = []

        def load(count: int) -> Questions:
            events = spread_events(count, chance)
            for start in range(0, count, 5_000):
                assert store.append(events[start : start + 5_000]) == len(
                    events[start : start + 5_000]
                )
            asking.append(Questions(store, events, chance))
            return asking[0]

        yield load
        for each in asking:
            each.close()

    def test_answers_are_those_worked_out_by_hand(
        self, questions: Callable[[int], Questions], chance: random.Random
    ) -> None:
        few = questions(600)
        few.ask_all(chance.sample(single_filters(), 5) + chance.sample(paired_filters(chance), 5))
        few.ask_series(["1d"], [None, *by_hand.VALUES])
        few.ask_series(["1m", "5m", "15m", "1h"], [chance.choice(list(by_hand.VALUES))])

    @pytest.mark.long
    @pytest.mark.timeout(600)
    def test_all_answers_on_twenty_thousand_events(
        self, questions: Callable[[int], Questions], chance: random.Random
    ) -> None:
        many = questions(20_000)
        many.ask_all([{}, *single_filters(), *paired_filters(chance)])
        many.ask_series(list(SPANS), [None, *by_hand.VALUES])
        many.ask_series(["1d"], [None] * 20)

    def test_percentiles_are_near_on_any_distribution(
        self, store: Store, chance: random.Random
    ) -> None:
        drawn = durations(chance, 1_500)
        at = CHANGES[0]
        store.append(
            [
                make_event(f"{name}{n}", at + n, model=name, duration_ms=duration)
                for name, values in drawn.items()
                for n, duration in enumerate(values)
            ]
        )
        asking = Questions(store, [], chance)
        series = asking.get(
            "timeseries", {}, start=at, end=at + DAY, interval="1d", group_by="model"
        )
        in_series = {p["group"]: p["latency_ms"] for p in series["points"] if p["requests"]}
        for name, values in drawn.items():
            body = asking.get("aggregate", {"model": [name]}, start=at, end=at + DAY)
            assert_near(body["latency_ms"], by_hand.latency(values))
            assert_near(in_series[name], by_hand.latency(values))
        asking.close()
