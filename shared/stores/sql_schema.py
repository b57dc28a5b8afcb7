"""The tables, as the queries see them. The migrations make them; a test holds both together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from shared.events import MAX_ID, MAX_TEXT
from shared.stores.base import Dimension

PREFIX_LENGTH = 100
"""How much of a long text an index holds; PostgreSQL and MySQL bound the size of its entries."""


class ExactText(sa.types.TypeDecorator[str]):
    """Text that is compared and ordered by its UTF-8 bytes, on every server.

    MySQL's collations ignore trailing blanks, or don't, by their version: there it is bytes.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, length: int = MAX_TEXT) -> None:
        super().__init__()
        self.characters = length

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return sa.Text(collation="C")
        if dialect.name == "mysql":
            return mysql.VARBINARY(4 * self.characters)
        return sa.Text()

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[str | None], Any] | None:
        return _encoded if dialect.name == "mysql" else None

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[Any], str | None] | None:
        return _decoded if dialect.name == "mysql" else None


def _encoded(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


Bytes = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")

metadata = sa.MetaData()

events = sa.Table(
    "analytics_events",
    metadata,
    sa.Column("id", ExactText(MAX_ID), primary_key=True),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("endpoint", ExactText, nullable=False),
    sa.Column("model", ExactText),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("status_code", sa.SmallInteger),
    sa.Column("success", sa.Boolean),
    sa.Column("backend", ExactText, nullable=False),
    sa.Column("upstream_mode", ExactText, nullable=False),
    sa.Column("api_key_id", ExactText),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("cached_tokens", sa.BigInteger),
    sa.Column("reasoning_tokens", sa.BigInteger),
    sa.Column("cost", sa.Double),
    sa.Column("duration_ms", sa.Double, nullable=False),
    sa.Column("tokens_per_second", sa.Double),
    sa.Column("details", Bytes, nullable=False),
)
sa.Index("analytics_events_time", events.c.timestamp, events.c.id)

INDEXED: tuple[Dimension, ...] = ("api_key_id", "model", "endpoint", "status_code")
"""Dimensions with an index, the most telling first. Of text it holds `PREFIX_LENGTH`."""

rollups = sa.Table(
    "analytics_rollups",
    metadata,
    sa.Column("cube", ExactText(16), primary_key=True),
    sa.Column("grain", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("cells", Bytes, nullable=False),
)
