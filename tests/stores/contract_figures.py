"""What `aggregate` and `timeseries` promise, held against plain Python over the same events."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from functools import cache
from itertools import pairwise

import pytest

from shared.events import MAX_COUNT, Event
from shared.stores.base import DIMENSIONS, Aggregate, Dimension, Selection, Store, dimension_of
from shared.stores.fold import fold_aggregate, fold_timeseries
from tests.stores.opening import Opening
from tests.stores.samples import (
    BASE,
    DAY,
    EVER,
    HOUR,
    MINUTE,
    assert_same_aggregate,
    assert_same_points,
    extreme_events,
    make_event,
    varied_events,
)

START = BASE - 3 * DAY


@cache
def _events() -> list[Event]:
    """Three days of events, most of them in the last two hours."""
    return [
        *varied_events(600, start=START, end=BASE),
        *_renamed(varied_events(600, start=BASE - 2 * HOUR, end=BASE, seed=2)),
    ]


def _renamed(events: list[Event]) -> list[Event]:
    for event in events:
        event.id += "b"
    return events


def _edges_of_grains() -> list[int]:
    """Seconds on and beside the edges of minutes, hours and days."""
    aligned = [BASE - BASE % size for size in (MINUTE, HOUR, DAY)]
    return sorted({edge + offset for edge in (*aligned, BASE) for offset in (-1, 0, 1)})


class FiguresContract(Opening):
    """Counts and sums are exact, percentiles within 2 %, for every range, filter and group."""

    def test_an_empty_selection_has_empty_figures(self, store: Store) -> None:
        assert store.aggregate(EVER) == Aggregate()
        store.append([make_event("a")])
        assert store.aggregate(Selection(start=BASE + 1, end=BASE + 9)) == Aggregate()
        nothing = Selection(start=0, end=BASE, filters={"model": frozenset(["none"])})
        assert store.aggregate(nothing) == Aggregate()

    def test_figures_of_one_event(self, store: Store) -> None:
        store.append([make_event("a", duration_ms=12.5, rate=40.0)])
        found = store.aggregate(EVER)

        assert_same_aggregate(found, fold_aggregate([make_event("a", duration_ms=12.5, rate=40.0)]))
        assert found.avg_duration_ms == 12.5
        assert found.avg_tokens_per_second == 40.0

    def test_figures_of_everything_are_those_of_the_events(self, store: Store) -> None:
        store.append(_events())
        self._check(store, _events(), EVER)

    def test_sums_of_the_largest_counts_stay_exact(self, store: Store) -> None:
        events = [make_event(str(n), tokens=(MAX_COUNT - n, MAX_COUNT)) for n in range(5)]
        for event in events:
            store.append([event])

        found = store.aggregate(EVER)
        assert found.total_input_tokens == 5 * MAX_COUNT - 10
        assert found.total_output_tokens == 5 * MAX_COUNT
        (point,) = store.timeseries(EVER, [0, 2 * BASE])
        assert point.input_tokens == 5 * MAX_COUNT - 10

    def test_figures_of_extreme_events(self, store: Store) -> None:
        store.append(extreme_events())
        self._check(store, extreme_events(), EVER)
        for dimension in DIMENSIONS:
            expected = fold_timeseries(extreme_events(), [0, BASE, 2 * BASE], dimension)
            assert_same_points(store.timeseries(EVER, [0, BASE, 2 * BASE], dimension), expected)

    def test_percentiles_hold_over_every_size_of_duration(self, store: Store) -> None:
        chance = random.Random(5)
        durations = [0.0, *(10 ** chance.uniform(-3, 15) for _ in range(499))]
        events = [make_event(str(n), duration_ms=ms) for n, ms in enumerate(durations)]
        store.append(events)
        self._check(store, events, EVER)

    def test_percentiles_of_few_values_are_by_nearest_rank(self, store: Store) -> None:
        for n, ms in enumerate((10.0, 1_000.0, 20.0, 500.0)):
            store.append([make_event(str(n), duration_ms=ms)])
        found = store.aggregate(EVER).latency_ms

        assert found.p50 == pytest.approx(20, rel=0.02)
        assert found.p90 == found.p99 == found.max == pytest.approx(1_000, rel=0.02)

    def test_any_range_has_the_figures_of_its_events(self, store: Store) -> None:
        store.append(_events())
        chance = random.Random(7)

        for _ in range(15):
            start, end = sorted(chance.randint(START, BASE) for _ in range(2))
            self._check(store, _events(), Selection(start=start, end=end))

    def test_ranges_at_the_edges_of_minutes_hours_and_days(self, store: Store) -> None:
        edges = _edges_of_grains()
        events = [make_event(str(n), at, duration_ms=float(n)) for n, at in enumerate(edges)]
        store.append(events)

        for start in edges:
            for end in edges[bisect_left(edges, start) :]:
                found = store.aggregate(Selection(start=start, end=end))
                assert found.total_requests == bisect_right(edges, end) - bisect_left(edges, start)

    @pytest.mark.parametrize("dimension", DIMENSIONS)
    def test_filtered_figures_are_those_of_the_events(
        self, store: Store, dimension: Dimension
    ) -> None:
        store.append(_events())
        values = sorted({dimension_of(event, dimension) for event in _events()}, key=repr)

        for chosen in [[value] for value in values] + [values[:2]]:
            filters = {dimension: frozenset(chosen)}
            self._check(
                store, _events(), Selection(start=START + 77, end=BASE - 33, filters=filters)
            )

    def test_figures_filtered_by_two_dimensions(self, store: Store) -> None:
        store.append(_events())
        wanted = Selection(
            start=START + 1,
            end=BASE - 1,
            filters={"model": frozenset(["gpt-4o", None]), "success": frozenset([False])},
        )
        assert store.aggregate(wanted).total_requests > 0
        self._check(store, _events(), wanted)

    def test_late_and_out_of_order_events_are_counted(self, store: Store) -> None:
        events = sorted(_events()[:400], key=lambda event: event.id)
        for at in range(0, 400, 80):
            store.append(events[at : at + 80])
            self._check(store, events[: at + 80], Selection(start=START, end=BASE - 7))

    def _check(self, store: Store, events: list[Event], wanted: Selection) -> None:
        expected = fold_aggregate(event for event in events if wanted.matches(event))
        assert_same_aggregate(store.aggregate(wanted), expected)

    @pytest.mark.parametrize("group_by", [None, *DIMENSIONS])
    def test_a_series_has_the_figures_of_each_bucket_and_group(
        self, store: Store, group_by: Dimension | None
    ) -> None:
        store.append(_events())
        wanted = Selection(start=BASE - 2 * HOUR + 17, end=BASE - 29)
        edges = list(range(wanted.start - wanted.start % 300, wanted.end + 300, 300))

        self._check_series(store, wanted, edges, group_by)

    @pytest.mark.parametrize("size", [MINUTE, 15 * MINUTE, HOUR, DAY])
    def test_a_series_of_any_grain(self, store: Store, size: int) -> None:
        store.append(_events())
        wanted = Selection(start=BASE - 300 * size, end=BASE)
        edges = list(range(wanted.start - wanted.start % size, BASE + size, size))

        self._check_series(store, wanted, edges, None)
        self._check_series(store, wanted, edges, "model")

    def test_buckets_may_differ_in_length(self, store: Store) -> None:
        store.append(_events())
        edges = [START, START + 23 * HOUR, START + 47 * HOUR + 1, BASE - 61, BASE]

        self._check_series(store, EVER, edges, None)
        self._check_series(store, EVER, edges, "backend")

    def test_a_series_is_filtered(self, store: Store) -> None:
        store.append(_events())
        filters = {"model": frozenset(["gpt-4o", "GPT-4o"]), "stream": frozenset([True])}
        wanted = Selection(start=START, end=BASE, filters=filters)  # type: ignore[arg-type]

        self._check_series(store, wanted, list(range(START, BASE + HOUR, HOUR)), "status_code")

    def test_an_event_on_an_edge_belongs_to_the_later_bucket(self, store: Store) -> None:
        store.append(
            [make_event(str(n), BASE + offset) for n, offset in enumerate((-1, 0, 59, 60))]
        )
        found = store.timeseries(EVER, [BASE - 60, BASE, BASE + 60])

        assert [(point.start, point.requests) for point in found] == [(BASE - 60, 1), (BASE, 2)]

    def test_a_series_counts_only_what_its_range_holds(self, store: Store) -> None:
        store.append([make_event(str(n), BASE + n) for n in range(300)])
        for start, end in ((BASE + 59, BASE + 120), (BASE + 60, BASE + 61), (BASE, BASE + 299)):
            found = store.timeseries(
                Selection(start=start, end=end), list(range(BASE - 120, BASE + 600, 60)), "model"
            )
            assert sum(point.requests for point in found) == end - start + 1

    def test_a_bucket_without_events_is_left_out(self, store: Store) -> None:
        store.append([make_event("a", BASE), make_event("b", BASE + 200)])
        found = store.timeseries(EVER, list(range(BASE, BASE + 301, 100)))

        assert [point.start for point in found] == [BASE, BASE + 200]
        assert store.timeseries(EVER, [BASE + 1, BASE + 100]) == []

    def _check_series(
        self, store: Store, wanted: Selection, edges: list[int], group_by: Dimension | None
    ) -> None:
        assert all(one < other for one, other in pairwise(edges))
        chosen = [event for event in _events() if wanted.matches(event)]
        expected = fold_timeseries(chosen, edges, group_by)
        assert len(expected) > 2
        assert_same_points(store.timeseries(wanted, edges, group_by), expected)
