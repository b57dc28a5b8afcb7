"""What `append`, `clear` and `close` promise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.stores.base import Position, Store, StoreStats
from tests.stores.opening import Opening
from tests.stores.samples import (
    BASE,
    EVER,
    MakeStore,
    by_id,
    extreme_events,
    make_event,
    scanned,
    varied_events,
    wire,
)

ALIKE_IDS = ["a", "A", "a ", " a", "ä", "a\u0308", "e", "é", "ß", "ss", "1", "01", "1.0", "_", "-"]
"""Ids that a collation, or a reading as a number, would take for one another."""


class AppendContract(Opening):
    """Each id is one event, the first; what was appended is there, whole, for everyone."""

    def test_append_returns_how_many_events_were_new(self, store: Store) -> None:
        assert store.append([make_event("a"), make_event("b")]) == 2
        assert store.append([make_event("b"), make_event("c")]) == 1
        assert store.append([make_event("a"), make_event("c")]) == 0

    def test_append_of_nothing_is_nothing(self, store: Store) -> None:
        assert store.append([]) == 0
        assert scanned(store) == []

    def test_the_first_event_of_an_id_wins_across_calls(self, store: Store) -> None:
        first = make_event("a", BASE, model="first")
        store.append([first])
        store.append([make_event("a", BASE + 5, model="second", cost=9.0)])

        assert wire(scanned(store)) == wire([first])
        assert store.aggregate(EVER).models_used == {"first": 1}

    def test_the_first_event_of_an_id_wins_within_a_call(self, store: Store) -> None:
        first = make_event("a", model="first")
        assert store.append([first, make_event("b"), make_event("a", BASE - 9, model="no")]) == 2

        assert wire(scanned(store)) == wire([first, make_event("b")])
        assert store.aggregate(EVER).models_used == {"first": 1, "gpt-4o": 1}

    def test_an_id_is_known_after_reopening(self, reopen: MakeStore) -> None:
        store = reopen()
        store.append([make_event("a", model="first")])
        store.close()

        assert reopen().append([make_event("a", model="second"), make_event("b")]) == 1
        assert reopen().aggregate(EVER).models_used == {"first": 1, "gpt-4o": 1}

    def test_ids_that_look_alike_are_different_events(self, store: Store) -> None:
        events = [make_event(event_id) for event_id in ALIKE_IDS]

        assert store.append(events) == len(events)
        assert store.append(events) == 0
        assert wire(scanned(store)) == wire(by_id(events))

    def test_every_field_comes_back_as_it_was(self, store: Store) -> None:
        events = extreme_events()
        assert store.append(events) == len(events)

        assert wire(scanned(store)) == wire(by_id(events))
        page = store.query(EVER, limit=100, order="asc")
        assert sorted(wire(page)) == sorted(wire(events))

    def test_every_field_comes_back_after_reopening(self, reopen: MakeStore) -> None:
        store = reopen()
        store.append(extreme_events())
        store.close()

        assert wire(scanned(reopen())) == wire(by_id(extreme_events()))

    def test_a_large_batch_is_stored_whole(self, store: Store) -> None:
        events = varied_events(3_000, start=BASE - 90_000, end=BASE)

        assert store.append(events) == 3_000
        assert store.append([*events[:1_500], make_event("z"), *events[1_500:]]) == 1
        assert wire(scanned(store)) == wire(by_id([*events, make_event("z")]))

    def test_an_append_that_raises_stores_nothing(self, store: Store) -> None:
        # Half of a surrogate pair has no encoding, so most stores can't take it.
        poison = make_event("poison")
        poison.request.user_agent = "\ud800"
        try:
            store.append([make_event("before"), poison, make_event("after")])
        except Exception:
            assert scanned(store) == []
            assert store.stats().total_events == 0
            assert store.append([make_event("before"), make_event("after")]) == 2
        else:
            assert store.stats().total_events == 3

    def test_two_objects_on_the_same_data_see_each_others_events(self, reopen: MakeStore) -> None:
        one, other = reopen(), reopen()
        one.append([make_event("a")])
        assert other.append([make_event("a"), make_event("b")]) == 1
        assert one.append([make_event("b"), make_event("c")]) == 1

        for store in (one, other):
            assert [event.id for event in scanned(store)] == ["a", "b", "c"]
            assert store.aggregate(EVER).total_requests == 3
            assert store.stats().total_events == 3

    def test_concurrent_appends_of_the_same_events_store_each_once(self, store: Store) -> None:
        self._append_from_threads([store] * 4)

    def test_concurrent_appends_of_two_objects_store_each_event_once(
        self, reopen: MakeStore
    ) -> None:
        self._append_from_threads([reopen(), reopen()] * 2)

    def _append_from_threads(self, stores: list[Store]) -> None:
        events = varied_events(240, start=BASE - 4_000, end=BASE)
        # Each thread appends most of the events, from another place on.
        turns = [[*events[50 * n :], *events[: 50 * n]][:200] for n in range(len(stores))]

        def append(store: Store, mine: list[int]) -> int:
            turn = turns[mine[0]]
            return sum(store.append(turn[at : at + 20]) for at in range(0, len(turn), 20))

        with ThreadPoolExecutor(len(stores)) as threads:
            new = sum(threads.map(append, stores, [[n] for n in range(len(stores))]))
        distinct = {event.id for turn in turns for event in turn}
        assert new == len(distinct)
        for store in stores[:2]:
            assert [event.id for event in scanned(store)] == sorted(distinct)
            assert store.aggregate(EVER).total_requests == len(distinct)

    def test_clear_removes_everything(self, store: Store) -> None:
        store.append(varied_events(50, start=BASE - 90_000, end=BASE))
        store.clear()

        assert scanned(store) == []
        assert store.query(EVER, limit=10) == []
        assert store.query(EVER, limit=10, order="asc", after=Position(0, "")) == []
        assert store.aggregate(EVER).total_requests == 0
        assert store.timeseries(EVER, [0, BASE, 2 * BASE], "model") == []
        found = store.stats()
        assert found.total_events == 0
        assert found.oldest_timestamp is found.newest_timestamp is None

    def test_a_cleared_id_is_new_again(self, store: Store) -> None:
        store.append([make_event("a", model="first")])
        store.clear()

        assert store.append([make_event("a", model="second"), make_event("b")]) == 2
        assert store.aggregate(EVER).models_used == {"second": 1, "gpt-4o": 1}

    def test_another_object_sees_a_clear(self, reopen: MakeStore) -> None:
        one, other = reopen(), reopen()
        one.append([make_event("a")])
        assert other.append([make_event("a")]) == 0
        one.clear()

        assert other.stats().total_events == 0
        assert scanned(other) == []
        assert other.append([make_event("a")]) == 1
        assert one.append([make_event("a")]) == 0

    def test_clearing_an_empty_store_is_allowed(self, store: Store) -> None:
        store.clear()
        store.clear()
        assert store.append([make_event("a")]) == 1

    def test_an_empty_store_answers(self, store: Store) -> None:
        store.ping()
        found = store.stats()

        assert (found.total_events, found.oldest_timestamp, found.newest_timestamp) == (
            0,
            None,
            None,
        )
        assert scanned(store) == []
        assert store.query(EVER, limit=10) == []
        assert store.expire() == 0

    def test_stats_tell_how_many_and_from_when_to_when(self, store: Store) -> None:
        store.append([make_event("b", BASE + 7), make_event("a", BASE - 7), make_event("c", BASE)])
        found = store.stats()

        assert isinstance(found, StoreStats)
        assert found.total_events == 3
        assert (found.oldest_timestamp, found.newest_timestamp) == (BASE - 7, BASE + 7)
        assert found.size_bytes is None or found.size_bytes >= 0

    def test_closing_twice_is_allowed(self, open_store: MakeStore) -> None:
        store = open_store()
        store.append([make_event("a")])
        store.close()
        store.close()

    @pytest.mark.parametrize("ttl_seconds", [None, 60])
    def test_a_store_tells_its_kind_and_retention(
        self, open_store: MakeStore, ttl_seconds: int | None
    ) -> None:
        store = open_store(ttl_seconds)

        assert store.ttl_seconds == ttl_seconds
        assert store.backend_type in {
            "jsonl",
            "redis",
            "sqlite",
            "postgresql",
            "mysql",
            "clickhouse",
            "memory",
        }
