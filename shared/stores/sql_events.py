"""Selects of events: in the order of time, by what an index can give in that order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from shared.stores.base import Dimension, DimensionValue, Order, Position, Selection
from shared.stores.sql_dialects import Dialect
from shared.stores.sql_rows import COLUMNS
from shared.stores.sql_schema import INDEXED, events

_MOST_BRANCHES = 20
_EVENT = [events.c[name] for name in COLUMNS]


def first_events(
    dialect: Dialect, wanted: Selection, *, limit: int, order: Order, after: Position | None
) -> sa.Select[Any]:
    """Selects the rows of the first `limit` events in `order`, those strictly past `after`."""
    ascending = order == "asc"
    within = _within(dialect, wanted, after, ascending)
    branches = [
        _first(sa.select(*_EVENT).where(*within, *_filters(dialect, each)), limit, ascending)
        for each in _one_value_each(wanted)
    ]
    if len(branches) == 1:
        return branches[0]
    parts = [sa.select(branch.subquery()) for branch in branches]
    return _first(sa.select(sa.union_all(*parts).subquery()), limit, ascending)


def matching(dialect: Dialect, wanted: Selection) -> list[sa.ColumnElement[bool]]:
    """The conditions that rows of events must meet."""
    return [events.c.timestamp.between(wanted.start, wanted.end), *_filters(dialect, wanted)]


def _within(
    dialect: Dialect, wanted: Selection, after: Position | None, ascending: bool
) -> list[sa.ColumnElement[bool]]:
    """The range in time, without what lies up to `after`.

    Each end has one condition: of two SQLite would seek by the range's, and step over every event
    up to `after` again for each page.
    """
    time = events.c.timestamp
    from_start, to_end = time >= wanted.start, time <= wanted.end
    if after is None:
        return [from_start, to_end]
    past = dialect.beyond(after, ascending=ascending)
    if ascending:
        return [past if after.timestamp >= wanted.start else from_start, to_end]
    return [from_start, past if after.timestamp <= wanted.end else to_end]


def _filters(dialect: Dialect, wanted: Selection) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    for name, values in wanted.filters.items():
        conditions += _filter(dialect, name, values)
    return conditions


def _filter(
    dialect: Dialect, name: Dimension, values: frozenset[DimensionValue]
) -> list[sa.ColumnElement[bool]]:
    column = events.c[name]
    present: list[Any] = sorted(value for value in values if _may_be_stored(value))
    same = column == present[0] if len(present) == 1 else column.in_(present)
    if None in values:
        return [sa.or_(column.is_(None), same) if present else column.is_(None)]
    if name in INDEXED and present and isinstance(present[0], str):
        return [same, *dialect.prefix_matches(column, present)]
    return [same]


def _may_be_stored(value: DimensionValue) -> bool:
    """Whether an event can have this value; of others a server says that they are errors."""
    if isinstance(value, str):
        return "\0" not in value
    return value is not None and abs(value) < 2**15


def _first(chosen: sa.Select[Any], limit: int, ascending: bool) -> sa.Select[Any]:
    """The first rows in the order of events."""
    time, event_id = chosen.selected_columns["timestamp"], chosen.selected_columns["id"]
    if ascending:
        return chosen.order_by(time, event_id).limit(limit)
    return chosen.order_by(time.desc(), event_id.desc()).limit(limit)


def _one_value_each(wanted: Selection) -> list[Selection]:
    """`wanted` as selections of one value of an indexed dimension each.

    An index holds the events of one value in the order of time; those of several would be sorted.
    """
    for name in INDEXED:
        values = wanted.filters.get(name, frozenset())
        if 1 < len(values) <= _MOST_BRANCHES:
            return [
                replace(wanted, filters={**wanted.filters, name: frozenset([value])})
                for value in sorted(values, key=repr)
            ]
    return [wanted]
