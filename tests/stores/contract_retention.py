"""What a store promises of its time to live."""

from __future__ import annotations

from shared.events import Event
from shared.stores.base import DIMENSIONS, Selection, Store
from shared.stores.fold import fold_aggregate, fold_timeseries
from tests.stores.opening import Opening
from tests.stores.samples import (
    BASE,
    DAY,
    EVER,
    HOUR,
    MINUTE,
    Clock,
    MakeStore,
    assert_same_aggregate,
    assert_same_points,
    by_id,
    make_event,
    scanned,
    varied_events,
    wire,
)


class RetentionContract(Opening):
    """An event ends when its time has come, in every answer, whether or not `expire` has run."""

    def test_an_event_ends_at_its_second(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(MINUTE, clock)
        store.append([make_event("a", BASE)])

        clock.now = BASE + MINUTE - 0.001
        _assert_holds(store, [make_event("a", BASE)])
        clock.now = BASE + MINUTE
        _assert_holds(store, [])

    def test_an_event_that_has_ended_on_arrival_is_not_new(self, open_store: MakeStore) -> None:
        store = open_store(MINUTE, Clock())
        alive = make_event("alive", BASE - MINUTE + 1)

        assert store.append([make_event("dead", BASE - MINUTE), alive]) == 1
        assert store.append([make_event("long dead", 946_684_800)]) == 0
        _assert_holds(store, [alive])

    def test_what_has_ended_is_in_no_answer(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(DAY, clock)
        events = varied_events(300, start=BASE - DAY + 1, end=BASE)
        assert store.append(events) == 300

        for passed in (17, MINUTE, 7 * HOUR + 77, DAY - 1, DAY):
            clock.now = BASE + passed
            _assert_holds(store, [e for e in events if e.timestamp > clock.now - DAY])

    def test_expire_changes_no_answer(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(DAY, clock)
        events = varied_events(300, start=BASE - DAY + 1, end=BASE)
        store.append(events)

        for passed in (30, 5 * HOUR + 123, DAY):
            clock.now = BASE + passed
            left = [event for event in events if event.timestamp > clock.now - DAY]
            assert 0 <= store.expire() <= len(events)
            assert store.expire() == 0
            _assert_holds(store, left)

    def test_expire_of_a_store_without_a_ttl_keeps_everything(self, open_store: MakeStore) -> None:
        clock = Clock(BASE + 50 * 365 * DAY)
        store = open_store(None, clock)
        store.append([make_event("a", 946_684_800)])

        assert store.expire() == 0
        _assert_holds(store, [make_event("a", 946_684_800)])

    def test_events_arrive_after_an_expiry(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(HOUR, clock)
        store.append(varied_events(100, start=BASE - HOUR + 1, end=BASE))
        clock.now = BASE + HOUR
        store.expire()
        late = make_event("late", BASE + 1)

        assert store.append([late, make_event("later", BASE + 5)]) == 2
        assert store.append([late]) == 0
        _assert_holds(store, [late, make_event("later", BASE + 5)])

    def test_an_event_is_known_until_it_ends(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(HOUR, clock)
        store.append([make_event("a", BASE)])
        clock.now = BASE + HOUR - 1
        store.expire()

        assert store.append([make_event("a", BASE)]) == 0
        assert store.stats().total_events == 1

    def test_events_of_the_day_ahead_are_kept(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(HOUR, clock)
        ahead = make_event("a", BASE + DAY)
        store.append([ahead])

        clock.now = BASE + DAY + HOUR - 1
        store.expire()
        _assert_holds(store, [ahead])

    def test_another_object_expires_the_same(self, reopen: MakeStore) -> None:
        clock = Clock()
        one, other = reopen(HOUR, clock), reopen(HOUR, clock)
        alive = make_event("alive", BASE)
        one.append([make_event("dead", BASE - 30 * MINUTE), alive])
        clock.now = BASE + 45 * MINUTE
        one.expire()

        assert other.append([alive]) == 0
        assert other.append([make_event("new", BASE)]) == 1
        for store in (one, other):
            _assert_holds(store, [alive, make_event("new", BASE)])

    def test_a_ttl_that_is_set_later_ends_what_is_stored_already(self, reopen: MakeStore) -> None:
        clock = Clock()
        store = reopen(None, clock)
        events = varied_events(200, start=BASE - 2 * DAY, end=BASE)
        store.append(events)
        store.close()

        store = reopen(DAY, clock)
        left = [event for event in events if event.timestamp > BASE - DAY]
        _assert_holds(store, left)
        store.expire()
        _assert_holds(store, left)

    def test_clear_removes_what_has_ended_too(self, open_store: MakeStore) -> None:
        clock = Clock()
        store = open_store(HOUR, clock)
        store.append([make_event("a", BASE), make_event("b", BASE + HOUR)])
        clock.now = BASE + HOUR
        store.clear()

        clock.now = BASE
        _assert_holds(store, [])


def _assert_holds(store: Store, events: list[Event]) -> None:
    """Every kind of answer holds these events and no other."""
    newest_first = sorted(events, key=lambda e: (e.timestamp, e.id.encode()), reverse=True)
    assert wire(scanned(store)) == wire(by_id(events))
    assert wire(store.query(EVER, limit=9_999)) == wire(newest_first)
    assert wire(store.query(EVER, limit=3, order="asc")) == wire(newest_first[::-1][:3])
    found = store.stats()
    assert found.total_events == len(events)
    assert found.oldest_timestamp == min((e.timestamp for e in events), default=None)
    assert found.newest_timestamp == max((e.timestamp for e in events), default=None)
    for wanted in (EVER, Selection(start=0, end=BASE - 99)):
        expected = [event for event in events if wanted.matches(event)]
        assert_same_aggregate(store.aggregate(wanted), fold_aggregate(expected))
    edges = [0, BASE - DAY, BASE - HOUR, BASE, BASE + 2 * DAY]
    for group_by in (None, DIMENSIONS[0]):
        expected_points = fold_timeseries(events, edges, group_by)
        assert_same_points(store.timeseries(EVER, edges, group_by), expected_points)
