"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from shared.stores.sql_dialects import CONNECT_SECONDS, POOL, Dialect, Fault, missing
from shared.stores.sql_rows import COLUMNS, Row
from shared.stores.sql_schema import PREFIX_LENGTH, ExactText, events, rollups

_COPY = f"COPY {events.name} ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_TYPES = {
    ExactText: "text",
    sa.SmallInteger: "int2",
    sa.BigInteger: "int8",
    sa.Boolean: "bool",
    sa.Double: "float8",
    sa.LargeBinary: "bytea",
}
_json = msgspec.json.Encoder()
_MIGRATION_LOCK = 7_104_870_317
_CONFLICTS = {"23505", "40001", "40P01"}
_AWAY_CLASSES = {"08", "25", "28", "3D", "53", "55", "57", "58"}
_LOCK_SECONDS = 10
_KEEPALIVE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "application_name": "routiium-analytics",
}


class Postgresql(Dialect):
    """A PostgreSQL server. Events are written by COPY."""

    backend_type = "postgresql"

    def __init__(self, url: sa.URL, variable: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise missing("postgresql", variable) from None
        self.errors = (psycopg.Error,)
        self._types = [_type_of(events.c[name].type) for name in COLUMNS]
        self._url = url.set(drivername="postgresql+psycopg")

    def engine(self) -> sa.Engine:
        given = {name: value for name, value in _KEEPALIVE.items() if name not in self._url.query}
        return sa.create_engine(
            self._url, connect_args=given, pool_pre_ping=True, hide_parameters=True, **POOL
        )

    def reading(self, engine: sa.Engine) -> sa.Engine:
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def writing(self, engine: sa.Engine) -> sa.Engine:
        return engine.execution_options(isolation_level="READ COMMITTED")

    @contextmanager
    def alone(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with self.writing(engine).begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            yield connection

    def among(self, column: sa.Column[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
        # As JSON ten thousand ids are looked up in 3 ms; psycopg's array of them takes 22.
        given = sa.cast(sa.literal(_json.encode(values).decode()), postgresql.JSON)
        each = sa.select(sa.func.json_array_elements_text(given)).scalar_subquery()
        return column == sa.any_(sa.func.array(each))

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(self._types)
            for row in rows:
                copy.write_row(row)

    def clear(self, engine: sa.Engine) -> None:
        with self.writing(engine).begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            connection.exec_driver_sql(f"TRUNCATE {events.name}, {rollups.name}")

    def size_bytes(self, connection: sa.Connection) -> int:
        sizes = [sa.func.pg_total_relation_size(table.name) for table in (events, rollups)]
        return int(connection.execute(sa.select(sizes[0] + sizes[1])).scalar_one())

    def fault(self, error: BaseException) -> Fault:
        if not isinstance(error, self.errors):
            return "data"
        state: str | None = getattr(error, "sqlstate", None)
        if state is None:
            # The connection broke, or was never made.
            return "away" if _is_operational(error) else "data"
        if state in _CONFLICTS:
            return "conflict"
        return "away" if state[:2] in _AWAY_CLASSES else "data"

    def prefix_matches(self, column: sa.Column[Any], values: list[str]) -> list[Any]:
        starts = sorted({value[:PREFIX_LENGTH] for value in values})
        beginning = sa.func.left(column, sa.literal_column(str(PREFIX_LENGTH)), type_=column.type)
        return [beginning == starts[0] if len(starts) == 1 else beginning.in_(starts)]


def _type_of(column: sa.types.TypeEngine[Any]) -> str:
    """PostgreSQL's name of a column's type; binary COPY wants it said."""
    return next(name for kind, name in _TYPES.items() if isinstance(column, kind))


def _is_operational(error: BaseException) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
