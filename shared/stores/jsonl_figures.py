"""Figures over a snapshot of the JSONL store, in SQL.

Values go in as parameters; the text is put together from constants and whole numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import fsum
from typing import NamedTuple

from shared.stores.base import (
    Aggregate,
    Dimension,
    DimensionValue,
    Latency,
    Point,
    Selection,
    StoreStats,
)
from shared.stores.fold import point_order
from shared.stores.jsonl_pieces import pieces_of
from shared.stores.jsonl_selection import FURTHEST, Chosen
from shared.stores.jsonl_summary import FIGURES
from shared.stores.jsonl_view import Snapshot

MOST_EXACT = 12_000_000
"""Up to this many rows a time series has exact percentiles: they take 8 bytes of memory a row."""
_PERCENTS = (50, 90, 95, 99)
_EXACT_RANKS = "quantile_disc(duration_ms, [0.50, 0.90, 0.95, 0.99]), max(duration_ms)"


class _Sums(NamedTuple):
    """What FIGURES adds up."""

    requests: int
    succeeded: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    rated: int
    priced: int
    duration_ms: float
    rates: float
    cost: float


def aggregate(snapshot: Snapshot, selection: Selection) -> Aggregate:
    """The aggregate of the selection."""
    pieces = list(pieces_of(snapshot, selection))
    ask = snapshot.session.rows
    rows = [row for piece in pieces for row in ask(piece.figures, piece.parameters)]
    found = [(row[:3], _Sums(*row[3:])) for row in rows]
    total = _totals([sums for _, sums in found])
    cost: dict[str, list[float]] = {}
    for (model, endpoint, backend), sums in found:
        _count(total.models_used, model, sums.requests)
        _count(total.endpoints_hit, endpoint, sums.requests)
        _count(total.backends_used, backend, sums.requests)
        if model is not None and sums.priced:
            cost.setdefault(model, []).append(sums.cost)
    total.cost_by_model = {model: fsum(costs) for model, costs in cost.items()}
    if found:
        buckets = [row for piece in pieces for row in ask(piece.latencies, piece.parameters)]
        total.latency_ms = _latency(_ranked(buckets, total.total_requests))
    return total


def _totals(sums: Sequence[_Sums]) -> Aggregate:
    total = Aggregate(
        total_requests=sum(each.requests for each in sums),
        successful_requests=sum(each.succeeded for each in sums),
        failed_requests=sum(each.failed for each in sums),
        total_input_tokens=sum(each.input_tokens for each in sums),
        total_output_tokens=sum(each.output_tokens for each in sums),
        total_cached_tokens=sum(each.cached_tokens for each in sums),
        total_reasoning_tokens=sum(each.reasoning_tokens for each in sums),
        total_cost=fsum(each.cost for each in sums),
        unpriced_requests=sum(each.requests - each.priced for each in sums),
    )
    if total.total_requests:
        total.avg_duration_ms = fsum(each.duration_ms for each in sums) / total.total_requests
    if rated := sum(each.rated for each in sums):
        total.avg_tokens_per_second = fsum(each.rates for each in sums) / rated
    return total


def _count(counts: dict[str, int], name: str | None, more: int) -> None:
    if name is not None:
        counts[name] = counts.get(name, 0) + more


def _ranked(buckets: Iterable[tuple[int, int, float]], total: int) -> list[float]:
    """The percentiles and the longest of buckets: number, requests, the longest duration.

    A percentile is the longest duration of the bucket that has the wanted rank: a real one, and at
    most LATENCY_STEP above that rank's. Unlike quantile_disc this takes no memory for each row.
    """
    held: dict[int, tuple[int, float]] = {}
    for bucket, requests, longest in buckets:
        before, longer = held.get(bucket, (0, longest))
        held[bucket] = before + requests, max(longest, longer)
    found, reached = list[float](), 0
    for _, (requests, longest) in sorted(held.items()):
        reached += requests
        while len(found) < len(_PERCENTS) and reached * 100 >= _PERCENTS[len(found)] * total:
            found.append(longest)
    return [*found, max(longest for _, longest in held.values())]


def timeseries(
    snapshot: Snapshot, selection: Selection, edges: Sequence[int], group_by: Dimension | None
) -> list[Point]:
    """The points of the selection, in the contract's order."""
    if len(edges) < 2:
        return []
    inside = replace(
        selection,
        start=max(selection.start, edges[0]),
        end=min(selection.end, edges[-1] - 1),
    )
    parts = snapshot.parts_of(inside.start, inside.end)
    chosen = Chosen(parts, inside)
    slotted, slots = _slotted(chosen.sql, edges)
    parameters = chosen.parameters | slots
    keys = ["slot", group_by] if group_by else ["slot"]
    exact = sum(part.rows for part in parts) <= MOST_EXACT
    ranks = _EXACT_RANKS if exact else "NULL, NULL"
    rows = snapshot.session.rows(
        f"SELECT {', '.join(keys)}, {FIGURES}, {ranks} {slotted} GROUP BY ALL", parameters
    )
    latencies = {} if exact else _latencies(snapshot, slotted, parameters, keys)
    points = []
    for row in rows:
        key, sums, (ranked, longest) = row[: len(keys)], _Sums(*row[len(keys) : -2]), row[-2:]
        latency = _latency((*ranked, longest)) if exact else latencies[key]
        points.append(_point(edges[key[0]], key[1] if group_by else None, sums, latency))
    return sorted(points, key=point_order)


