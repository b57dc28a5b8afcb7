"""Rollups: additive summaries of events, for stores that keep them beside the events.

A store writes, in the same transaction as new events, the `Summary` of each cell they fall in: a
cube, a grain, a start, and the cube's values. When events end it writes the same with the opposite
sign. An answer takes the inside of its range from the coarsest grain and its edges from the events
themselves (`cover`), so it is exact to the second.

Cubes keep the number of cells small: an answer uses the first cube that knows all dimensions it
filters and groups by. A cube of every dimension at once would have almost as many cells as there
are events.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from shared.events import Event
from shared.stores.base import (
    DIMENSIONS,
    Aggregate,
    Dimension,
    DimensionValue,
    Latency,
    Point,
    dimension_of,
)
from shared.stores.fold import point_order
from shared.stores.histogram import latency_of
from shared.stores.summary import COUNTS, NUMBERS, SUMS, Summary, figures_of

__all__ = [
    "COUNTS",
    "CUBES",
    "DAY",
    "HOUR",
    "MINUTE",
    "NUMBERS",
    "SUMS",
    "Cell",
    "Cube",
    "Row",
    "Span",
    "Summary",
    "Values",
    "aggregate_rows",
    "cover",
    "cube_for",
    "row_of",
    "summarise",
    "timeseries_rows",
    "values_of",
]

MINUTE, HOUR, DAY = 60, 3_600, 86_400

Values = tuple[DimensionValue, ...]


@dataclass(frozen=True, slots=True)
class Cube:
    """Cells that are told apart by `dimensions`, kept at each of `grains` (seconds, descending)."""

    name: str
    dimensions: tuple[Dimension, ...]
    grains: tuple[int, ...]

    def knows(self, wanted: Iterable[Dimension]) -> bool:
        return set(wanted) <= set(self.dimensions)


CUBES: tuple[Cube, ...] = (
    Cube("traffic", ("model", "endpoint", "backend"), (DAY, HOUR, MINUTE)),
    Cube("keys", ("api_key_id",), (DAY, HOUR, MINUTE)),
    Cube(
        "outcome",
        ("model", "endpoint", "backend", "status_code", "success", "upstream_mode", "stream"),
        (DAY, HOUR, MINUTE),
    ),
    # By the minute this one would be as long as the events; its edges are read from them.
    Cube("everything", DIMENSIONS, (DAY, HOUR)),
)


def cube_for(wanted: Iterable[Dimension], cubes: Sequence[Cube] = CUBES) -> Cube:
    """The smallest cube that knows every dimension of `wanted`."""
    wanted = tuple(wanted)
    return next(cube for cube in cubes if cube.knows(wanted))


class Cell(NamedTuple):
    """Where a summary belongs: `start` in Unix seconds, `values` in the cube's order."""

    cube: Cube
    grain: int
    start: int
    values: Values


def summarise(
    events: Iterable[Event], sign: int = 1, cubes: Sequence[Cube] = CUBES
) -> dict[Cell, Summary]:
    """The summaries that `events` add to (or, with `sign` -1, take from) each cell."""
    finest: list[dict[tuple[int, Values], Summary]] = [{} for _ in cubes]
    picks = [_pick(cube.dimensions) for cube in cubes]
    for event in events:
        figures, every, timestamp = figures_of(event, sign), values_of(event), event.timestamp
        for cube, pick, cells in zip(cubes, picks, finest, strict=True):
            key = (timestamp - timestamp % cube.grains[-1], pick(every))
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = Summary()
            cell.add(figures)
    summaries: dict[Cell, Summary] = {}
    for cube, cells in zip(cubes, finest, strict=True):
        _roll_up(cube, cells, summaries)
    return summaries


def values_of(event: Event) -> Values:
    """The event's value of each of `DIMENSIONS`, in their order."""
    request, routing, response = event.request, event.routing, event.response
    return (
        request.model,
        request.endpoint,
        routing.backend,
        event.auth.api_key_id,
        None if response is None else response.status_code,
        None if response is None else response.succeeded,
        routing.upstream_mode,
        request.stream,
    )


def _pick(dimensions: tuple[Dimension, ...]) -> Callable[[Values], Values]:
    """Picks the values of `dimensions` out of those of all."""
    positions = [DIMENSIONS.index(name) for name in dimensions]
    if len(positions) == 1:
        only = positions[0]
        return lambda every: (every[only],)
    return itemgetter(*positions)


