"""Rollups in Redis: segments of cells, in a hash for each place.

An append adds a segment to each place it falls in and reads none. The segments of a place are
summed when they are read, and now and then replaced by their sum.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from shared.events import Event
from shared.stores.base import DIMENSIONS, Dimension, Selection
from shared.stores.cells import Cells, Measures
from shared.stores.columns import Ints
from shared.stores.figures import Adder
from shared.stores.redis_layout import Keys
from shared.stores.redis_reader import Reader
from shared.stores.redis_server import RedisServer
from shared.stores.rollup import (
    BLOCKS,
    CUBES,
    HOUR,
    PARTED,
    PARTS,
    Cube,
    Place,
    Span,
    cover,
    cube_for,
    part_of,
    values_of,
)
from shared.stores.segments import pack, placed, unpack, worth_merging

_PLACES = 100
"""Places that are read at once."""


def new_id() -> bytes:
    """An id for a segment, which no other has."""
    return secrets.token_bytes(8)


def segments_of(events: Sequence[Event], sign: int = 1) -> dict[Place, bytes]:
    """The segments that `events` add to each place (or, with `sign` -1, take from it)."""
    if not events:
        return {}
    cells = Cells.of(_measures(events), sign)
    return {place: pack(each, place.block) for place, each in placed(cells)}


def _measures(events: Sequence[Event]) -> Measures:
    dimensions = zip(*map(values_of, events), strict=True)
    usages = [event.token_usage for event in events]
    return Measures(
        timestamp=[event.timestamp for event in events],
        dimensions=dict(zip(DIMENSIONS, dimensions, strict=True)),
        input_tokens=[event.input_tokens for event in events],
        output_tokens=[event.output_tokens for event in events],
        cached_tokens=[None if usage is None else usage.cached_tokens for usage in usages],
        reasoning_tokens=[None if usage is None else usage.reasoning_tokens for usage in usages],
        cost=[event.total_cost for event in events],
        duration_ms=[event.performance.duration_ms for event in events],
        rate=[event.performance.tokens_per_second for event in events],
    )


def sum_up(
    server: RedisServer,
    keys: Keys,
    selection: Selection,
    edges: Sequence[int],
    dimensions: Sequence[Dimension],
    start_of: Callable[[Ints], Ints],
) -> Cells | None:
    """What the selection holds from the first edge to before the last, as cells of `dimensions`
    and of the starts that `start_of` gives; None of nothing."""
    start, stop = max(edges[0], selection.start), min(edges[-1], selection.end + 1)
    reader = Reader(server, keys)
    hours = reader.hours(start, stop - 1) if start < stop else []
    if not hours:
        return None
    start, stop = max(start, hours[0]), min(stop, hours[-1] + HOUR)
    cube = cube_for({*selection.filters, *dimensions})
    spans = cover([start, *(e for e in edges if start < e < stop), stop], cube.grains)
    rolled_up, edge = (Adder(dimensions, start_of) for _ in range(2))
    for cells in _within(server, keys, selection, cube, spans, hours):
        rolled_up.add(cells)
    for span in spans:
        if span.grain == 0:
            part = Selection(start=span.start, end=span.stop - 1, filters=selection.filters)
            for events in reader.matching(part):
                edge.add(Cells.of(_measures(events)))
    sums = [found for found in (rolled_up.sum(), edge.sum()) if found is not None]
    if not sums:
        return None
    joined = Cells.join(sums)
    return joined.regrouped(dimensions, joined.start)


def _within(
    server: RedisServer,
    keys: Keys,
    selection: Selection,
    cube: Cube,
    spans: Sequence[Span],
    hours: Sequence[int],
) -> Iterator[Cells]:
    """The cells of a cube in `spans` that match."""
    parts = _parts(cube, selection)
    for grain in cube.grains:
        wanted = [span for span in spans if span.grain == grain]
        places = [
            Place(cube.name, grain, block, part)
            for block in _blocks(wanted, BLOCKS[grain], hours)
            for part in parts
        ]
        for at in range(0, len(places), _PLACES):
            some = places[at : at + _PLACES]
            hashes = server.pipeline([("HVALS", keys.cells(place)) for place in some])
            for place, segments in zip(some, hashes, strict=True):
                for segment in segments:
                    cells = unpack(segment, cube, place.block).within(wanted)
                    yield cells.where(selection.filters)


def _parts(cube: Cube, selection: Selection) -> list[int]:
    if cube.name != PARTED:
        return [0]
    if "api_key_id" not in selection.filters:
        return list(range(PARTS))
    return sorted({part_of(value) for value in selection.filters["api_key_id"]})


def _blocks(spans: Sequence[Span], size: int, hours: Sequence[int]) -> list[int]:
    """The blocks that spans lie in and that have events."""
    present = sorted({hour - hour % size for hour in hours})
    found: dict[int, None] = {}
    for start, stop in ((span.start - span.start % size, span.stop) for span in spans):
        places = range(bisect_left(present, start), bisect_left(present, stop))
        found.update(dict.fromkeys(present[place] for place in places))
    return list(found)


def merge(server: RedisServer, keys: Keys, places: Sequence[Place], *, fully: bool = False) -> None:
    """Replace segments of each place by their sum: all of them (`fully`), or the small ones.

    Where another has been faster, the place is left as that one left it.
    """
    for at in range(0, len(places), _PLACES):
        some = places[at : at + _PLACES]
        hashes = server.pipeline([("HGETALL", keys.cells(place)) for place in some])
        for place, segments in zip(some, hashes, strict=True):
            found = sorted(segments.items(), key=lambda segment: len(segment[1]))
            if not fully:
                found = found[: worth_merging([len(data) for _, data in found])]
            if len(found) > 1 or (fully and found):
                _replace(server, keys, place, found)


def _replace(
    server: RedisServer, keys: Keys, place: Place, segments: Sequence[tuple[bytes, bytes]]
) -> None:
    cube = next(cube for cube in CUBES if cube.name == place.cube)
    joined = Cells.join([unpack(data, cube, place.block) for _, data in segments])
    summed = joined.regrouped(cube.dimensions, joined.start)
    if len(segments) == 1 and len(summed) == len(joined):
        return
    by = (new_id(), pack(summed, place.block)) if len(summed) else None
    server.replace(keys.cells(place), [segment_id for segment_id, _ in segments], by)
