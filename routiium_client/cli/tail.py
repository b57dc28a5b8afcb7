"""`tail`: events as they are stored."""

from __future__ import annotations

import time
from itertools import count
from typing import Annotated, Any

import typer

from routiium_client.cli import options, show
from routiium_client.cli.service import Params, Service

_PAGE = 1_000
_NEAR_SECONDS = 120
"""Each look goes back so far: most events are stored that soon after their time."""
_FAR_SECONDS = 3_600
"""Now and then a look goes back so far, for requests that took long: their time is their start."""
_FAR_EVERY_SECONDS = 10
_FAR_PAGES = 10
"""But past the near ones it reads no more than so many pages."""


class Follower:
    """Events as they come: each poll gives those that no poll has given, the oldest first."""

    def __init__(self, service: Service, filters: Params) -> None:
        self._service = service
        self._filters = list(filters)
        self._seen: dict[str, int] = {}
        self._horizon = 0
        self._far_at = 0.0

    def begin(self, now: float, lines: int) -> list[dict[str, Any]]:
        """The newest `lines` events so far, the oldest of them first."""
        found = self.poll(now)
        return found[-lines:] if lines else []

    def poll(self, now: float) -> list[dict[str, Any]]:
        near = int(now) - _NEAR_SECONDS
        if now < self._far_at:
            return self._new(near, near)
        self._far_at = now + _FAR_EVERY_SECONDS
        # It never goes back: what lies before it is forgotten, and would be new again.
        self._horizon = max(self._horizon, int(now) - _FAR_SECONDS)
        found = self._new(self._horizon, near)
        self._seen = {name: at for name, at in self._seen.items() if at >= self._horizon}
        return found

    def _new(self, start: int, near: int) -> list[dict[str, Any]]:
        """Events since `start` that were not seen; older than `near` only a few pages of them."""
        params = [("start", str(start)), ("limit", str(_PAGE)), *self._filters]
        found = []
        for number in count(1):
            page = self._service.get("/analytics/events", params)
            found += [event for event in page["events"] if event["id"] not in self._seen]
            if page["next_cursor"] is None:
                break
            oldest = page["events"][-1]["timestamp"]
            if number >= _FAR_PAGES and oldest < near:
                self._horizon = oldest + 1
                break
            params = [("cursor", page["next_cursor"]), ("limit", str(_PAGE))]
        self._seen |= {event["id"]: event["timestamp"] for event in found}
        return found[::-1]


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
