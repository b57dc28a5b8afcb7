"""The SQL store: events and rollups in SQLite, PostgreSQL or MySQL.

One algorithm for all three; what differs is in `sql_dialects` and beside it. Appending is one
transaction: look up which ids are known, insert the events that are new, insert what they add to
the rollups. Where two writers bring the same event at once the table's key refuses one of them,
and it begins anew.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import sqlalchemy as sa

from shared.errors import StoreUnavailable
from shared.events import Event
from shared.stores import sql_rollups
from shared.stores.base import (
    Aggregate,
    Dimension,
    Order,
    Point,
    Position,
    Selection,
    Store,
    StoreStats,
)
from shared.stores.cells import Cells
from shared.stores.columns import Ints
from shared.stores.figures import Adder, aggregate_cells, points_of_cells, zeros
from shared.stores.rollup import Filters, Place, Span, cover, cube_for
from shared.stores.segments import Tally
from shared.stores.sql_dialects import Dialect
from shared.stores.sql_events import first_events, matching
from shared.stores.sql_migrate import upgrade
from shared.stores.sql_rows import MEASURES, Row, event_of, measures_of, row_of
from shared.stores.sql_schema import events

logger = logging.getLogger(__name__)

SCAN_CHUNK = 2_000
EXPIRE_CHUNK = 5_000
EDGE_CHUNK = 20_000
MOST_BEYOND = 500
MERGE_CHUNK = 8
MAINTAIN_CHUNK = 256
_TRIES = 8
_AGGREGATED: tuple[Dimension, ...] = ("model", "endpoint", "backend")
_LAST_SECOND = 253_402_300_799

_MEASURES = [events.c[name] for name in MEASURES]

T = TypeVar("T")


class SqlStore(Store):
    """Events and rollups in a SQL database.

    The schema is made or brought up to date on opening, or at the first call that finds the server
    there. Raises StoreError where the database belongs to a newer version.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        ttl_seconds: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ttl_seconds=ttl_seconds, clock=clock)
        self.backend_type = dialect.backend_type
        self._dialect = dialect
        self._engine = dialect.engine()
        self._readers = dialect.reading(self._engine)
        self._writers = dialect.writing(self._engine)
        self._tally = Tally()
        self._migrating = threading.Lock()
        self._migrated = False
        try:
            self._run(lambda: None)
        except StoreUnavailable as error:
            logger.warning("the store is away; it is asked again", extra={"reason": str(error)})
        except BaseException:
            self.close()
            raise

    def append(self, events: Sequence[Event]) -> int:
        horizon = self.horizon()
        firsts: dict[str, Event] = {}
        for event in events:
            if event.timestamp > horizon:
                firsts.setdefault(event.id, event)
        # In one order for all writers, so that two of them can't wait for each other.
        rows = [row_of(firsts[event_id]) for event_id in sorted(firsts)]
        if not rows:
            return 0
        new, places = self._run(lambda: self._append(rows))
        self._tally.add(places)
        self._merge(self._tally.take_due())
        return new

    def _append(self, rows: list[Row]) -> tuple[int, list[Place]]:
        with self._writers.begin() as connection:
            known = self._known(connection, [row[0] for row in rows])
            new = [row for row in rows if row[0] not in known] if known else rows
            if not new:
                return 0, []
            self._dialect.insert(connection, new)
            cells = Cells.of(measures_of([row[1:-1] for row in new]))
            return len(new), sql_rollups.write(connection, cells)

    def _known(self, connection: sa.Connection, ids: list[str]) -> set[str]:
        chosen = sa.select(events.c.id).where(self._dialect.among(events.c.id, ids))
        return set(connection.execute(chosen).scalars())

    def _merge(self, places: Sequence[Place], *, fully: bool = False) -> None:
        """Tidy up; what goes wrong here is done another time."""

        def some(chosen: Sequence[Place]) -> None:
            with self._writers.begin() as connection:
                sql_rollups.merge(connection, chosen, fully=fully)

        ordered = sorted(places)
        for at in range(0, len(ordered), MERGE_CHUNK):
            chosen = ordered[at : at + MERGE_CHUNK]
            try:
                self._run(lambda chosen=chosen: some(chosen))  # type: ignore[misc]
            except (StoreUnavailable, sa.exc.SQLAlchemyError) as error:
                logger.warning("segments stay unmerged", extra={"reason": str(error)})
                return

    def query(
        self,
        selection: Selection,
        *,
        limit: int,
        order: Order = "desc",
        after: Position | None = None,
    ) -> list[Event]:
        if limit <= 0:
            return []
        return self._run(lambda: self._query(selection, limit, order, after))

    def _query(
        self, selection: Selection, limit: int, order: Order, after: Position | None
    ) -> list[Event]:
        wanted = self.alive(selection)
        chosen = first_events(self._dialect, wanted, limit=limit, order=order, after=after)
        with self._engine.connect() as connection:
            return [event_of(tuple(row)) for row in connection.execute(chosen).all()]

    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        after = None
        while True:
            page = self.query(selection, limit=SCAN_CHUNK, order="asc", after=after)
            if page:
                yield page
                after = Position.of(page[-1])
            if len(page) < SCAN_CHUNK:
                return

    def aggregate(self, selection: Selection) -> Aggregate:
        wanted = self.alive(selection)
        edges = [wanted.start, wanted.end + 1]
        cells = self._sum(edges, wanted.filters, _AGGREGATED, zeros)
        return Aggregate() if cells is None else aggregate_cells(cells)

    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        wanted = self.alive(selection)
        first, last = max(wanted.start, edges[0]), min(wanted.end + 1, edges[-1])
        if first >= last:
            return []
        inner = [first, *(edge for edge in edges if first < edge < last), last]
        bounds = np.array(edges, dtype=np.int64)

        def bucket_of(starts: Ints) -> Ints:
            return bounds[np.searchsorted(bounds, starts, side="right") - 1]

        cells = self._sum(inner, wanted.filters, (group_by,) if group_by else (), bucket_of)
        return [] if cells is None else points_of_cells(cells, group_by)

    def _sum(
        self,
        edges: Sequence[int],
        filters: Filters,
        dimensions: tuple[Dimension, ...],
        start_of: Callable[[Ints], Ints],
    ) -> Cells | None:
        """What happened between the first edge and the last, by `start_of` and `dimensions`."""
        if edges[0] >= edges[-1] or not all(filters.values()):
            return None
        return self._run(lambda: self._sum_once(edges, filters, dimensions, start_of))

    def _sum_once(
        self,
        edges: Sequence[int],
        filters: Filters,
        dimensions: tuple[Dimension, ...],
        start_of: Callable[[Ints], Ints],
    ) -> Cells | None:
        cube = cube_for({*filters, *dimensions})
        spans = cover(edges, cube.grains)
        rolled_up = Adder(dimensions, start_of)
        with self._readers.connect() as connection:
            beyond = self._beyond(connection, edges, spans, cube.grains[-1])
            if beyond is not None:
                spans[-1] = Span(cube.grains[-1], spans[-1].start, beyond.stop)
            for cells in sql_rollups.read(connection, cube, spans, filters):
                rolled_up.add(cells)
            edge = Adder(dimensions, start_of)
            for span in spans:
                if span.grain == 0:
                    for cells in self._events_as_cells(connection, span, filters):
                        edge.add(cells)
            # Summed by themselves: where only counts cancelled, costs would go with them.
            excess = Adder(dimensions, start_of)
            if beyond is not None:
                for cells in self._events_as_cells(connection, beyond, filters, sign=-1):
                    excess.add(cells.moved_to(spans[-1].start))
        found = [each for each in (rolled_up.sum(), edge.sum(), excess.sum()) if each is not None]
        if not found:
            return None
        joined = Cells.join(found)
        return joined.regrouped(dimensions, joined.start).not_below_zero()

    def _beyond(
        self, connection: sa.Connection, edges: Sequence[int], spans: Sequence[Span], grain: int
    ) -> Span | None:
        """What the last grain holds past the last edge, where that is little.

        Most questions reach up to now, and nothing has happened after it: the whole grain without
        the little beyond is as exact as the events up to now, which may be a million.
        """
        last = spans[-1]
        whole = last.start % grain == 0 and last.stop - last.start < grain
        if last.grain or not whole or last.start < edges[-2]:
            return None
        beyond = Span(0, last.stop, last.start + grain)
        time = events.c.timestamp
        some = sa.select(time).where(time >= beyond.start, time < beyond.stop)
        few = some.limit(MOST_BEYOND + 1).subquery()
        count = connection.execute(sa.select(sa.func.count()).select_from(few)).scalar_one()
        return beyond if count <= MOST_BEYOND else None

    def _events_as_cells(
        self, connection: sa.Connection, span: Span, filters: Filters, *, sign: int = 1
    ) -> Iterator[Cells]:
        wanted = Selection(start=span.start, end=span.stop - 1, filters=filters)
        chosen = sa.select(*_MEASURES).where(*matching(self._dialect, wanted))
        streaming = connection.execution_options(stream_results=True, max_row_buffer=EDGE_CHUNK)
        for rows in streaming.execute(chosen).partitions(EDGE_CHUNK):
            yield Cells.of(measures_of([tuple(row) for row in rows]), sign)

    def stats(self) -> StoreStats:
        start = self.horizon() + 1
        total = self.aggregate(Selection(start=start, end=_LAST_SECOND)).total_requests
        time = events.c.timestamp
        ends = [sa.select(end(time)).where(time >= start) for end in (sa.func.min, sa.func.max)]

        def read() -> StoreStats:
            with self._readers.connect() as connection:
                oldest, newest = (connection.execute(each).scalar() for each in ends)
                return StoreStats(
                    total_events=total,
                    oldest_timestamp=oldest,
                    newest_timestamp=newest,
                    size_bytes=self._dialect.size_bytes(connection),
                )

        return self._run(read)

    def ping(self) -> None:
        def ask() -> None:
            with self._engine.connect() as connection:
                connection.execute(sa.select(sa.literal(1)))

        self._run(ask)

    def expire(self) -> int:
        horizon = self.horizon()
        if not horizon:
            return 0
        gone, touched = 0, set[Place]()
        while True:
            count, places = self._run(lambda: self._expire_some(horizon))
            gone += count
            touched.update(places)
            if count < EXPIRE_CHUNK:
                break
        self._merge([place for place in touched if not place.ended(horizon)], fully=True)
        self._drop_ended(horizon)
        self._merge(self._tally.take_due())
        return gone

    def _expire_some(self, horizon: int) -> tuple[int, list[Place]]:
        """Remove some ended events and what they added to the rollups."""
        ended = (
            sa.select(events.c.id, *_MEASURES)
            .where(events.c.timestamp <= horizon)
            .order_by(events.c.timestamp, events.c.id)
            .limit(EXPIRE_CHUNK)
            .with_for_update(skip_locked=True)
        )
        with self._writers.begin() as connection:
            rows = [tuple(row) for row in connection.execute(ended).all()]
            if not rows:
                return 0, []
            ids = [row[0] for row in rows]
            connection.execute(sa.delete(events).where(self._dialect.among(events.c.id, ids)))
            cells = Cells.of(measures_of([row[1:] for row in rows]), sign=-1)
            return len(rows), sql_rollups.write(connection, cells)

    def _drop_ended(self, horizon: int) -> None:
        """Let go of cells that have wholly ended, those of an expiry that was cut short too."""
        before: list[Place] = []
        while True:
            found = self._run(lambda: self._ended_places(horizon))
            if not found or found == before:
                return
            self._merge(found, fully=True)
            before = found

    def _ended_places(self, horizon: int) -> list[Place]:
        with self._engine.connect() as connection:
            return sql_rollups.places_before(connection, horizon + 1, limit=EXPIRE_CHUNK)

    def maintain(self) -> bool:
        """Merge segments, those of processes that are gone too."""
        crowded = self._run(self._crowded_places)
        self._merge(sorted({*crowded[:MAINTAIN_CHUNK], *self._tally.take_due()}))
        return len(crowded) > MAINTAIN_CHUNK

    def _crowded_places(self) -> list[Place]:
        with self._engine.connect() as connection:
            return sql_rollups.crowded_places(connection, limit=MAINTAIN_CHUNK + 1)

    def clear(self) -> None:
        self._run(lambda: self._dialect.clear(self._engine))

    def close(self) -> None:
        self._engine.dispose()

    def _run(self, work: Callable[[], T]) -> T:
        """`work`, again where other writers were in its way.

        Raises StoreUnavailable where the server is away or out of room, or the others are in the
        way again and again; what is wrong with the data is raised as it comes.
        """
        refused: tuple[type[Exception], ...] = (sa.exc.DBAPIError, *self._dialect.errors)
        for turn in range(_TRIES):
            try:
                self._migrate()
                return work()
            except sa.exc.TimeoutError as error:
                raise StoreUnavailable(f"{self.backend_type}: no connection is free") from error
            except refused as error:
                cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
                fault = self._dialect.fault(cause or error)
                if fault == "data":
                    raise
                if fault == "away" or turn == _TRIES - 1:
                    raise StoreUnavailable(f"{self.backend_type}: {cause}") from error
            time.sleep(random.uniform(0, 0.01 * 2**turn))
        raise AssertionError("unreachable")

    def _migrate(self) -> None:
        if self._migrated:
            return
        with self._migrating:
            if not self._migrated:
                with self._dialect.alone(self._engine) as connection:
                    upgrade(connection)
                self._migrated = True
