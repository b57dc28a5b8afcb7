"""`doctor`: what is wrong with an installation, as it is seen from here, and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import typer

from routiium_client.cli import options, show
from routiium_client.cli.service import Failure, Service, explain
from routiium_client.cli.version import installed_version

Level = Literal["ok", "note", "wrong"]

CLOCK_SECONDS = 2.0
"""The Date header is in whole seconds; a difference up to this means nothing."""
OLDEST_REDIS = (6, 2)
_MARKS = {"ok": "[green]✓[/green]", "note": "[yellow]![/yellow]", "wrong": "[red]✗[/red]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` says what to do; it is empty where all is well."""

    about: str
    level: Level
    found: str
    advice: str = ""


Findings = Iterator[Finding]


def doctor(
    ingest_url: options.IngestUrl = options.DEFAULT_INGEST,
    query_url: options.QueryUrl = options.DEFAULT_QUERY,
    token: options.Token = None,
    as_json: options.AsJson = False,
) -> None:
    """Look at broker, store, policies, tokens, clocks and versions; say what to do."""
    findings = list(examine(ingest_url, query_url, token, now=_now))
    if as_json:
        show.print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(1)


def examine(
    ingest_url: str, query_url: str, token: str | None, *, now: Callable[[], datetime]
) -> Findings:
    """Everything that can be seen from here, most basic first."""
    ingest, query = options.ingest(ingest_url, token), options.query(query_url, token)
    anonymous = {
        ingest: options.ingest(ingest_url, None),
        query: options.query(query_url, None),
    }
    yield from _versions()
    for service, path in ((ingest, "/analytics/events"), (query, "/analytics/stats")):
        try:
            yield from _service(service, now)
            yield from _token(service, anonymous[service], path, token)
            yield from _version_of(service)
        except Failure as failure:
            yield Finding(service.kind.name, "wrong", "does not answer", str(failure))
    for look in (_store, _pipeline):
        try:
            yield from look(query)
        except Failure as failure:
            yield Finding(look.__name__.strip("_"), "wrong", "can't be looked at", str(failure))


def _versions() -> Findings:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("versions", "ok", f"routiium-analytics {installed_version()}, Python {python}")


def _version_of(service: Service) -> Findings:
    """Whether the service is of our version; its API document tells those who may ask."""
    answer = service.ask("GET", "/openapi.json")
    if answer.status != 200:
        return
    theirs = json.loads(answer.body)["info"]["version"]
    if theirs != installed_version():
        found = f"{service.kind.name} is {theirs}, this command {installed_version()}"
        yield Finding("versions", "note", found, "install the same version on both sides")


def _service(service: Service, now: Callable[[], datetime]) -> Findings:
    name = service.kind.name
    ready = service.ask("GET", "/healthz/ready")
    if ready.status == 200:
        yield Finding(name, "ok", f"is ready at {service.url}")
    else:
        yield Finding(
            name, "wrong", explain(ready), "its log names the cause; look at broker and store first"
        )
    if ready.date is not None:
        apart = abs((now() - ready.date).total_seconds())
        if apart > CLOCK_SECONDS:
            advice = "set both clocks by NTP: events without a timestamp get the server's"
            yield Finding("clocks", "wrong", f"{name}'s clock is {apart:.0f} s off ours", advice)
        else:
            yield Finding("clocks", "ok", f"{name}'s clock is ours, to {CLOCK_SECONDS:.0f} s")


def _token(service: Service, anonymous: Service, path: str, token: str | None) -> Findings:
    """Whether we may, and whether anyone may."""
    about = f"token for {service.kind.name}"
    method, body = ("POST", b"[]") if path.endswith("events") else ("GET", None)
    mine = service.ask(method, path, body, Content_Type="application/json")
    if mine.status in (401, 403):
        advice = "give --token one of the tokens that the service was started with"
        yield Finding(about, "wrong", explain(mine), advice)
        return
    if token is not None:
        yield Finding(about, "ok", "is taken")
        if anonymous.ask(method, path, body, Content_Type="application/json").status >= 300:
            return
    local = service.local
    yield Finding(
        about,
        "ok" if local else "note",
        "anyone is answered" + (", on loopback" if local else ""),
        "" if local else "set ROUTIIUM_ANALYTICS_INGEST_TOKENS, …_QUERY_TOKENS, …_ADMIN_TOKENS",
    )


def _store(query: Service) -> Findings:
    stats = query.get("/analytics/stats")
    backend = stats["backend_type"]
    kept = "for ever" if stats["ttl_seconds"] is None else f"for {stats['ttl_seconds']:,} s"
    yield Finding("store", "ok", f"{backend}, {stats['total_events']:,} events, kept {kept}")
    if backend == "memory":
        advice = "set ROUTIIUM_ANALYTICS_JSONL_PATH or another store"
        yield Finding("store", "note", "memory loses everything at a restart", advice)


def _pipeline(query: Service) -> Findings:
    state = query.get("/analytics/pipeline")
    yield from _broker(state["broker"])
    for warning in state["warnings"]:
        yield Finding("pipeline", "wrong", warning, "see “When something is off” in the README")
    alive = sum(worker["alive"] for worker in state["workers"])
    oldest = state["oldest_pending_seconds"]
    waiting = f"{state['backlog']:,} events wait" + (f", for {oldest:.0f} s" if oldest else "")
    if alive:
        yield Finding("workers", "ok", f"{alive} alive, {waiting}")
    else:
        advice = "start one: `python -m worker.main`"
        yield Finding("workers", "wrong", f"none is alive, {waiting}", advice)
    if letters := state["dead_letters"]:
        advice = "`routiium-analytics replay --list` shows why; mend it, then replay"
        yield Finding("dead letters", "note", f"{letters:,} events could not be written", advice)


def _broker(broker: dict[str, Any]) -> Findings:
    redis = broker["version"]
    if redis is None:
        yield Finding("broker", "note", "does not tell its version", "allow INFO to its user")
        return
    number = tuple(int(part) for part in redis.split(".")[:2] if part.isdecimal())
    if number < OLDEST_REDIS:
        yield Finding("broker", "wrong", f"Redis {redis}", "6.2 or newer is needed")
    else:
        yield Finding("broker", "ok", f"Redis {redis}")
    sync = broker["appendfsync"]
    if sync not in (None, "always") and broker["aof_enabled"]:
        advice = "set appendfsync to always where that second matters"
        yield Finding(
            "policies",
            "note",
            f"appendfsync is {sync}: a power cut may cost the last second of what was taken",
            advice,
        )
    elif broker["aof_enabled"]:
        found = f"appendfsync {sync or 'unknown'}, maxmemory-policy {broker['maxmemory_policy']}"
        yield Finding("policies", "ok", found)


def _print(findings: list[Finding]) -> None:
    out = show.console()
    for finding in findings:
        about, found = show.shown(finding.about), show.shown(finding.found)
        out.print(f"{_MARKS[finding.level]} [bold]{about}[/bold]: {found}", soft_wrap=True)
        if finding.advice:
            out.print(f"    → {show.shown(finding.advice)}", soft_wrap=True)


def _now() -> datetime:
    return datetime.now(UTC)