def _slotted(chosen: str, edges: Sequence[int]) -> tuple[str, dict[str, object]]:
    """A FROM clause of the rows with `slot`, the number of their bucket, and its parameters."""
    width = edges[1] - edges[0]
    if all(after - before == width for before, after in pairwise(edges)):
        slot = "(timestamp - $first) // $width"
        return f"FROM (SELECT *, {slot} AS slot {chosen})", {"first": edges[0], "width": width}
    return f"FROM (SELECT *, {_search(edges, 0, len(edges) - 1)} AS slot {chosen})", {}


def _search(edges: Sequence[int], first: int, last: int) -> str:
    """A binary search for the bucket, from edge `first` to edge `last`, that a row is in."""
    if last - first == 1:
        return str(first)
    middle = (first + last) // 2
    before, after = _search(edges, first, middle), _search(edges, middle, last)
    return f"CASE WHEN timestamp < {edges[middle]:d} THEN {before} ELSE {after} END"


def _point(start: int, group: DimensionValue, sums: _Sums, latency: Latency) -> Point:
    return Point(
        start=start,
        group=group,
        requests=sums.requests,
        successful_requests=sums.succeeded,
        failed_requests=sums.failed,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost=sums.cost,
        unpriced_requests=sums.requests - sums.priced,
        avg_duration_ms=sums.duration_ms / sums.requests,
        latency_ms=latency,
    )


def _latencies(
    snapshot: Snapshot, rows: str, parameters: dict[str, object], keys: Sequence[str]
) -> dict[tuple[DimensionValue, ...], Latency]:
    """What `_ranked` finds, for each combination of `keys`."""
    named = "".join(f"{key}, " for key in keys)
    partition = f"PARTITION BY {', '.join(keys)}"
    at = ", ".join(
        f"min(longest) FILTER (reached >= (total * {percent} + 99) // 100)" for percent in _PERCENTS
    )
    found = snapshot.session.rows(
        f"WITH buckets AS (SELECT {named} latency_bucket, count(*) AS requests,"
        f" max(duration_ms) AS longest {rows} GROUP BY ALL),"
        f" ranked AS (SELECT *, sum(requests) OVER ({partition} ORDER BY latency_bucket)"
        f" AS reached, sum(requests) OVER ({partition}) AS total FROM buckets)"
        f" SELECT {named} {at}, max(longest) FROM ranked GROUP BY ALL",
        parameters,
    )
    return {row[: len(keys)]: _latency(row[len(keys) :]) for row in found}


def _latency(values: Sequence[float]) -> Latency:
    p50, p90, p95, p99, longest = values
    return Latency(p50=p50, p90=p90, p95=p95, p99=p99, max=longest)


def stats(snapshot: Snapshot, horizon: int) -> StoreStats:
    """What has not ended, of the whole file."""
    chosen = Chosen(snapshot.parts, Selection(start=horizon + 1, end=FURTHEST))
    ((count, oldest, newest),) = snapshot.session.rows(
        f"SELECT count(*), min(timestamp), max(timestamp) {chosen.sql}", chosen.parameters
    )
    return StoreStats(
        total_events=count,
        oldest_timestamp=oldest,
        newest_timestamp=newest,
        size_bytes=snapshot.size,
    )
