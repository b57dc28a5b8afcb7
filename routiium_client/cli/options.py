"""Options that several commands have, and what they become in a query."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from routiium_client.cli.service import (
    INGEST,
    INGEST_VARIABLE,
    QUERY,
    QUERY_VARIABLE,
    TOKEN_VARIABLE,
    Failure,
    Service,
)

DEFAULT_INGEST = "http://127.0.0.1:8087"
DEFAULT_QUERY = "http://127.0.0.1:8088"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

IngestUrl = Annotated[str, typer.Option(envvar=INGEST_VARIABLE, help="Where ingest is.")]
QueryUrl = Annotated[str, typer.Option(envvar=QUERY_VARIABLE, help="Where the query service is.")]
Token = Annotated[
    str | None, typer.Option(envvar=TOKEN_VARIABLE, help="Bearer token.", show_envvar=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Start = Annotated[str | None, typer.Option(help="Unix seconds or ISO 8601 with a zone.")]
End = Annotated[str | None, typer.Option(help="The same; now where it is left out.")]
Last = Annotated[str | None, typer.Option(help="Instead of --start: 30m, 24h, 7d.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="NAME=VALUE",
        help="Only events that have it: model, endpoint, backend, api_key_id, status_code, "
        "success, upstream_mode, stream. Of one name any, of different names all.",
    ),
]


def ingest(url: str, token: str | None) -> Service:
    return Service(INGEST, url, token)


def query(url: str, token: str | None) -> Service:
    return Service(QUERY, url, token)


def selection(
    start: str | None, end: str | None, last: str | None, where: list[str] | None
) -> list[tuple[str, str]]:
    """Query parameters of a range and its filters."""
    if start is not None and last is not None:
        raise Failure("--start and --last say the same thing; give one of them", status=2)
    if last is not None:
        start = str(int(time.time()) - duration(last))
    given = [(name, value) for name, value in (("start", start), ("end", end)) if value]
    return given + [_filter(text) for text in where or ()]


def duration(text: str) -> int:
    """Seconds of `90s`, `30m`, `24h`, `7d` or `2w`."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if found is None:
        raise Failure(f"--last: {text!r} is no length of time such as 30m, 24h or 7d", status=2)
    return int(found[1]) * _SECONDS[found[2]]


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Failure(f"--where: {text!r} is not NAME=VALUE, such as model=gpt-4o", status=2)
    return name.strip(), value
