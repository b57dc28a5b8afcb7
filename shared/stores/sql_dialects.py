"""What SQLite, PostgreSQL and MySQL do differently, each in a module of its own.

A driver is imported where its database is chosen, and nowhere else.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa

from shared.errors import SettingsError
from shared.stores.base import Position
from shared.stores.sql_rows import Row
from shared.stores.sql_schema import events

Fault = Literal["conflict", "away", "data"]
"""Two writers met: do it again · the server is away or out of room · anything else."""

POOL = {"pool_size": 4, "max_overflow": 12, "pool_timeout": 5.0}
CONNECT_SECONDS = 5


class Dialect(abc.ABC):
    """One kind of database."""

    backend_type: str
    errors: tuple[type[Exception], ...] = ()
    """What the driver raises where SQLAlchemy does not stand between."""

    @abc.abstractmethod
    def engine(self) -> sa.Engine:
        """An engine on the database; connects to nothing yet."""

    @abc.abstractmethod
    def reading(self, engine: sa.Engine) -> sa.Engine:
        """The engine for transactions that see one state of the database, and only read."""

    @abc.abstractmethod
    def writing(self, engine: sa.Engine) -> sa.Engine:
        """The engine for transactions that write, and see what others have committed."""

    @contextmanager
    @abc.abstractmethod
    def alone(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """A transaction that no other process has at the same time; for migrations."""

    @abc.abstractmethod
    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Insert events, in the order of `COLUMNS`; none of them may be there already."""

    @abc.abstractmethod
    def clear(self, engine: sa.Engine) -> None:
        """Remove all events and rollups at once."""

    @abc.abstractmethod
    def size_bytes(self, connection: sa.Connection) -> int:
        """What the tables and their indexes take up."""

    @abc.abstractmethod
    def fault(self, error: BaseException) -> Fault:
        """What an error of the driver means."""

    def among(self, column: sa.Column[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
        """Whether a column's value is one of very many."""
        return column.in_(values)

    def beyond(self, edge: Position, *, ascending: bool) -> sa.ColumnElement[bool]:
        """What lies strictly past a position."""
        here = sa.tuple_(events.c.timestamp, events.c.id)
        there = sa.tuple_(
            sa.literal(edge.timestamp, sa.BigInteger), sa.literal(edge.id, events.c.id.type)
        )
        return here > there if ascending else here < there

    def prefix_matches(self, column: sa.Column[Any], values: list[str]) -> list[Any]:
        """Conditions that let an index of a column's beginning be used."""
        return []


def missing(extra: str, variable: str) -> SettingsError:
    """The error of a driver that is not installed."""
    return SettingsError(
        [f"{variable}: its driver is not installed; pip install 'routiium-analytics[{extra}]'"]
    )
