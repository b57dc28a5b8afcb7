"""Commands that ask the query service: stats, top, export, tail."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from routiium_client.cli import options, show
from routiium_client.cli.service import Failure, Params, Service

_PAGE = 1_000
_OVERLAP_SECONDS = 120
"""How late an event may be stored after its time and still be seen by `tail`."""


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


class Follower:
    """Events as they come: each poll gives those that no poll has given."""

    def __init__(self, service: Service, filters: Params) -> None:
        self._service = service
        self._filters = list(filters)
        self._seen: dict[str, int] = {}

    def begin(self, now: float, lines: int) -> list[dict[str, Any]]:
        """The newest `lines` events so far, the oldest of them first."""
        found = self._new(now)
        return found[-lines:] if lines else []

    def poll(self, now: float) -> list[dict[str, Any]]:
        edge = int(now) - 2 * _OVERLAP_SECONDS
        self._seen = {name: at for name, at in self._seen.items() if at >= edge}
        return self._new(now)

    def _new(self, now: float) -> list[dict[str, Any]]:
        start = int(now) - _OVERLAP_SECONDS
        params = [("start", str(start)), ("order", "asc"), ("limit", str(_PAGE)), *self._filters]
        found = []
        while True:
            page = self._service.get("/analytics/events", params)
            found += [event for event in page["events"] if event["id"] not in self._seen]
            if page["next_cursor"] is None:
                break
            params = [("cursor", page["next_cursor"]), ("limit", str(_PAGE))]
        self._seen |= {event["id"]: event["timestamp"] for event in found}
        return found


def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Events before now.")] = 10,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 1.0,
    query_url: options.QueryUrl = options.DEFAULT_QUERY,
    token: options.Token = None,
    where: options.Where = None,
    as_json: options.AsJson = False,
) -> None:
    """Events as they are stored, until Ctrl-C."""
    follower = Follower(options.query(query_url, token), options.selection(None, None, None, where))
    try:
        _print_events(follower.begin(time.time(), lines), as_json)
        while True:
            time.sleep(interval)
            _print_events(follower.poll(time.time()), as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _print_events(events: list[dict[str, Any]], as_json: bool) -> None:
    for event in events:
        if as_json:
            show.print_json(event)
        else:
            show.console().print(_line(event), soft_wrap=True)


def _line(event: dict[str, Any]) -> str:
    response, usage = event["response"] or {}, event["token_usage"] or {}
    status = response.get("status_code")
    style = "green" if response.get("success") else "red"
    tokens = f"{usage.get('prompt_tokens', '–')}→{usage.get('completion_tokens', '–')}"
    parts = [
        f"[dim]{show.moment(event['timestamp'])}[/dim]",
        f"[{style}]{status or '···'}[/{style}]",
        f"{event['performance']['duration_ms']:>9,.1f} ms",
        f"{tokens:>12} tokens",
        f"[bold]{show.shown(event['request']['model'])}[/bold]",
        show.shown(event["request"]["endpoint"]),
        show.shown(event["auth"]["api_key_label"] or event["auth"]["api_key_id"]),
        show.shown(response.get("error_message") or ""),
    ]
    return "  ".join(parts)
