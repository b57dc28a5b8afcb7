"""What the ClickHouse store asks, as SQL, and what it makes of the answers.

Percentiles are taken of durations cut to 16 bits: a float's exponent and its first eight fraction
bits, in order like the durations themselves and within 0.2 % of them. Ranks are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from shared.stores.base import (
    Aggregate,
    Dimension,
    DimensionValue,
    Latency,
    Order,
    Point,
    Position,
    Selection,
    StoreStats,
)
from shared.stores.clickhouse_rows import NAMES
from shared.stores.clickhouse_schema import Schema, literal
from shared.stores.fold import point_order

_LAST_SECOND = 2**32 - 1
"""The last second of ClickHouse's DateTime."""

_EVENT = ", ".join("toUnixTimestamp(timestamp)" if n == "timestamp" else n for n in NAMES)
_BIN = "toUInt16(bitShiftRight(reinterpretAsUInt32(toFloat32(duration_ms)), 15))"
# quantilesExact takes the value at ⌊p·n⌋, counted from 0; a little less than p makes that ⌈p·n⌉-1.
_LEVELS = ", ".join(f"{p - 1e-12:.13f}" for p in (0.50, 0.90, 0.95, 0.99))

_FIGURES = {
    "requests": "count()",
    "successful": "countIf(success)",
    "failed": "countIf(NOT success)",
    # A sum of UInt64 would wrap around silently.
    "input_tokens": "sum(toInt128(input_tokens))",
    "output_tokens": "sum(toInt128(output_tokens))",
    "cached_tokens": "sum(toInt128(ifNull(cached_tokens, 0)))",
    "reasoning_tokens": "sum(toInt128(ifNull(reasoning_tokens, 0)))",
    "cost": "sum(ifNull(total_cost, 0))",
    "priced": "count(total_cost)",
    "duration_ms": "sum(duration_ms)",
    "longest_ms": "max(duration_ms)",
    "rate": "sum(ifNull(tokens_per_second, 0))",
    "rated": "count(tokens_per_second)",
}


class Figures(msgspec.Struct, array_like=True):
    """One row of `_FIGURES`, after the key that it is of."""

    key: Any
    requests: int
    successful: int
    failed: int
    input_tokens: Any
    output_tokens: Any
    cached_tokens: Any
    reasoning_tokens: Any
    cost: float
    priced: int
    duration_ms: float
    longest_ms: float
    rate: float
    rated: int


def condition(selection: Selection, after: Position | None = None, order: Order = "asc") -> str:
    """The WHERE of a selection; with `after`, of what comes strictly past it in `order`."""
    start, end = max(selection.start, 0), min(selection.end, _LAST_SECOND)
    found = [] if after is None else [_past(after, order)]
    if after is not None and order == "asc":
        start = max(start, after.timestamp)
    elif after is not None:
        end = min(end, after.timestamp)
    if start > end:
        return "0"
    found.insert(0, f"timestamp BETWEEN {start} AND {end}")
    found += [_among(name, values) for name, values in selection.filters.items()]
    return " AND ".join(found)


def _past(after: Position, order: Order) -> str:
    sign = ">" if order == "asc" else "<"
    return f"(timestamp != {_second(after.timestamp)} OR id {sign} {literal(after.id)})"


def _second(timestamp: int) -> int:
    return min(max(timestamp, 0), _LAST_SECOND)


def _among(name: Dimension, values: frozenset[DimensionValue]) -> str:
    present = ", ".join(_value(value) for value in values if value is not None)
    same = [f"{name} IN ({present})"] if present else []
    null = [f"isNull({name})"] if None in values else []
    return f"({' OR '.join([*same, *null])})" if same or null else "0"


def _value(value: DimensionValue) -> str:
    return literal(value) if isinstance(value, str) else str(value).lower()


def page(
    schema: Schema, selection: Selection, limit: int, order: Order, after: Position | None
) -> str:
    """The first `limit` events past `after`; one row each, in the order of `COLUMNS`."""
    return (
        f"SELECT {_EVENT} FROM {schema.table} WHERE {condition(selection, after, order)} "
        f"ORDER BY timestamp {order}, id {order} LIMIT {limit}{schema.read_settings()}"
    )


def aggregate(schema: Schema, selection: Selection) -> str:
    """One row: figures of each model, endpoint and backend, and the percentiles of all."""
    figures = ", ".join(f"{made} AS f_{name}" for name, made in _FIGURES.items())
    names = ", ".join(f"f_{name}" for name in _FIGURES)
    return (
        f"SELECT groupArray(tuple(figures_key, {names})), "
        f"quantilesExactMerge({_LEVELS})(durations) FROM ("
        f"SELECT figures_key, {figures}, quantilesExactState({_LEVELS})({_BIN}) AS durations "
        f"FROM {schema.table} WHERE {condition(selection)} GROUP BY figures_key)"
        f"{schema.read_settings()}"
    )


_aggregate_row = msgspec.json.Decoder(tuple[list[Figures], list[Any]])


