"""What `query` and `scan` promise."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from shared.events import Event
from shared.stores.base import (
    DIMENSIONS,
    Dimension,
    DimensionValue,
    Order,
    Position,
    Selection,
    Store,
    dimension_of,
)
from tests.stores.opening import Opening
from tests.stores.samples import BASE, EVER, by_id, make_event, scanned, varied_events, wire

# Ascending as UTF-8 bytes; locales, UTF-16 and decomposition would each order them otherwise.
ORDERED_IDS = [
    "-",
    "1",
    "10",
    "9",
    "B",
    "Z",
    "_",
    "a",
    "a b",
    "ab",
    "a\u0308",
    "b",
    "ä",
    "\uff5e",
    "😀",
]

ORDERS: list[Order] = ["asc", "desc"]


def _ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


def _ascending(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: Position.of(event).key())


class QueryContract(Opening):
    """A query's order, bounds and filters; a scan's completeness."""

    def test_events_are_ordered_by_time_whenever_they_came(self, store: Store) -> None:
        for event_id, offset in (("c", 3), ("a", 1), ("d", 4), ("b", 2)):
            store.append([make_event(event_id, BASE + offset)])

        assert _ids(store.query(EVER, limit=10)) == ["d", "c", "b", "a"]
        assert _ids(store.query(EVER, limit=10, order="asc")) == ["a", "b", "c", "d"]

    def test_events_of_one_second_are_ordered_by_id_as_utf8_bytes(self, store: Store) -> None:
        shuffled = random.Random(3).sample(ORDERED_IDS, len(ORDERED_IDS))
        store.append([make_event(event_id) for event_id in shuffled])

        assert _ids(store.query(EVER, limit=99, order="asc")) == ORDERED_IDS
        assert _ids(store.query(EVER, limit=99, order="desc")) == ORDERED_IDS[::-1]

    @pytest.mark.parametrize("limit", [0, 1, 4, 5, 6])
    def test_limit_is_the_most_that_a_query_gives(self, store: Store, limit: int) -> None:
        store.append([make_event(str(n), BASE + n) for n in range(5)])

        assert _ids(store.query(EVER, limit=limit)) == ["4", "3", "2", "1", "0"][:limit]
        assert _ids(store.query(EVER, limit=limit, order="asc")) == list("01234")[:limit]

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("step", [1, 4])
    def test_pages_after_one_another_give_each_event_once(
        self, store: Store, order: Order, step: int
    ) -> None:
        events = [make_event(i, BASE + n % 2) for n, i in enumerate(ORDERED_IDS)]
        store.append(events)

        found: list[Event] = []
        while page := store.query(
            EVER, limit=step, order=order, after=Position.of(found[-1]) if found else None
        ):
            found += page
        expected = _ascending(events)
        assert _ids(found) == _ids(expected if order == "asc" else expected[::-1])

    def test_after_need_not_be_an_event(self, store: Store) -> None:
        store.append([make_event("b", BASE), make_event("d", BASE), make_event("a", BASE + 9)])

        assert _ids(store.query(EVER, limit=9, order="asc", after=Position(BASE, "c"))) == [
            "d",
            "a",
        ]
        assert _ids(store.query(EVER, limit=9, after=Position(BASE, "c"))) == ["b"]
        assert _ids(store.query(EVER, limit=9, after=Position(BASE + 5, ""))) == ["d", "b"]
        assert _ids(store.query(EVER, limit=9, order="asc", after=Position(0, "zz")))[0] == "b"
        assert store.query(EVER, limit=9, order="asc", after=Position(BASE + 9, "a")) == []
        assert store.query(EVER, limit=9, after=Position(0, "")) == []

    def test_both_edges_of_a_range_are_within_it(self, store: Store) -> None:
        store.append([make_event(str(offset), BASE + offset) for offset in range(-2, 3)])
        wanted = Selection(start=BASE - 1, end=BASE + 1)

        assert _ids(store.query(wanted, limit=9, order="asc")) == ["-1", "0", "1"]
        assert _ids(scanned(store, wanted)) == ["-1", "0", "1"]
        assert store.aggregate(wanted).total_requests == 3
        assert store.aggregate(Selection(start=BASE, end=BASE)).total_requests == 1

    def test_a_range_without_events_gives_none(self, store: Store) -> None:
        store.append([make_event("a", BASE), make_event("b", BASE + 100)])
        between = Selection(start=BASE + 1, end=BASE + 99)

        assert store.query(between, limit=9) == []
        assert scanned(store, between) == []

    @pytest.mark.parametrize("dimension", DIMENSIONS)
    def test_a_filter_gives_the_events_of_its_values(
        self, store: Store, dimension: Dimension
    ) -> None:
        events = varied_events(120, start=BASE - 500, end=BASE)
        store.append(events)
        values = {dimension_of(event, dimension) for event in events}

        assert len(values) > 1
        for value in values:
            self._check_filters(store, events, {dimension: frozenset([value])})
        for pair in combinations(values, 2):
            self._check_filters(store, events, {dimension: frozenset(pair)})

    def test_filters_of_two_dimensions_must_both_match(self, store: Store) -> None:
        events = varied_events(120, start=BASE - 500, end=BASE)
        store.append(events)

        for one, other in combinations(DIMENSIONS, 2):
            first = frozenset([dimension_of(events[0], one), dimension_of(events[1], one)])
            second = frozenset([dimension_of(events[1], other), dimension_of(events[2], other)])
            self._check_filters(store, events, {one: first, other: second})

    def test_a_filter_of_every_dimension_finds_the_one_event(self, store: Store) -> None:
        events = varied_events(120, start=BASE - 500, end=BASE)
        store.append(events)

        for event in events[:5]:
            wanted = {name: frozenset([dimension_of(event, name)]) for name in DIMENSIONS}
            self._check_filters(store, events, wanted)

    @pytest.mark.parametrize("values", [["gpt-4", "GPT-4O", "gpt-4o ", "", "%"], []])
    def test_a_filter_of_values_that_no_event_has_gives_none(
        self, store: Store, values: list[DimensionValue]
    ) -> None:
        events = varied_events(20, start=BASE - 500, end=BASE)
        store.append(events)

        self._check_filters(store, events, {"model": frozenset(values)})

    def _check_filters(
        self,
        store: Store,
        events: list[Event],
        filters: dict[Dimension, frozenset[DimensionValue]],
    ) -> None:
        wanted = Selection(start=BASE - 400, end=BASE - 50, filters=filters)
        expected = _ascending([event for event in events if wanted.matches(event)])

        assert wire(store.query(wanted, limit=999, order="asc")) == wire(expected)
        assert wire(scanned(store, wanted)) == wire(by_id(expected))
        if expected:
            after = Position.of(expected[0])
            page = store.query(wanted, limit=2, order="asc", after=after)
            assert wire(page) == wire(expected[1:3])

    def test_a_scan_gives_each_event_once_in_chunks(self, store: Store) -> None:
        events = varied_events(2_500, start=BASE - 5, end=BASE)
        store.append(events)
        chunks = list(store.scan(EVER))

        assert all(chunks)
        assert wire(by_id(e for chunk in chunks for e in chunk)) == wire(by_id(events))

    def test_a_scan_is_complete_though_events_arrive_meanwhile(self, store: Store) -> None:
        events = varied_events(2_500, start=BASE - 5, end=BASE)
        store.append(events)
        chunks = store.scan(EVER)
        found = _ids(next(chunks))
        store.append([make_event(f"later {n}", BASE - n) for n in range(9)])
        found += [event.id for chunk in chunks for event in chunk]

        assert len(found) == len(set(found))
        assert set(found) >= set(_ids(events))

    def test_a_scan_may_be_given_up(self, store: Store) -> None:
        events = varied_events(2_500, start=BASE - 5, end=BASE)
        store.append(events)
        for _ in range(3):
            abandoned = store.scan(EVER)
            next(abandoned)
            del abandoned

        assert store.append([make_event("z")]) == 1
        store.clear()
        assert scanned(store) == []
