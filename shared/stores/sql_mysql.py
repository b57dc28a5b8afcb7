"""MySQL and MariaDB, by PyMySQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from shared.errors import StoreUnavailable
from shared.stores.base import Position
from shared.stores.sql_dialects import CONNECT_SECONDS, POOL, Dialect, Fault, missing
from shared.stores.sql_rows import COLUMNS, Row
from shared.stores.sql_schema import events, rollups

_INSERT = (
    f"INSERT INTO {events.name} ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
)
_MIGRATION_LOCK = "routiium_analytics."
_LOCK_SECONDS = 10
_SILENT_SECONDS = 120
_CONFLICTS = {1062, 1213, 1412}
_AWAY = {
    *(1021, 1040, 1041, 1044, 1045, 1049, 1053, 1077, 1079, 1080, 1114, 1129, 1130, 1142, 1152),
    *(1158, 1159, 1160, 1161, 1184, 1203, 1205, 1226, 1290, 1317, 1836, 1927, 1969, 3024, 4031),
}
_TIMEOUTS = f"SET lock_wait_timeout={_LOCK_SECONDS}, innodb_lock_wait_timeout={_LOCK_SECONDS}"
# Without a strict mode a value that does not fit would be cut silently.
_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"


class Mysql(Dialect):
    """A MySQL or MariaDB server; tables are InnoDB's."""

    backend_type = "mysql"

    def __init__(self, url: sa.URL, variable: str) -> None:
        try:
            import pymysql
        except ImportError:
            raise missing("mysql", variable) from None
        self.errors = (pymysql.MySQLError,)
        self._url = url.set(drivername="mysql+pymysql")

    def engine(self) -> sa.Engine:
        given = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": _SILENT_SECONDS,
            "write_timeout": _SILENT_SECONDS,
            "charset": "utf8mb4",
            "sql_mode": _MODE,
            "init_command": _TIMEOUTS,
        }
        arguments = {name: value for name, value in given.items() if name not in self._url.query}
        return sa.create_engine(
            self._url, connect_args=arguments, pool_pre_ping=True, hide_parameters=True, **POOL
        )

    def reading(self, engine: sa.Engine) -> sa.Engine:
        return engine.execution_options(isolation_level="REPEATABLE READ")

    def writing(self, engine: sa.Engine) -> sa.Engine:
        return engine.execution_options(isolation_level="READ COMMITTED")

    @contextmanager
    def alone(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with engine.connect() as connection:
            # Locks are the server's, not the database's, and their names short.
            lock = sa.func.concat(_MIGRATION_LOCK, sa.func.md5(sa.func.database()))
            taken = connection.execute(sa.select(sa.func.get_lock(lock, _LOCK_SECONDS)))
            if taken.scalar() != 1:
                raise StoreUnavailable("another process is migrating the schema")
            try:
                yield connection
                connection.commit()
            finally:
                connection.execute(sa.select(sa.func.release_lock(lock)))

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        # The driver joins the rows to statements of at most 1 MB.
        connection.exec_driver_sql(_INSERT, list(rows))

    def clear(self, engine: sa.Engine) -> None:
        """TRUNCATE commits one table after the other; a swap with empty tables is one step."""
        names = (events.name, rollups.name)
        with self.alone(engine) as connection:
            for name in names:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}_new, {name}_old")
                connection.exec_driver_sql(f"CREATE TABLE {name}_new LIKE {name}")
            swaps = [f"{name} TO {name}_old, {name}_new TO {name}" for name in names]
            connection.exec_driver_sql(f"RENAME TABLE {', '.join(swaps)}")
            for name in names:
                connection.exec_driver_sql(f"DROP TABLE {name}_old")

    def size_bytes(self, connection: sa.Connection) -> int:
        statement = sa.text(
            "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name IN :names"
        ).bindparams(sa.bindparam("names", [events.name, rollups.name], expanding=True))
        return int(connection.execute(statement).scalar_one())

    def fault(self, error: BaseException) -> Fault:
        if not isinstance(error, self.errors):
            return "data"
        code = error.args[0] if error.args else 0
        if code in _CONFLICTS:
            return "conflict"
        # 0: the connection is closed already. 2000 and up: the client's own, about the connection.
        away = code in _AWAY or code == 0 or (isinstance(code, int) and 2_000 <= code < 2_100)
        return "away" if away else "data"

    def beyond(self, edge: Position, *, ascending: bool) -> sa.ColumnElement[bool]:
        # MySQL reads a comparison of tuples by scanning; this one is two ranges of the index.
        time, name = events.c.timestamp, events.c.id
        if ascending:
            later, next_ids = time > edge.timestamp, name > edge.id
        else:
            later, next_ids = time < edge.timestamp, name < edge.id
        return later | ((time == edge.timestamp) & next_ids)
