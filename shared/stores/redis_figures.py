"""Figures out of Redis: cells for the inside of a range, events for its edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.stores.base import Dimension, Selection
from shared.stores.redis_layout import CellFields, Keys, fields_that_begin, unpack_row
from shared.stores.redis_reader import Reader
from shared.stores.redis_server import Command, RedisServer
from shared.stores.rollup import HOUR, Cube, Row, Span, Values, cover, row_of

_HASHES = 100
"""Hashes of cells that are read at once."""
_FEW = 10


def rows(
    server: RedisServer,
    keys: Keys,
    fields: CellFields,
    selection: Selection,
    cube: Cube,
    edges: Sequence[int],
) -> Iterator[Row]:
    """Rows of `cube` that are the selection between the first and the last of `edges`.

    `cube` knows every dimension of the filters; no row lies across an edge.
    """
    reader = Reader(server, keys)
    start, stop = max(edges[0], selection.start), min(edges[-1], selection.end + 1)
    hours = reader.hours(start, stop - 1) if start < stop else []
    if not hours:
        return
    start, stop = max(start, hours[0]), min(stop, hours[-1] + HOUR)
    within = [start, *(edge for edge in edges if start < edge < stop), stop]
    cells = Cells(server, keys, fields, cube, selection)
    for span in cover(within, cube.grains):
        if span.grain:
            yield from cells.rows(span.grain, _starts(span, hours))
        else:
            part = Selection(start=span.start, end=span.stop - 1, filters=selection.filters)
            for events in reader.matching(part):
                yield from (row_of(event, cube) for event in events)


def _starts(span: Span, hours: Sequence[int]) -> list[int]:
    """The starts of the cells of a span that may be there."""
    grain, start, stop = span.grain, span.start, span.stop
    if grain >= HOUR:
        return sorted({hour - hour % grain for hour in hours if start <= hour < stop})
    return [
        minute
        for hour in hours
        if start < hour + HOUR and hour < stop
        for minute in range(max(hour, start), min(hour + HOUR, stop), grain)
    ]


class Cells:
    """The cells of one cube that match a selection's filters."""

    def __init__(
        self,
        server: RedisServer,
        keys: Keys,
        fields: CellFields,
        cube: Cube,
        selection: Selection,
    ) -> None:
        self._server = server
        self._keys = keys
        self._values = fields.values
        self._cube = cube
        self._filters = [
            (cube.dimensions.index(name), values) for name, values in selection.filters.items()
        ]
        self._patterns = _patterns(cube, selection)

    def rows(self, grain: int, starts: Sequence[int]) -> Iterator[Row]:
        for at in range(0, len(starts), _HASHES):
            some = starts[at : at + _HASHES]
            names = [self._keys.cells(self._cube, grain, start) for start in some]
            hashes = self._scan(names) if self._patterns else self._whole(names)
            for start, cells in zip(some, hashes, strict=True):
                for field, packed in cells.items():
                    values = self._values(field)
                    if self._matches(values):
                        yield unpack_row(start, values, packed)

    def _matches(self, values: Values) -> bool:
        return all(values[place] in wanted for place, wanted in self._filters)

    def _whole(self, names: Sequence[str]) -> list[dict[bytes, bytes]]:
        return self._server.pipeline([("HGETALL", name) for name in names])

    def _scan(self, names: Sequence[str]) -> list[dict[bytes, bytes]]:
        """Only the fields that begin as the filter says; Redis looks through the others."""
        found: list[dict[bytes, bytes]] = [{} for _ in names]
        open_scans = [(i, pattern, 0) for i in range(len(names)) for pattern in self._patterns]
        while open_scans:
            commands: list[Command] = [
                ("HSCAN", names[i], cursor, "MATCH", pattern, "COUNT", 5_000)
                for i, pattern, cursor in open_scans
            ]
            replies = self._server.pipeline(commands)
            following = []
            for (i, pattern, _), (cursor, cells) in zip(open_scans, replies, strict=True):
                found[i].update(cells)
                if cursor:
                    following.append((i, pattern, cursor))
            open_scans = following
        return found


def _patterns(cube: Cube, selection: Selection) -> list[bytes]:
    """Patterns that find the fields of a few values of the first of many dimensions."""
    first: Dimension = cube.dimensions[0]
    wanted = selection.filters.get(first, ())
    if len(cube.dimensions) < 8 or not 0 < len(wanted) <= _FEW:
        return []
    return [fields_that_begin(cube, value) for value in wanted]
