"""Events and their rollups."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0001"
down_revision = None

EVENTS, ROLLUPS = "analytics_events", "analytics_rollups"
PREFIX = 100


def _text(characters: int) -> sa.types.TypeEngine[Any]:
    return (
        sa.Text()
        .with_variant(postgresql.TEXT(collation="C"), "postgresql")
        .with_variant(mysql.VARBINARY(4 * characters), "mysql")
    )


def _bytes() -> sa.types.TypeEngine[Any]:
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")


def upgrade() -> None:
    # MySQL commits each statement by itself: one that was cut short must be able to go on.
    _create_events()
    _create_rollups()
    _create_index("analytics_events_time", ["timestamp", "id"])
    for name in ("api_key_id", "model", "endpoint"):
        _create_index(f"analytics_events_{name}", [_prefix(name), "timestamp"], prefix_of=name)
    _create_index("analytics_events_status_code", ["status_code", "timestamp"])
    if op.get_bind().dialect.name == "postgresql":
        # Segments are compressed already.
        op.execute(f"ALTER TABLE {ROLLUPS} ALTER COLUMN cells SET STORAGE EXTERNAL")


def _create_events() -> None:
    op.create_table(
        EVENTS,
        sa.Column("id", _text(128), primary_key=True),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("endpoint", _text(1024), nullable=False),
        sa.Column("model", _text(1024)),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status_code", sa.SmallInteger),
        sa.Column("success", sa.Boolean),
        sa.Column("backend", _text(1024), nullable=False),
        sa.Column("upstream_mode", _text(1024), nullable=False),
        sa.Column("api_key_id", _text(1024)),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger),
        sa.Column("cost", sa.Double),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("tokens_per_second", sa.Double),
        sa.Column("details", _bytes(), nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )


def _create_rollups() -> None:
    op.create_table(
        ROLLUPS,
        sa.Column("cube", _text(16), primary_key=True),
        sa.Column("grain", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("cells", _bytes(), nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )


def _prefix(name: str) -> Any:
    return sa.text(f"left({name}, {PREFIX})") if _is("postgresql") else name


def _is(dialect: str) -> bool:
    return op.get_bind().dialect.name == dialect


def _create_index(name: str, columns: list[Any], *, prefix_of: str | None = None) -> None:
    known = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(EVENTS)}
    if name not in known:
        lengths = {prefix_of: PREFIX} if prefix_of else None
        op.create_index(name, EVENTS, columns, mysql_length=lengths)
