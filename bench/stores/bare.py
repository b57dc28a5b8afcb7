"""The bare bulk load of each server: the same events, its fastest plain insert, none of our code.

Rows are built before the clock starts. Tables have the same indexes on time, model and endpoint.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.stores.traffic import Traffic
from shared.events import Event

_json = msgspec.json.Encoder()

COLUMNS = (
    "id",
    "timestamp",
    "model",
    "endpoint",
    "backend",
    "api_key_id",
    "status_code",
    "success",
    "upstream_mode",
    "stream",
    "input_tokens",
    "output_tokens",
    "total_cost",
    "duration_ms",
    "event",
)
_TYPES = {
    "timestamp": "BIGINT",
    "status_code": "INTEGER",
    "success": "INTEGER",
    "stream": "INTEGER",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "total_cost": "DOUBLE PRECISION",
    "duration_ms": "DOUBLE PRECISION",
    "event": "TEXT",
}
_INDEXES = (("timestamp", "id"), ("model", "timestamp"), ("endpoint", "timestamp"))

Row = tuple[Any, ...]
Timer = Callable[[Callable[[], Any]], None]


def row(event: Event) -> Row:
    """The columns of an event; a bare table keeps the rest of it as JSON."""
    response = event.response
    assert response is not None
    return (
        event.id,
        event.timestamp,
        event.request.model,
        event.request.endpoint,
        event.routing.backend,
        event.auth.api_key_id,
        response.status_code,
        int(bool(response.success)),
        event.routing.upstream_mode,
        int(event.request.stream),
        event.input_tokens,
        event.output_tokens,
        event.total_cost,
        event.performance.duration_ms,
        _json.encode(event).decode(),
    )


def table_ddl(text_type: str) -> Iterator[str]:
    """A table of `COLUMNS` and its indexes."""
    types = {name: _TYPES.get(name, text_type) for name in COLUMNS}
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    yield f"CREATE TABLE bare ({columns}, PRIMARY KEY (id))"
    for number, names in enumerate(_INDEXES):
        yield f"CREATE INDEX bare_{number} ON bare ({', '.join(names)})"


class Clock:
    """Adds up the seconds of what it is told to run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, action: Callable[[], Any]) -> None:
        started = time.perf_counter()
        action()
        self.seconds += time.perf_counter() - started


def bare_rate(backend: str, target: str, folder: Path, count: int) -> float:
    """Events a second of the bare load; `target` is the server's URL where there is one."""
    clock = Clock()
    _LOADS[backend](target, folder, (list(batch) for batch in Traffic(count).batches()), clock)
    return count / clock.seconds


def _jsonl(target: str, folder: Path, batches: Iterable[list[Event]], clock: Timer) -> None:
    with open(folder / "bare.jsonl", "ab", buffering=0) as file:

        def append(events: list[Event]) -> None:
            file.write(_json.encode_lines(events))
            os.fdatasync(file.fileno())

        for events in batches:
            clock(lambda events=events: append(events))  # type: ignore[misc]


def _sqlite(target: str, folder: Path, batches: Iterable[list[Event]], clock: Timer) -> None:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for statement in table_ddl("TEXT"):
        connection.execute(statement)
    marks = ", ".join("?" * len(COLUMNS))

    def insert(rows: list[Row]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO bare VALUES ({marks})", rows)
        connection.execute("COMMIT")

    for events in batches:
        rows = list(map(row, events))
        clock(lambda rows=rows: insert(rows))  # type: ignore[misc]
    connection.close()


def _postgresql(target: str, folder: Path, batches: Iterable[list[Event]], clock: Timer) -> None:
    import psycopg

    with psycopg.connect(target) as connection:
        for statement in table_ddl('TEXT COLLATE "C"'):
            connection.execute(statement.encode())
        connection.commit()

        def copy(rows: list[Row]) -> None:
            with connection.cursor().copy("COPY bare FROM STDIN") as writer:
                for values in rows:
                    writer.write_row(values)
            connection.commit()

        for events in batches:
            rows = list(map(row, events))
            clock(lambda rows=rows: copy(rows))  # type: ignore[misc]
        connection.execute("DROP TABLE bare")


def _mysql(target: str, folder: Path, batches: Iterable[list[Event]], clock: Timer) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(target)
    connection: Any = engine.raw_connection()
    cursor = connection.cursor()
    for statement in table_ddl("VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"):
        cursor.execute(statement)
    marks = ", ".join(["%s"] * len(COLUMNS))

    def insert(rows: list[Row]) -> None:
        cursor.executemany(f"INSERT INTO bare VALUES ({marks})", rows)
        connection.commit()

    for events in batches:
        rows = list(map(row, events))
        clock(lambda rows=rows: insert(rows))  # type: ignore[misc]
    cursor.execute("DROP TABLE bare")
    connection.close()
    engine.dispose()


def _redis(target: str, folder: Path, batches: Iterable[list[Event]], clock: Timer) -> None:
    import redis

    client = redis.Redis.from_url(target)

    def load(pairs: list[tuple[str, int, bytes]]) -> None:
        pipe = client.pipeline(transaction=False)
        for event_id, timestamp, data in pairs:
            pipe.set(f"bare:{event_id}", data)
            pipe.zadd("bare:time", {event_id: timestamp})
        pipe.execute()

    for events in batches:
        pairs = [(event.id, event.timestamp, msgspec.msgpack.encode(event)) for event in events]
        clock(lambda pairs=pairs: load(pairs))  # type: ignore[misc]
    for chunk in client.scan_iter(match="bare:*", count=10_000):
        client.unlink(chunk)


def _clickhouse(target: str, folder: Path, batches: Iterable[list[Event]], clock: Timer) -> None:
    import clickhouse_connect

    client: Any = clickhouse_connect.get_client(interface="chdb", path=str(folder / "bare-chdb"))
    kinds = {"BIGINT": "Int64", "INTEGER": "Int32", "DOUBLE PRECISION": "Float64", "TEXT": "String"}
    types = {name: kinds[_TYPES.get(name, "TEXT")] for name in COLUMNS}
    for name in ("model", "endpoint", "backend", "api_key_id", "upstream_mode"):
        types[name] = "LowCardinality(String)"
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    client.command(f"CREATE TABLE bare ({columns}) ENGINE = MergeTree ORDER BY (timestamp, id)")
    for events in batches:
        data = [list(column) for column in zip(*map(row, events), strict=True)]
        clock(
            lambda data=data: client.insert(  # type: ignore[misc]
                "bare", data, column_names=COLUMNS, column_oriented=True
            )
        )
    client.close()


_LOADS: dict[str, Callable[[str, Path, Iterable[list[Event]], Timer], None]] = {
    "jsonl": _jsonl,
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "redis": _redis,
    "clickhouse": _clickhouse,
}
