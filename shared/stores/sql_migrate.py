"""Brings a database's schema up to date, once, however many processes start on it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from shared.errors import StoreError

VERSION_TABLE = "analytics_schema_version"
HEAD = "0001"
"""The newest version in `migrations/versions`, so that an up-to-date schema needs no Alembic."""
_SCRIPTS = Path(__file__).parent / "migrations"


def schema_version(connection: sa.Connection) -> str | None:
    """The version of the schema; None of a database that has none."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return None if version is None else str(version)


def upgrade(connection: sa.Connection) -> None:
    """Apply what is missing. The caller holds the lock that keeps other processes out.

    Raises StoreError where a newer version of this project has been here.
    """
    found = schema_version(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise StoreError(f"the database's schema is version {found}; this program knows {HEAD}")
    # Takes a quarter of a second to import, and is needed once in a database's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
