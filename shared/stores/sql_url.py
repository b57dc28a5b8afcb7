"""Which database a URL means."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from shared.errors import SettingsError
from shared.stores.sql_dialects import Dialect
from shared.stores.sql_sqlite import Sqlite


def dialect_of(url: str, variable: str) -> Dialect:
    """The dialect of a SQLAlchemy URL. The driver that it may name is replaced by ours.

    Raises SettingsError, naming `variable` and never the URL, which may hold a password.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise SettingsError([f"{variable}: is not a database URL"]) from None
    kind = parsed.drivername.split("+")[0]
    if kind == "sqlite":
        return _sqlite(parsed, variable)
    if kind in ("postgres", "postgresql"):
        from shared.stores.sql_postgresql import Postgresql

        return Postgresql(_named(parsed, variable), variable)
    if kind in ("mysql", "mariadb"):
        from shared.stores.sql_mysql import Mysql

        return Mysql(_named(parsed, variable), variable)
    raise SettingsError(
        [f"{variable}: {kind} is not supported; sqlite, postgresql, mysql and mariadb are"]
    )


def sqlite_file(path: Path) -> Dialect:
    """The dialect of a SQLite file; its folder is made where it is missing."""
    return Sqlite(path)


def _sqlite(url: sa.URL, variable: str) -> Sqlite:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsError([f"{variable}: SQLite needs a file, as in sqlite:///data/events.db"])
    return Sqlite(Path(url.database))


def _named(url: sa.URL, variable: str) -> sa.URL:
    if not url.database:
        raise SettingsError([f"{variable}: names no database, as in {url.drivername}://host/name"])
    return url