def read_aggregate(data: bytes) -> Aggregate:
    """The aggregate of the row that `aggregate` asks for."""
    rows, percentiles = _aggregate_row.decode(data)
    if not rows:
        return Aggregate()
    found = Aggregate()
    for row in rows:
        _add(found, row)
    found.avg_duration_ms = math.fsum(row.duration_ms for row in rows) / found.total_requests
    if rated := sum(row.rated for row in rows):
        found.avg_tokens_per_second = math.fsum(row.rate for row in rows) / rated
    found.total_cost = math.fsum(row.cost for row in rows)
    found.latency_ms = _latency(percentiles, max(row.longest_ms for row in rows))
    return found


def _add(found: Aggregate, row: Figures) -> None:
    found.total_requests += row.requests
    found.successful_requests += row.successful
    found.failed_requests += row.failed
    found.total_input_tokens += int(row.input_tokens)
    found.total_output_tokens += int(row.output_tokens)
    found.total_cached_tokens += int(row.cached_tokens)
    found.total_reasoning_tokens += int(row.reasoning_tokens)
    found.unpriced_requests += row.requests - row.priced
    model, endpoint, backend = msgspec.json.decode(row.key)
    _count(found.endpoints_hit, endpoint, row.requests)
    _count(found.backends_used, backend, row.requests)
    if model is not None:
        _count(found.models_used, model, row.requests)
        if row.priced:
            found.cost_by_model[model] = found.cost_by_model.get(model, 0.0) + row.cost


def _count(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def _latency(percentiles: Iterable[Any], longest: float) -> Latency:
    p50, p90, p95, p99 = (min(_duration(each), longest) for each in percentiles)
    return Latency(p50=p50, p90=p90, p95=p95, p99=p99, max=longest)


def _duration(cut: int) -> float:
    """The duration in the middle of those that `_BIN` cuts to this."""
    if cut == 0:
        return 0.0
    return float(np.uint32(cut << 15 | 1 << 14).view(np.float32))


def between_edges(selection: Selection, edges: Sequence[int]) -> Selection:
    """What of the selection is in a bucket."""
    start, end = max(selection.start, edges[0]), min(selection.end, edges[-1] - 1)
    return replace(selection, start=start, end=end)


def timeseries(
    schema: Schema, selection: Selection, edges: Sequence[int], group_by: Dimension | None
) -> str:
    """Figures and percentiles by bucket and group; the bucket is its first second."""
    group = "NULL" if group_by is None else group_by
    figures = ", ".join(_FIGURES.values())
    return (
        f"SELECT {_bucket(edges)} AS bucket, tuple({group} AS dimension, {figures}), "
        f"quantilesExact({_LEVELS})({_BIN}) "
        f"FROM {schema.table} WHERE {condition(selection)} "
        f"GROUP BY bucket, dimension{schema.read_settings()}"
    )


def _bucket(edges: Sequence[int]) -> str:
    second = "toInt64(toUnixTimestamp(timestamp))"
    first, width = edges[0], edges[1] - edges[0]
    if list(edges) == list(range(first, edges[-1] + 1, width)):
        return f"{first} + intDiv({second} - {first}, {width}) * {width}"
    return f"roundDown({second}, [{', '.join(map(str, edges[:-1]))}])"


_points = msgspec.json.Decoder(tuple[int, Figures, list[Any]])


def read_points(data: bytes) -> list[Point]:
    """The points of the rows that `timeseries` asks for."""
    return sorted((_point(*row) for row in _points.decode_lines(data)), key=point_order)


def _point(start: int, row: Figures, percentiles: list[Any]) -> Point:
    return Point(
        start=start,
        group=row.key,
        requests=row.requests,
        successful_requests=row.successful,
        failed_requests=row.failed,
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        cost=row.cost,
        unpriced_requests=row.requests - row.priced,
        avg_duration_ms=row.duration_ms / row.requests,
        latency_ms=_latency(percentiles, row.longest_ms),
    )


def stats(schema: Schema, alive: Selection) -> str:
    """One row: how many events are alive, the oldest and newest second, bytes on disk."""
    where = condition(alive)
    parts = "system.parts"
    if schema.cluster is not None:
        parts = f"cluster({literal(schema.cluster)}, system.parts)"
    return (
        "SELECT count(), toUnixTimestamp(min(timestamp)), toUnixTimestamp(max(timestamp)), "
        f"(SELECT sum(bytes_on_disk) FROM {parts} WHERE active "
        f"AND database = {literal(schema.database)} AND table = {literal(schema.local_name)}) "
        f"FROM {schema.table} WHERE {where}{schema.read_settings()}"
    )


_stats_row = msgspec.json.Decoder(tuple[int, int, int, int])


def read_stats(data: bytes) -> StoreStats:
    """The stats of the row that `stats` asks for."""
    total, oldest, newest, size = _stats_row.decode(data)
    if total == 0:
        return StoreStats(size_bytes=size)
    return StoreStats(
        total_events=total, oldest_timestamp=oldest, newest_timestamp=newest, size_bytes=size
    )
