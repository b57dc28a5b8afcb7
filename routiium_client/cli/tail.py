"""`tail`: events as they are stored."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from routiium_client.cli import options, show
from routiium_client.cli.service import Params, Service

_PAGE = 1_000
_OVERLAP_SECONDS = 120
"""How late an event may be stored after its time and still be seen."""


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
