"""Rollups kept in a dict give the figures of a plain fold, for any range, filter and group."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import Cost, Event, Performance, Request, Response, Routing, TokenUsage
from shared.stores.base import DIMENSIONS, Aggregate, Dimension, Selection
from shared.stores.fold import fold_aggregate, fold_timeseries
from shared.stores.histogram import (
    ALPHA,
    bucket_of,
    compact_histogram,
    latency_of,
    pack_histogram,
    value_of,
)
from shared.stores.rollup import (
    Cell,
    Row,
    Summary,
    aggregate_rows,
    cover,
    cube_for,
    row_of,
    summarise,
    timeseries_rows,
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
    st.floats(0, 1e6),
)


class DictStore:
    """Events and their rollups, without a database."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.cells: dict[Cell, Summary] = {}

    def apply(self, changed: list[Event], sign: int) -> None:
        for cell, summary in summarise(changed, sign).items():
            self.cells.setdefault(cell, Summary()).merge(summary)

    def rows(self, edges: list[int], wanted: set[Dimension]) -> list[Row]:
        cube = cube_for(wanted)
        rows: list[Row] = []
        for span in cover(edges, cube.grains):
            if span.grain == 0:
                inside = [e for e in self.events if span.start <= e.timestamp < span.stop]
                rows += [row_of(event, cube) for event in inside]
            rows += [
                Row(cell.start, cell.values, summary.numbers(), summary.packed_histogram())
                for cell, summary in self.cells.items()
                if (cell.cube, cell.grain) == (cube, span.grain)
                and span.start <= cell.start < span.stop
            ]
        return rows


@given(st.lists(events, max_size=40), st.integers(0, 86_400), st.integers(0, 3 * 86_400))
def test_an_aggregate_from_rollups_is_the_fold_of_the_events(
    given_events: list[Event], start: int, length: int
) -> None:
    store = DictStore()
    store.events = given_events
    store.apply(given_events, 1)
    selection = Selection(start=ORIGIN + start, end=ORIGIN + start + length)
    wanted: set[Dimension] = {"model", "endpoint", "backend"}

    rows = store.rows([selection.start, selection.end + 1], wanted)
    figures = aggregate_rows(rows, cube_for(wanted))

    expected = fold_aggregate(filter(selection.matches, given_events))
    assert _flat(figures) == pytest.approx(_flat(expected), rel=0.02, abs=2e-3)
    figures.latency_ms = expected.latency_ms
    assert _flat(figures) == pytest.approx(_flat(expected), rel=1e-9, abs=1e-9)


def _flat(figures: Aggregate) -> dict[str, float]:
    """Every number of the figures by its path; -1 for none."""
    flat: dict[str, float] = {}
    for name, value in asdict(figures).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        flat.update((f"{name}.{part}", -1 if n is None else n) for part, n in parts)
    return flat


@given(st.lists(events, max_size=40), st.sampled_from(DIMENSIONS))
def test_a_time_series_from_rollups_is_the_fold_of_the_events(
    given_events: list[Event], group_by: Dimension
) -> None:
    store = DictStore()
    store.events = given_events
    store.apply(given_events, 1)
    edges = [ORIGIN + 100, *range(ORIGIN - ORIGIN % 3_600 + 3_600, ORIGIN + 200_000, 3_600)]

    points = timeseries_rows(store.rows(edges, {group_by}), cube_for({group_by}), edges, group_by)

    expected = fold_timeseries(given_events, edges, group_by)
    assert [(p.start, p.group, p.requests, p.input_tokens) for p in points] == [
        (p.start, p.group, p.requests, p.input_tokens) for p in expected
    ]


@given(st.lists(events, max_size=20, unique_by=lambda event: event.id))
def test_events_that_end_leave_every_cell_at_zero(given_events: list[Event]) -> None:
    store = DictStore()
    store.apply(given_events, 1)
    store.apply(given_events, -1)

    assert all(
        summary.requests == 0 and not any(summary.histogram.values())
        for summary in store.cells.values()
    )


@given(st.floats(1e-3, 1e15))
def test_a_bucket_stands_for_its_durations_within_alpha(duration: float) -> None:
    assert value_of(bucket_of(duration)) == pytest.approx(duration, rel=ALPHA * 1.0001)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_joined_histograms_are_their_sum(durations: list[float]) -> None:
    joined = b""
    for duration in durations:
        joined += pack_histogram({bucket_of(duration): 1})

    assert latency_of(compact_histogram(joined)) == latency_of(joined)
    assert latency_of(joined).max == pytest.approx(max(durations), rel=ALPHA * 1.01, abs=1e-3)


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
