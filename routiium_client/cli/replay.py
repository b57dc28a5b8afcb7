"""`replay`: events that could not be written, back on the queue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from routiium_client.cli import options, show
from routiium_client.cli.service import Service

_SHOWN = 20
_PATH = "/analytics/dead-letters"


def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Letters; all where none is named.")
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Show them and do no more.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    query_url: options.QueryUrl = options.DEFAULT_QUERY,
    token: options.Token = None,
    as_json: options.AsJson = False,
) -> None:
    """Dead letters: events that the workers could not write. Mend the cause, then replay them."""
    service = options.query(query_url, token)
    page = service.get(_PATH, [("limit", str(_SHOWN))])
    if only_list:
        _list(page, as_json)
        return
    count = len(ids) if ids else page["total"]
    if not count:
        _tell({"replayed": 0, "missing": []}, as_json)
        return
    if not (yes or as_json):
        _list(page, as_json)
        typer.confirm(f"Put {count} dead letters back on the queue?", abort=True)
    _tell(_put_back(service, ids), as_json)


def _put_back(service: Service, ids: list[str] | None) -> dict[str, Any]:
    return service.post(f"{_PATH}/replay", {"ids": ids} if ids else None)


def _list(page: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.print_json(page)
        return
    letters = page["dead_letters"]
    show.print_table(
        f"{page['total']} dead letters, the newest {len(letters)}",
        ["letter", "since", "event", "attempts", "reason"],
        [
            [one["id"], show.moment(one["at"]), one["event_id"], one["attempts"], one["reason"]]
            for one in letters
        ],
    )


def _tell(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.print_json(result)
        return
    missing = result["missing"]
    show.console().print(
        f"{result['replayed']} dead letters are back on the queue"
        + (f"; not found: {', '.join(missing)}" if missing else ""),
        markup=False,
    )
