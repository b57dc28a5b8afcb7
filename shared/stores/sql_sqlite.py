"""SQLite: one file, one writer at a time, readers that never wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from shared.stores.sql_dialects import POOL, Dialect, Fault
from shared.stores.sql_rows import COLUMNS, Row
from shared.stores.sql_schema import events, rollups

BUSY_SECONDS = 10.0
_CACHE_KIB = 65_536
_CHECKPOINT_PAGES = 8_192
_INSERT = (
    f"INSERT INTO {events.name} ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
)
_json = msgspec.json.Encoder()
_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


class Sqlite(Dialect):
    """A file in WAL mode. What is committed has been forced to disk (`synchronous=FULL`)."""

    backend_type = "sqlite"
    errors = (sqlite3.Error,)

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._path = path
        self._busy_seconds = busy_seconds

    def engine(self) -> sa.Engine:
        # Where this fails SQLite says why, now and at each call.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        url = sa.URL.create("sqlite", database=str(self._path))
        options = {"timeout": self._busy_seconds}
        engine = sa.create_engine(url, connect_args=options, hide_parameters=True, **POOL)
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def reading(self, engine: sa.Engine) -> sa.Engine:
        return engine

    def writing(self, engine: sa.Engine) -> sa.Engine:
        return engine.execution_options(writes=True)

    @contextmanager
    def alone(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with self.writing(engine).begin() as connection:
            yield connection

    def among(self, column: sa.Column[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
        # One parameter, however many values: nothing to compile anew.
        given = sa.func.json_each(_json.encode(values).decode()).table_valued("value")
        return column.in_(sa.select(given.c.value))

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        connection.exec_driver_sql(_INSERT, list(rows))

    def clear(self, engine: sa.Engine) -> None:
        with closing(_own_connection(engine)) as driver:
            driver.execute("PRAGMA secure_delete=OFF")
            driver.execute("BEGIN IMMEDIATE")
            for table in (events, rollups):
                driver.execute(f"DELETE FROM {table.name}")
            driver.execute("COMMIT")
            # Instead of overwriting each page the file is cut to what it still holds.
            driver.execute("VACUUM")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size_bytes(self, connection: sa.Connection) -> int:
        files = [self._path, *(Path(f"{self._path}-{end}") for end in ("wal", "shm"))]
        return sum(path.stat().st_size for path in files if path.exists())

    def fault(self, error: BaseException) -> Fault:
        code = getattr(error, "sqlite_errorcode", None)
        # The low byte is the error's kind; the rest says more about it.
        return "away" if code is not None and code & 0xFF in _AWAY else "data"


def _own_connection(engine: sa.Engine) -> sqlite3.Connection:
    """A connection that goes back to no pool, so that what is set on it stays its own."""
    pooled = engine.raw_connection()
    driver = pooled.driver_connection
    pooled.detach()
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _prepare(driver: sqlite3.Connection, _: Any) -> None:
    # sqlite3 would begin transactions by itself, and only before some statements.
    driver.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"cache_size=-{_CACHE_KIB}",
        f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        "secure_delete=ON",
    ):
        driver.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
