"""Rollups: additive sums of events, for stores that keep them beside the events.

A store writes, in the same transaction as new events, what they add to each cell: a cube, a grain,
a start, and the cube's values. When events end it writes the same with the opposite sign. An answer
takes the inside of its range from the coarsest grain and its edges from the events themselves
(`cover`), so it is exact to the second.

Cubes keep the number of cells small: an answer uses the first cube that knows all dimensions it
filters and groups by. A cube of every dimension at once would have almost as many cells as there
are events.

Cells lie together in places (`Place`); what is in one is summed when it is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from shared.events import Event
from shared.stores.base import DIMENSIONS, Dimension, DimensionValue

MINUTE, HOUR, DAY = 60, 3_600, 86_400

Values = tuple[DimensionValue, ...]
Filters = Mapping[Dimension, frozenset[DimensionValue]]


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
    # By the minute this one would be as long as the events, so its edges are read from them. A day
    # of it would be rewritten all day long, and its hours are read as fast.
    Cube("everything", DIMENSIONS, (HOUR,)),
)

PARTED = "everything"
"""This cube is long: its cells are kept in parts, told apart by the key they are of."""
PARTS = 16

BLOCKS = {MINUTE: HOUR, HOUR: DAY, DAY: DAY}
"""How many seconds of a grain's cells lie together. A minute by itself may hold a few events."""


def cube_for(wanted: Iterable[Dimension]) -> Cube:
    """The smallest cube that knows every dimension of `wanted`."""
    wanted = tuple(wanted)
    return next(cube for cube in CUBES if cube.knows(wanted))


def part_of(value: DimensionValue) -> int:
    """Which of `PARTS` parts the cells of a value are kept in; the same on every machine."""
    return zlib.crc32(repr(value).encode()) % PARTS


class Place(NamedTuple):
    """Where the cells of one sum are kept: `block` is its first second."""

    cube: str
    grain: int
    block: int
    part: int

    def ended(self, horizon: int) -> bool:
        """Whether all of its time has ended."""
        return self.block + BLOCKS[self.grain] <= horizon + 1


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
