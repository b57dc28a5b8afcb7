"""A JSONL store that is indexed in small pieces, and what is looked at there."""

from __future__ import annotations

from pathlib import Path

from shared.events import Event
from shared.stores.fold import fold_aggregate, fold_timeseries
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_builder import IndexPolicy
from shared.stores.jsonl_file import encode_line
from tests.stores.samples import (
    BASE,
    DAY,
    EVER,
    assert_same_aggregate,
    assert_same_points,
    by_id,
    scanned,
    varied_events,
    wire,
)

SMALL = IndexPolicy(settle=1, slice=20_000, most_unindexed=1_000_000, segment_rows=100)
NEVER = IndexPolicy()
EVENTS = varied_events(300, start=BASE - DAY, end=BASE)


def settle(store: JsonlStore) -> None:
    while store.maintain():
        pass


def segments(path: Path) -> list[Path]:
    return sorted(path.with_name(path.name + ".index").glob("*/*.parquet"))


def summaries(path: Path) -> list[Path]:
    return [segment.with_suffix(".summary") for segment in segments(path)]


def manifest(path: Path) -> Path:
    (found,) = path.with_name(path.name + ".index").glob("*/manifest.json")
    return found


def assert_holds(store: JsonlStore, events: list[Event]) -> None:
    """Every kind of answer holds these events and no other."""
    newest_first = sorted(events, key=lambda e: (e.timestamp, e.id.encode()), reverse=True)
    assert wire(store.query(EVER, limit=9_999)) == wire(newest_first)
    assert wire(scanned(store)) == wire(by_id(events))
    assert store.stats().total_events == len(events)
    assert_same_aggregate(store.aggregate(EVER), fold_aggregate(events))
    edges = [0, BASE - DAY // 2, BASE + DAY]
    expected = fold_timeseries(events, edges, "model")
    assert_same_points(store.timeseries(EVER, edges, "model"), expected)


def write(path: Path, events: list[Event]) -> None:
    path.write_bytes(b"".join(encode_line(event) for event in events))
