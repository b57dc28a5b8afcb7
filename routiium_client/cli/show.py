"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

_WIDE = 200


def console(*, error: bool = False) -> Console:
    """Where to print; what is not a terminal has no edge to wrap at."""
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Numbers to the right, nothing as a dash."""
    rows = list(rows)
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for number, name in enumerate(columns):
        right = any(isinstance(row[number], int | float) for row in rows)
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(shown(value) for value in row))
    console().print(table)


def print_fields(title: str, fields: Iterable[tuple[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    for name, value in fields:
        table.add_row(name, shown(value))
    console().print(table)


def shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
    # Names come from clients: what could steer a terminal, or mean markup, is taken out.
    return "".join(c if c.isprintable() else "·" for c in str(value)).replace("[", r"\[")


def moment(timestamp: float | None) -> str | None:
    """Unix seconds as a person reads them, in UTC."""
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