def _roll_up(
    cube: Cube, finest: dict[tuple[int, Values], Summary], into: dict[Cell, Summary]
) -> None:
    cells = finest
    for grain in reversed(cube.grains):
        coarser: dict[tuple[int, Values], Summary] = {}
        for (start, values), summary in cells.items():
            key = (start // grain * grain, values)
            if grain == cube.grains[-1]:
                coarser[key] = summary
            else:
                coarser.setdefault(key, Summary()).merge(summary)
        for (start, values), summary in coarser.items():
            into[Cell(cube, grain, start, values)] = summary
        cells = coarser


class Span(NamedTuple):
    """`start` ≤ time < `stop`, in whole grains; a grain of 0 stands for the events themselves."""

    grain: int
    start: int
    stop: int


def cover(edges: Sequence[int], grains: Sequence[int]) -> list[Span]:
    """Spans that together are `edges[0]` ≤ time < `edges[-1]`, none of them across an edge.

    Each stretch between two edges takes the coarsest grains that fit in it; neighbours of one
    grain are joined, so a span may hold several stretches but never cuts a cell of its grain.
    """
    spans: list[Span] = []
    for start, stop in pairwise(edges):
        for span in _cover_stretch(start, stop, tuple(grains)):
            last = spans[-1] if spans else None
            if last is not None and last.grain == span.grain and last.stop == span.start:
                spans[-1] = Span(span.grain, last.start, span.stop)
            else:
                spans.append(span)
    return spans


def _cover_stretch(start: int, stop: int, grains: tuple[int, ...]) -> list[Span]:
    if start >= stop:
        return []
    if not grains:
        return [Span(0, start, stop)]
    grain, finer = grains[0], grains[1:]
    first, last = -(-start // grain) * grain, stop // grain * grain
    if first >= last:
        return _cover_stretch(start, stop, finer)
    return [
        *_cover_stretch(start, first, finer),
        Span(grain, first, last),
        *_cover_stretch(last, stop, finer),
    ]


class Row(NamedTuple):
    """A stored summary as it is read: a cell's start and values, `NUMBERS`, the histogram."""

    start: int
    values: Values
    numbers: Sequence[float]
    histogram: bytes


def row_of(event: Event, cube: Cube) -> Row:
    """An event at the edge of a range, as a row of its own."""
    summary = Summary()
    summary.add_event(event)
    values = tuple(dimension_of(event, name) for name in cube.dimensions)
    return Row(event.timestamp, values, summary.numbers(), summary.packed_histogram())


class _Total:
    """Adds rows up; histograms are joined first and counted once."""

    __slots__ = ("histograms", "numbers")

    def __init__(self) -> None:
        self.numbers: list[float] = [0] * len(NUMBERS)
        self.histograms: list[bytes] = []

    def add(self, row: Row) -> None:
        self.numbers = [mine + theirs for mine, theirs in zip(self.numbers, row.numbers)]  # noqa: B905
        self.histograms.append(row.histogram)

    def __getitem__(self, name: str) -> float:
        return self.numbers[_INDEX[name]]

    def count(self, name: str) -> int:
        return int(self[name])

    def latency(self) -> Latency:
        return latency_of(b"".join(self.histograms))


_INDEX = {name: position for position, name in enumerate(NUMBERS)}


def aggregate_rows(rows: Iterable[Row], cube: Cube) -> Aggregate:
    """The aggregate of rows of one cube, which must know model, endpoint and backend."""
    model, endpoint, backend = (
        cube.dimensions.index(name) for name in ("model", "endpoint", "backend")
    )
    total = _Total()
    answer = Aggregate()
    for row in rows:
        total.add(row)
        requests = int(row.numbers[_INDEX["requests"]])
        _count(answer.endpoints_hit, row.values[endpoint], requests)
        _count(answer.backends_used, row.values[backend], requests)
        if (name := row.values[model]) is not None:
            _count(answer.models_used, name, requests)
            if requests > row.numbers[_INDEX["unpriced"]]:
                costs = answer.cost_by_model
                costs[str(name)] = costs.get(str(name), 0.0) + row.numbers[_INDEX["cost"]]
    answer.total_requests = total.count("requests")
    answer.successful_requests = total.count("successful")
    answer.failed_requests = total.count("failed")
    answer.total_input_tokens = total.count("input_tokens")
    answer.total_output_tokens = total.count("output_tokens")
    answer.total_cached_tokens = total.count("cached_tokens")
    answer.total_reasoning_tokens = total.count("reasoning_tokens")
    answer.unpriced_requests = total.count("unpriced")
    answer.total_cost = float(total["cost"])
    if answer.total_requests:
        answer.avg_duration_ms = total["duration_ms"] / answer.total_requests
    if rated := total.count("rated"):
        answer.avg_tokens_per_second = total["rate"] / rated
    answer.latency_ms = total.latency()
    return answer


def _count(counts: dict[str, int], name: DimensionValue, requests: int) -> None:
    counts[str(name)] = counts.get(str(name), 0) + requests


def timeseries_rows(
    rows: Iterable[Row], cube: Cube, edges: Sequence[int], group_by: Dimension | None
) -> list[Point]:
    """The points of rows of one cube; a row belongs to the bucket that its start is in."""
    position = None if group_by is None else cube.dimensions.index(group_by)
    totals: dict[tuple[int, DimensionValue], _Total] = {}
    for row in rows:
        bucket = bisect_right(edges, row.start) - 1
        group = None if position is None else row.values[position]
        totals.setdefault((edges[bucket], group), _Total()).add(row)
    points = [_point(start, group, total) for (start, group), total in totals.items()]
    return sorted((point for point in points if point.requests), key=point_order)


def _point(start: int, group: DimensionValue, total: _Total) -> Point:
    requests = total.count("requests")
    return Point(
        start=start,
        group=group,
        requests=requests,
        successful_requests=total.count("successful"),
        failed_requests=total.count("failed"),
        input_tokens=total.count("input_tokens"),
        output_tokens=total.count("output_tokens"),
        cost=float(total["cost"]),
        unpriced_requests=total.count("unpriced"),
        avg_duration_ms=total["duration_ms"] / requests if requests else None,
        latency_ms=total.latency(),
    )
