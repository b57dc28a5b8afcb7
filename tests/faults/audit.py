"""What a pipeline holds, asked of the pipeline, and held against what it has acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import msgspec

from tests.faults.books import ROUND, Balance, balance, period, round_of
from tests.harness import Pipeline, wait_until

SETTLE_SECONDS = 60.0


def wait_until_empty(pipeline: Pipeline) -> list[str]:
    """Let the queue run empty; a problem, in words, where it does not."""
    pipeline.wait_ready()
    try:
        wait_until(lambda: pipeline.backlog() == 0, within=SETTLE_SECONDS, what="empty")
    except AssertionError:
        return [f"{pipeline.backlog()} events stuck in the queue"]
    return []


def close_books(pipeline: Pipeline, acknowledged: Iterable[int]) -> Mapping[int, Balance]:
    """The balance of each round that any of the acknowledged events, ascending, belong to."""
    dead = dead_letter_ids(pipeline)
    return {
        number: _balance_of_round(pipeline, number, list(numbers), dead)
        for number, numbers in groupby(acknowledged, key=lambda number: number // ROUND)
    }


def _balance_of_round(
    pipeline: Pipeline, number: int, acknowledged: list[int], dead: list[str]
) -> Balance:
    start, end = period(number)
    range_of_round = f"start={start}&end={end}&format=ndjson"
    export = pipeline.http.get(f"{pipeline.query_url}/analytics/export?{range_of_round}")
    assert export.status_code == 200, export.text
    return balance(
        acknowledged,
        stored=ids_of(export.content),
        dead=[name for name in dead if round_of(name) == number],
        aggregate=pipeline.get("aggregate", start=start, end=end),
    )


def dead_letter_ids(pipeline: Pipeline) -> list[str]:
    """The ids of all dead letters; an event that could not be read has none, and is named so."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = pipeline.get("dead-letters", limit=1_000, **cursor)
        found += [letter["event_id"] or "unreadable" for letter in page["dead_letters"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def wrong_totals(pipeline: Pipeline, expected: int) -> list[str]:
    """Where the store holds more or less than `expected` events altogether."""
    counts = {"the store counts": pipeline.total()}
    if path := pipeline.settings.get("JSONL_PATH"):
        ids = ids_of(Path(path).read_bytes())
        counts |= {"lines of the file": len(ids), "ids in the file": len(set(ids))}
    return [f"{what}: {n}, not {expected}" for what, n in counts.items() if n != expected]


def ids_of(lines: bytes) -> list[str]:
    return [msgspec.json.decode(line)["id"] for line in lines.splitlines()]
