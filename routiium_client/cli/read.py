"""Commands that ask the query service once: stats, top, export."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from routiium_client.cli import options, show
from routiium_client.cli.service import Failure


class By(StrEnum):
    """What `top` groups by."""

    MODEL = "model"
    ENDPOINT = "endpoint"
    BACKEND = "backend"
    KEY = "api_key_id"
    STATUS = "status_code"
    SUCCESS = "success"
    MODE = "upstream_mode"
    STREAM = "stream"


class Sort(StrEnum):
    """What `top` sorts by, the most first."""

    REQUESTS = "requests"
    COST = "cost"
    TOKENS = "tokens"
    ERRORS = "errors"
    AVERAGE = "avg_duration"
    P95 = "p95"


class Format(StrEnum):
    """What `export` writes."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


def stats(
    query_url: options.QueryUrl = options.DEFAULT_QUERY,
    token: options.Token = None,
    start: options.Start = None,
    end: options.End = None,
    last: options.Last = None,
    where: options.Where = None,
    as_json: options.AsJson = False,
) -> None:
    """What the store holds, and the figures of a range (an hour, unless it says otherwise)."""
    service = options.query(query_url, token)
    chosen = options.selection(start, end, last, where)
    store = service.get("/analytics/stats")
    figures = service.get("/analytics/aggregate", chosen)
    if as_json:
        show.print_json({"store": store, "range": figures})
        return
    show.print_fields(
        "Store",
        [
            ("events", store["total_events"]),
            ("backend", store["backend_type"]),
            ("kept for", _kept(store["ttl_seconds"])),
            ("oldest", show.moment(store.get("oldest_timestamp"))),
            ("newest", show.moment(store.get("newest_timestamp"))),
        ],
    )
    _print_figures(figures)


def _kept(ttl: int | None) -> str:
    return "ever" if ttl is None else f"{ttl / 86_400:.4g} days"


def _print_figures(figures: dict[str, Any]) -> None:
    period = (show.moment(figures[name]) for name in ("period_start", "period_end"))
    latency = figures["latency_ms"]
    show.print_fields(
        " – ".join(str(edge) for edge in period),
        [
            ("requests", figures["total_requests"]),
            ("failed", figures["failed_requests"]),
            ("input tokens", figures["total_input_tokens"]),
            ("output tokens", figures["total_output_tokens"]),
            ("cost, USD", figures["total_cost"]),
            ("without a price", figures["unpriced_requests"]),
            ("average, ms", figures["avg_duration_ms"]),
            *((f"{name}, ms", latency.get(name)) for name in ("p50", "p95", "p99", "max")),
        ],
    )


def top(
    by: Annotated[By, typer.Option(help="What to group by.")] = By.MODEL,
    sort: Annotated[Sort, typer.Option(help="Most of what first.")] = Sort.REQUESTS,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many.")] = 10,
    query_url: options.QueryUrl = options.DEFAULT_QUERY,
    token: options.Token = None,
    start: options.Start = None,
    end: options.End = None,
    last: options.Last = None,
    where: options.Where = None,
    as_json: options.AsJson = False,
) -> None:
    """Models, keys, endpoints … that have the most requests, cost, tokens, errors or time."""
    chosen = options.selection(start, end, last, where)
    chosen += [("by", by.value), ("sort", sort.value), ("limit", str(limit))]
    answer = options.query(query_url, token).get("/analytics/top", chosen)
    if as_json:
        show.print_json(answer)
        return
    edges = f"{show.moment(answer['start'])} – {show.moment(answer['end'])}"
    columns = [by.value, "requests", "failed", "in", "out", "cost, USD", "average, ms", "p95, ms"]
    show.print_table(
        f"{edges}, {answer['total_groups']} in all",
        columns,
        [_group_row(group) for group in answer["groups"]],
    )


def _group_row(group: dict[str, Any]) -> list[Any]:
    value = group["value"]
    return [
        None if value is None else str(value),
        group["requests"],
        group["failed_requests"],
        group["input_tokens"],
        group["output_tokens"],
        group["cost"],
        group["avg_duration_ms"],
        group["latency_ms"].get("p95"),
    ]


def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if none.")
    ] = None,
    file_format: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.NDJSON,
    columns: Annotated[str | None, typer.Option(help="Of CSV: names with commas, or all.")] = None,
    query_url: options.QueryUrl = options.DEFAULT_QUERY,
    token: options.Token = None,
    start: options.Start = None,
    end: options.End = None,
    last: options.Last = None,
    where: options.Where = None,
    as_json: options.AsJson = False,
) -> None:
    """The events of a range (24 hours, unless it says otherwise) as a file."""
    if as_json and output is None:
        raise Failure("--json tells about a file: name it with --output", status=2)
    chosen = [*options.selection(start, end, last, where), ("format", file_format.value)]
    if columns:
        chosen.append(("columns", columns))
    parts = options.query(query_url, token).stream("/analytics/export", chosen)
    first = next(parts, b"")
    if output is None:
        _write(sys.stdout.buffer, first, parts)
        return
    # Nothing is opened before there is an answer: a refusal leaves an old file as it is.
    with open(output, "wb") as file:
        size = _write(file, first, parts)
    if as_json:
        show.print_json({"file": str(output), "bytes": size})
    else:
        show.console(error=True).print(f"{size:,} bytes written to {output}", markup=False)


def _write(file: Any, first: bytes, parts: Iterator[bytes]) -> int:
    size = file.write(first)
    for part in parts:
        size += file.write(part)
    file.flush()
    return int(size)
