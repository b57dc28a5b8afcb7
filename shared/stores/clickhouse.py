"""The ClickHouse store: one table of columns, on a server, on a cluster, or inside this process.

`clickhouse://user:password@host:8123/database` is a server (also `http://`, `https://`);
`chdb:///path/to/folder` is the engine in this process.

An id is looked up and its event inserted in one step that no other writer shares, so no answer has
to look for repeats. Events lie in the order of time, in partitions of a month, or of a day where
they end within 100 days.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from shared.errors import StoreError
from shared.events import Event
from shared.stores import clickhouse_sql as sql
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
from shared.stores.clickhouse_embedded import EmbeddedEngine, folder_of
from shared.stores.clickhouse_engine import (
    SYNTAX_ERROR,
    UNKNOWN_DATABASE,
    UNKNOWN_TABLE,
    Engine,
    EngineError,
    EngineUnavailable,
)
from shared.stores.clickhouse_expiry import Expiry
from shared.stores.clickhouse_rows import decode_events, row_of
from shared.stores.clickhouse_schema import VERSION, Schema
from shared.stores.clickhouse_server import ServerEngine, database_of, options_of

logger = logging.getLogger(__name__)

EMBEDDED = "chdb"
SCAN_CHUNK = 10_000
_EMBEDDED_DATABASE = "routiium"
_EVER = Selection(start=0, end=2**32 - 1)

T = TypeVar("T")
_definition = msgspec.json.Decoder(tuple[str, str])


def check_url(url: str, variable: str) -> None:
    """Raise SettingsError, by `variable`, where `url` is no store's or its driver is missing."""
    if urlsplit(url).scheme == EMBEDDED:
        folder_of(url, variable)
    else:
        options_of(url, variable)


class ClickHouseStore(Store):
    """Events in ClickHouse.

    The table is made, or given the TTL of the settings, at the first call that finds the server
    there. Raises SettingsError, by `variable`, where the URL is wrong or a driver is missing, and
    StoreError where the table belongs to a newer version.
    """

    backend_type = "clickhouse"

    def __init__(
        self,
        url: str,
        *,
        cluster: str | None = None,
        ttl_seconds: int | None = None,
        clock: Callable[[], float] = time.time,
        variable: str = "the store's URL",
    ) -> None:
        super().__init__(ttl_seconds=ttl_seconds, clock=clock)
        embedded = urlsplit(url).scheme == EMBEDDED
        self._schema = Schema(
            database=_EMBEDDED_DATABASE if embedded else database_of(url),
            ttl_seconds=ttl_seconds,
            cluster=None if embedded else cluster,
        )
        self._engine: Engine
        if embedded:
            self._engine = EmbeddedEngine(url, variable)
        else:
            self._engine = ServerEngine(url, variable, cluster=cluster)
        self._expiry = Expiry(self._engine, self._schema)
        self._preparing = threading.Lock()
        self._prepared = False

    def _run(self, action: Callable[[], T]) -> T:
        """Do `action` on a table that is there."""
        if not self._prepared:
            self._prepare()
        try:
            return action()
        except EngineUnavailable as error:
            if error.code in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
                # Someone dropped it; the next call makes it again.
                self._prepared = False
            raise

    def _prepare(self) -> None:
        with self._preparing:
            if self._prepared:
                return
            found = self._definition() or self._create()
            engine_full, comment = found
            version = int(comment.removeprefix("schema ") or 0)
            if version > VERSION:
                raise StoreError(f"{self._schema.local} is of schema {version}, newer than ours")
            if (statement := self._schema.alter_ttl(engine_full)) is not None:
                self._engine.command(statement)
            self._prepared = True

    def _definition(self) -> tuple[str, str] | None:
        rows = _definition.decode_lines(self._engine.query(self._schema.describe()))
        return rows[0] if rows else None

    def _create(self) -> tuple[str, str]:
        try:
            self._commands(self._schema.create())
        except EngineError as error:
            if error.code != SYNTAX_ERROR:
                raise
            logger.info("an older ClickHouse: ids are looked up in larger steps")
            self._commands(self._schema.create(fine_grained=False))
        found = self._definition()
        if found is None:
            raise StoreError(f"{self._schema.local} was made, and is not there")
        return found

    def _commands(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._engine.command(statement)

    def append(self, events: Sequence[Event]) -> int:
        horizon = self.horizon()
        firsts: dict[str, Event] = {}
        for event in events:
            if event.timestamp > horizon:
                firsts.setdefault(event.id, event)
        if not firsts:
            return 0
        rows = list(map(row_of, firsts.values()))
        return self._run(lambda: self._engine.append(self._schema, rows))

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
        asked = sql.page(self._schema, self.alive(selection), limit, order, after)
        return decode_events(self._ask(asked))

    def _ask(self, question: str) -> bytes:
        return self._run(lambda: self._engine.query(question))

    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        after = None
        while page := self.query(selection, limit=SCAN_CHUNK, order="asc", after=after):
            yield page
            if len(page) < SCAN_CHUNK:
                return
            after = Position.of(page[-1])

    def aggregate(self, selection: Selection) -> Aggregate:
        return sql.read_aggregate(self._ask(sql.aggregate(self._schema, self.alive(selection))))

    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        if len(edges) < 2:
            return []
        within = sql.between_edges(self.alive(selection), edges)
        return sql.read_points(self._ask(sql.timeseries(self._schema, within, edges, group_by)))

    def stats(self) -> StoreStats:
        return sql.read_stats(self._ask(sql.stats(self._schema, self.alive(_EVER))))

    def ping(self) -> None:
        self._engine.ping()

    def expire(self) -> int:
        if self.ttl_seconds is None:
            return 0
        return self._run(lambda: self._expiry.expire(self.horizon()))

    def clear(self) -> None:
        self._run(lambda: self._engine.clear(self._schema))

    def close(self) -> None:
        self._engine.close()
