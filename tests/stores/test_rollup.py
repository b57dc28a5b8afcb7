"""Rollups kept in a dict give the figures of a plain fold, for any range, filter and group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import (
    MAX_COUNT,
    Cost,
    Event,
    Performance,
    Request,
    Response,
    Routing,
    TokenUsage,
)
from shared.stores.base import DIMENSIONS, Dimension, Selection, dimension_of
from shared.stores.cells import Cells, Measures
from shared.stores.figures import Adder, aggregate_cells, points_of_cells, zeros
from shared.stores.fold import fold_aggregate, fold_timeseries
from shared.stores.histogram import ALPHA, buckets_of, latencies_of, value_of
from shared.stores.rollup import BLOCKS, CUBES, HOUR, Place, cover, cube_for
from shared.stores.segments import (
    MERGE_AT,
    QUIET_SECONDS,
    Tally,
    pack,
    placed,
    unpack,
    worth_merging,
)
from tests.stores.samples import (
    BASE,
    DAY,
    Clock,
    assert_same_aggregate,
    assert_same_points,
    make_event,
    varied_events,
)

ORIGIN = 1_700_000_000

events = st.builds(
    lambda number, at, model, status, tokens, cost, duration: Event(
        id=f"{number}-{at}",
        timestamp=ORIGIN + at,
        request=Request(endpoint="/v1/chat/completions", model=model, input_tokens=7),
        response=None if status is None else Response(status_code=status),
        performance=Performance(duration_ms=duration, tokens_per_second=duration or None),
        routing=Routing(backend=model or "unknown"),
        token_usage=None if tokens is None else TokenUsage(tokens, tokens, cached_tokens=1),
        cost=None if cost is None else Cost(total_cost=cost),
    ),
    st.integers(0, 9),
    st.integers(0, 3 * 86_400),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, 200, 404]),
    st.sampled_from([None, 0, 5]),
    st.sampled_from([None, 0.5]),
    st.one_of(st.just(0.0), st.floats(1e-3, 1e6)),
)


def _cells(events: list[Event], sign: int = 1) -> Cells:
    usages = [event.token_usage for event in events]
    measures = Measures(
        timestamp=[event.timestamp for event in events],
        dimensions={name: [dimension_of(e, name) for e in events] for name in DIMENSIONS},
        input_tokens=[event.input_tokens for event in events],
        output_tokens=[event.output_tokens for event in events],
        cached_tokens=[None if usage is None else usage.cached_tokens for usage in usages],
        reasoning_tokens=[None if usage is None else usage.reasoning_tokens for usage in usages],
        cost=[event.total_cost for event in events],
        duration_ms=[event.performance.duration_ms for event in events],
        rate=[event.performance.tokens_per_second for event in events],
    )
    return Cells.of(measures, sign)


class DictStore:
    """Events and their rollups, without a database: the segments of each place."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.segments: dict[Place, list[bytes]] = {}

    def add(self, events: list[Event]) -> None:
        self.events += events
        for place, cells in placed(_cells(events)) if events else ():
            self.segments.setdefault(place, []).append(pack(cells, place.block))

    def sum(self, edges: list[int], adder: Adder, wanted: set[Dimension]) -> Cells | None:
        cube = cube_for(wanted)
        for span in cover(edges, cube.grains):
            if span.grain == 0:
                inside = [e for e in self.events if span.start <= e.timestamp < span.stop]
                if inside:
                    adder.add(_cells(inside).coarser(cube.dimensions, 1))
                continue
            for place, segments in self.segments.items():
                if (place.cube, place.grain) == (cube.name, span.grain):
                    for data in segments:
                        adder.add(unpack(data, cube, place.block).within([span]))
        return adder.sum()


@given(
    st.lists(events, max_size=40),
    st.integers(0, 40),
    st.integers(0, 86_400),
    st.integers(1, 3 * 86_400),
)
def test_an_aggregate_from_rollups_is_the_fold_of_the_events(
    given_events: list[Event], cut: int, start: int, length: int
) -> None:
    store = DictStore()
    store.add(given_events[:cut])
    store.add(given_events[cut:])
    selection = Selection(start=ORIGIN + start, end=ORIGIN + start + length)
    dimensions: tuple[Dimension, ...] = ("model", "endpoint", "backend")

    edges = [selection.start, selection.end + 1]
    cells = store.sum(edges, Adder(dimensions, zeros), set(dimensions))

    expected = fold_aggregate(filter(selection.matches, given_events))
    assert (cells is None) == (expected.total_requests == 0)
    if cells is not None:
        assert_same_aggregate(aggregate_cells(cells), expected)


@given(st.lists(events, max_size=40), st.sampled_from(DIMENSIONS))
def test_a_time_series_from_rollups_is_the_fold_of_the_events(
    given_events: list[Event], group_by: Dimension
) -> None:
    store = DictStore()
    store.add(given_events)
    edges = [ORIGIN + 100, *range(ORIGIN - ORIGIN % 3_600 + 3_600, ORIGIN + 200_000, 3_600)]
    bounds = np.array(edges)

    adder = Adder((group_by,), lambda s: bounds[np.searchsorted(bounds, s, side="right") - 1])
    cells = store.sum(edges, adder, {group_by})

    found = [] if cells is None else points_of_cells(cells, group_by)
    assert_same_points(found, fold_timeseries(given_events, edges, group_by))


