"""Random commands to a store and to the memory store, which must answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.events import Event
from shared.stores.base import DIMENSIONS, Dimension, Order, Position, Selection, Store
from shared.stores.memory import MemoryStore
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
    make_event,
    scanned,
    wire,
)

_POOLS: dict[Dimension, list[Any]] = {
    "model": [None, "", "gpt-4o", "GPT-4o", "ü"],
    "endpoint": ["/v1/chat/completions", "/v1/responses"],
    "backend": ["openai", "unknown"],
    "api_key_id": [None, "key_1"],
    "status_code": [None, 200, 429],
    "success": [None, True, False],
    "upstream_mode": ["chat", "responses"],
    "stream": [True, False],
}

_ages = st.one_of(
    st.integers(-DAY, 2 * DAY),
    st.integers(-5, 200),
    st.builds(
        lambda size, offset: BASE % size + offset,
        st.sampled_from([MINUTE, HOUR, DAY]),
        st.integers(-1, 1),
    ),
)
"""Seconds before the start of the test, and after it, many of them at the edges of a grain."""

_shapes = st.fixed_dictionaries(
    {
        "model": st.sampled_from(_POOLS["model"]),
        "endpoint": st.sampled_from(_POOLS["endpoint"]),
        "backend": st.sampled_from(_POOLS["backend"]),
        "api_key_id": st.sampled_from(_POOLS["api_key_id"]),
        "upstream_mode": st.sampled_from(_POOLS["upstream_mode"]),
        "status": st.sampled_from(_POOLS["status_code"]),
        "success": st.sampled_from(_POOLS["success"]),
        "stream": st.booleans(),
        "duration_ms": st.sampled_from([0.0, 0.5, 1.0, 99.9, 100.1, 30_000.0]),
        "rate": st.sampled_from([None, 12.5]),
        "tokens": st.sampled_from([None, (0, 0), (1_000, 3)]),
        "cost": st.sampled_from([None, 0.0, 0.1]),
    }
)

_suffixes = st.sampled_from(["", "a", "B", "ä", "_", "😀"])

_Drawn = tuple[int, str, dict[str, Any]]


def _drawn_events(least: int) -> st.SearchStrategy[list[_Drawn]]:
    return st.lists(st.tuples(_ages, _suffixes, _shapes), min_size=least, max_size=least + 8)


_filters = st.dictionaries(st.sampled_from(DIMENSIONS), st.just(None), max_size=2).flatmap(
    lambda names: st.fixed_dictionaries(
        {
            name: st.frozensets(st.sampled_from(_POOLS[name]), min_size=1, max_size=2)
            for name in names
        }
    )
)


_grains = st.sampled_from([MINUTE, 5 * MINUTE, HOUR, DAY])


class _Machine(RuleBasedStateMachine):
    """`make_store` and `reopens` are set by `run_machine`.

    Ids that have ended are never used again: whether a store still knows them is not promised.
    """

    make_store: MakeStore
    reopens: bool

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ttl_seconds: int | None = None
        self.store: Store | None = None
        self.model = MemoryStore(max_events=10**9)
        self.made = 0

    @initialize(ttl_seconds=st.sampled_from([None, HOUR, DAY + MINUTE]), drawn=_drawn_events(12))
    def start(self, ttl_seconds: int | None, drawn: list[_Drawn]) -> None:
        self.ttl_seconds = ttl_seconds
        self.model = MemoryStore(max_events=10**9, ttl_seconds=ttl_seconds, clock=self.clock)
        self.store = type(self).make_store(ttl_seconds, self.clock)
        self.store.clear()
        self.append_new_events(drawn)

    @property
    def tried(self) -> Store:
        assert self.store is not None
        return self.store

    def _known(self) -> list[str]:
        return [event.id for event in scanned(self.model)]

    def _moment(self, data: st.DataObject) -> int:
        """A second: any, or one at or beside an event's."""
        if data.draw(st.booleans()) and (held := scanned(self.model)):
            return data.draw(st.sampled_from(held)).timestamp + data.draw(st.integers(-1, 1))
        return BASE - data.draw(_ages)

    def _selection(self, data: st.DataObject) -> Selection:
        filters = data.draw(_filters)
        if data.draw(st.booleans()):
            return Selection(start=EVER.start, end=EVER.end, filters=filters)
        start, end = sorted((self._moment(data), self._moment(data)))
        return Selection(start=start, end=end, filters=filters)

    def _edges(self, data: st.DataObject) -> list[int]:
        if data.draw(st.booleans()):
            edges = {self._moment(data) for _ in range(4)}
            return sorted(edges | {BASE - 2 * DAY, BASE + 2 * DAY})
        size = data.draw(_grains)
        last = self._moment(data) + size
        last -= last % size
        return list(range(last - 30 * size, last + 1, size))

    def _append(self, events: Sequence[Event]) -> None:
        assert self.tried.append(events) == self.model.append(events)

    @rule(drawn=_drawn_events(4))
    def append_new_events(self, drawn: list[_Drawn]) -> None:
        events = []
        for age, suffix, shape in drawn:
            self.made += 1
            events.append(make_event(f"{suffix}{self.made}", BASE - age, **shape))
        self._append(events)

    @precondition(lambda self: self._known())
    @rule(data=st.data(), age=_ages, shape=_shapes, suffix=_suffixes)
    def append_repeats(
        self, data: st.DataObject, age: int, shape: dict[str, Any], suffix: str
    ) -> None:
        """Ids that are stored, twice in the call, around a new one."""
        ids = data.draw(st.lists(st.sampled_from(self._known()), min_size=1, max_size=4))
        self.made += 1
        names = [*ids, f"{suffix}{self.made}", *ids]
        self._append([make_event(name, BASE - age, **shape) for name in names])

    @rule(seconds=st.sampled_from([0.5, 1, MINUTE, HOUR, 5 * HOUR, DAY]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.ttl_seconds and self._known())
    @rule(data=st.data(), before=st.sampled_from([0, 1]))
    def pass_time_until_an_event_ends(self, data: st.DataObject, before: int) -> None:
        assert self.ttl_seconds is not None
        event = data.draw(st.sampled_from(scanned(self.model)))
        self.clock.now = max(self.clock.now, event.timestamp + self.ttl_seconds - before)

    @rule()
    def expire(self) -> None:
        assert self.tried.expire() >= 0
        self.model.expire()

    @rule(really=st.sampled_from([False, False, False, True]))
    def clear(self, really: bool) -> None:
        if really:
            self.tried.clear()
            self.model.clear()

    @precondition(lambda self: self.reopens)
    @rule()
    def reopen(self) -> None:
        self.tried.close()
        self.store = type(self).make_store(self.ttl_seconds, self.clock)

    @rule(
        data=st.data(),
        order=st.sampled_from(["asc", "desc"]),
        limit=st.sampled_from([1, 3, 100]),
    )
    def query_pages(self, data: st.DataObject, order: Order, limit: int) -> None:
        wanted, after = self._selection(data), None
        while True:
            ours = self.tried.query(wanted, limit=limit, order=order, after=after)
            theirs = self.model.query(wanted, limit=limit, order=order, after=after)
            assert wire(ours) == wire(theirs)
            if not theirs:
                return
            after = Position.of(theirs[-1])

    @rule(data=st.data())
    def aggregate(self, data: st.DataObject) -> None:
        self._same_aggregate(self._selection(data))

    def _same_aggregate(self, wanted: Selection) -> None:
        assert_same_aggregate(self.tried.aggregate(wanted), self.model.aggregate(wanted))

    @rule(data=st.data(), group_by=st.sampled_from([None, *DIMENSIONS]))
    def timeseries(self, data: st.DataObject, group_by: Dimension | None) -> None:
        wanted, edges = self._selection(data), self._edges(data)
        ours = self.tried.timeseries(wanted, edges, group_by)
        assert_same_points(ours, self.model.timeseries(wanted, edges, group_by))

    @rule(data=st.data())
    def scan(self, data: st.DataObject) -> None:
        self._same_scan(self._selection(data))

    def _same_scan(self, wanted: Selection) -> None:
        assert wire(scanned(self.tried, wanted)) == wire(scanned(self.model, wanted))

    @rule()
    def stats(self) -> None:
        ours, theirs = self.tried.stats(), self.model.stats()
        assert ours.total_events == theirs.total_events
        assert ours.oldest_timestamp == theirs.oldest_timestamp
        assert ours.newest_timestamp == theirs.newest_timestamp

    def teardown(self) -> None:
        if self.store is None:
            return
        try:
            self.stats()
            self._same_scan(EVER)
            self._same_aggregate(EVER)
        finally:
            self.store.close()


def run_machine(make: MakeStore, *, reopens: bool, examples: int, steps: int) -> None:
    """Drive the store that `make` opens through `examples` runs of `steps` commands each.

    A failure is printed as the commands that led to it. They are not shrunk: that would outlast
    the time that a test has.
    """

    class Machine(_Machine):
        pass

    Machine.make_store = staticmethod(make)
    Machine.reopens = reopens
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


class StoreMachine:
    """Mixed into a store's test class beside `StoreContract`."""

    machine_reopens = True

    def test_it_answers_as_the_memory_store_does(self, make_store: MakeStore) -> None:
        run_machine(make_store, reopens=self.machine_reopens, examples=8, steps=40)

    @pytest.mark.long
    @pytest.mark.timeout(600)
    def test_it_answers_as_the_memory_store_does_for_long(self, make_store: MakeStore) -> None:
        run_machine(make_store, reopens=self.machine_reopens, examples=30, steps=50)
