"""Summaries of segments: their rows added up by UTC day, model, endpoint and backend.

A summary lies beside its segment, in Parquet, with two kinds of rows: the figures of each day and
combination, where `latency_bucket` is null; and the requests and the longest duration of each
latency bucket of it.
"""

from __future__ import annotations

from shared.stores.base import Dimension

DAY = 86_400
KNOWN: tuple[Dimension, ...] = ("model", "endpoint", "backend")
"""The dimensions that a summary tells apart."""
KEY = ", ".join(KNOWN)

_COUNTS = {
    "requests": "count(*)",
    "succeeded": "count(*) FILTER (success)",
    "failed": "count(*) FILTER (NOT success)",
    "input_tokens": "coalesce(sum(input_tokens), 0)",
    "output_tokens": "coalesce(sum(output_tokens), 0)",
    "cached_tokens": "coalesce(sum(cached_tokens), 0)",
    "reasoning_tokens": "coalesce(sum(reasoning_tokens), 0)",
    "rated": "count(tokens_per_second)",
    "priced": "count(total_cost)",
}
_SUMS = {
    "duration_ms": "coalesce(fsum(duration_ms), 0.0)",
    "rates": "coalesce(fsum(tokens_per_second), 0.0)",
    "cost": "coalesce(fsum(total_cost), 0.0)",
}
FIGURES = ", ".join([*_COUNTS.values(), *_SUMS.values()])
"""What is added up, of rows."""
_STORED = ", ".join(
    # DuckDB's sums have 128 bits, and Parquet would keep them as floats.
    [f"({made})::DECIMAL(38, 0) AS {name}" for name, made in _COUNTS.items()]
    + [f"{made} AS {name}" for name, made in _SUMS.items()]
)
ADDED = ", ".join(
    [f"sum({name})::HUGEINT" for name in _COUNTS] + [f"fsum({name})" for name in _SUMS]
)
"""The same of the rows of summaries."""

_DAY = f"timestamp // {DAY} AS day"
SUMMARY = (
    "WITH segment AS (FROM read_parquet(?))"
    f" (SELECT {_DAY}, {KEY}, NULL::SMALLINT AS latency_bucket, {_STORED},"
    " NULL::DOUBLE AS longest FROM segment GROUP BY ALL)"
    f" UNION ALL BY NAME (SELECT {_DAY}, {KEY}, latency_bucket, count(*)::DECIMAL(38, 0) AS"
    " requests, max(duration_ms) AS longest FROM segment GROUP BY ALL)"
    " ORDER BY latency_bucket NULLS FIRST, day"
)
"""A SELECT of the summary of a Parquet file of rows, its parameter."""