def test_a_place_knows_when_all_of_its_time_has_ended() -> None:
    for grain, size in BLOCKS.items():
        place = Place("traffic", grain, DAY, 0)
        assert place.ended(DAY + size - 1)
        assert not place.ended(DAY + size - 2)


def test_segments_are_merged_with_what_is_not_far_larger() -> None:
    assert worth_merging([5, 5, 5, 5]) == 4
    assert worth_merging([1, 1, 100]) == 2
    assert worth_merging([1, 3, 9, 27]) == 1
    assert worth_merging([1, 1, 1, 6, 18]) == 5
    assert worth_merging([1, 3, 6, 6, 6, 100]) == 5


@given(st.integers(1, 60), st.integers(0, 9))
def test_cells_packed_and_read_again_give_the_figures_of_their_events(
    count: int, seed: int
) -> None:
    chosen = varied_events(count, start=BASE, end=BASE + 50, seed=seed)
    for cube in CUBES:
        summed = _cells(chosen).coarser(cube.dimensions, HOUR)
        read = [unpack(pack(each, block), cube, block) for block, each in summed.by_block(DAY)]
        joined = Cells.join(read)
        if "model" in cube.dimensions:
            assert_same_aggregate(aggregate_cells(joined), fold_aggregate(chosen))
        for name in cube.dimensions:
            points = points_of_cells(joined.regrouped((name,), joined.start * 0), name)
            assert_same_points(points, fold_timeseries(chosen, [0, 2 * BASE], name))


def test_cells_less_their_own_events_are_none() -> None:
    chosen = varied_events(80, start=BASE, end=BASE + 50)
    both = Cells.join([_cells(chosen), _cells(chosen[::-1], sign=-1)])
    assert len(both.coarser(DIMENSIONS, HOUR)) == 0


def test_sums_of_tokens_go_past_64_bits() -> None:
    many = [make_event(str(n), tokens=(MAX_COUNT, MAX_COUNT - n)) for n in range(3_000)]
    summed = _cells(many).coarser(("model", "endpoint", "backend"), HOUR)
    assert aggregate_cells(summed).total_input_tokens == 3_000 * MAX_COUNT > 2**64
    (point,) = points_of_cells(summed.regrouped((), summed.start * 0), None)
    assert point.output_tokens == 3_000 * MAX_COUNT - sum(range(3_000))


def test_values_of_many_dimensions_are_told_apart_however_many_there_are() -> None:
    chance = np.random.default_rng(1)
    many = [
        make_event(
            str(n),
            model=f"m{chance.integers(10**9)}",
            endpoint=f"e{chance.integers(10**9)}",
            backend=f"b{chance.integers(10**9)}",
            api_key_id=f"k{chance.integers(10**9)}",
            upstream_mode=f"u{chance.integers(10**9)}",
        )
        for n in range(20_000)
    ]
    summed = _cells([*many, *many]).coarser(DIMENSIONS, HOUR)
    assert len(summed) == 20_000
    assert set(summed.count("requests").tolist()) == {2}


def test_a_place_is_due_once_it_holds_many_segments_or_has_been_quiet() -> None:
    clock = Clock(0)
    tally = Tally(clock)
    busy, calm, single = (Place("traffic", HOUR, n, 0) for n in range(3))
    for _ in range(MERGE_AT):
        tally.add([busy])
    tally.add([calm, calm, single])

    assert tally.take_due() == [busy]
    assert tally.take_due() == []
    clock.now = QUIET_SECONDS
    assert tally.take_due() == [calm]
    clock.now *= 9
    assert tally.take_due() == []


@given(st.lists(st.floats(1e-3, 1e15), min_size=1))
def test_a_bucket_stands_for_its_durations_within_alpha(durations: list[float]) -> None:
    buckets = buckets_of(np.array(durations)).tolist()
    assert [value_of(bucket) for bucket in buckets] == pytest.approx(durations, rel=ALPHA * 1.0001)


def test_percentiles_are_by_nearest_rank_for_each_histogram() -> None:
    ones, twos = buckets_of(np.array([1.0, 2.0])).tolist()
    group, bucket, count = np.array([[2, ones, 99], [2, twos, 1], [0, twos, 5]]).T

    few, none, many = latencies_of(group, bucket, count, 3)
    assert none.p50 is None
    assert few.p50 == few.max == pytest.approx(2, rel=ALPHA)
    assert many.p99 == pytest.approx(1, rel=ALPHA)
    assert many.max == pytest.approx(2, rel=ALPHA)


def test_the_inside_of_a_range_comes_from_days_and_its_edges_from_finer_grains() -> None:
    spans = cover([59, 3 * 86_400 + 61], (86_400, 3_600, 60))

    assert [(s.grain, s.start, s.stop) for s in spans] == [
        (0, 59, 60),
        (60, 60, 3_600),
        (3_600, 3_600, 86_400),
        (86_400, 86_400, 259_200),
        (60, 259_200, 259_260),
        (0, 259_260, 259_261),
    ]
