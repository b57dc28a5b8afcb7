"""The index is a cache: whatever happens to it, the answers are those of the file."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.events import Event
from shared.stores.base import Selection
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_builder import IndexPolicy
from shared.stores.jsonl_file import encode_line
from tests.stores.indexed import (
    EVENTS,
    NEVER,
    assert_holds,
    manifest,
    segments,
    settle,
    summaries,
    write,
)
from tests.stores.samples import BASE, EVER, by_id, make_event, scanned, wire


def test_what_is_settled_is_answered_from_the_index(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    write(path, EVENTS)
    settle(opened())
    reader = opened()

    assert_holds(reader, EVENTS)
    assert reader._view._tail.rows == 0
    assert sum(segment.rows for segment in reader._view._segments) == len(EVENTS)


def test_segments_are_merged_and_few(path: Path, opened: Callable[..., JsonlStore]) -> None:
    store = opened(IndexPolicy(settle=1, segment_rows=100))
    for event in EVENTS[:120]:
        store.append([event])
        store.maintain()

    assert len(segments(path)) < 20
    assert_holds(store, EVENTS[:120])


def test_little_is_left_for_later(path: Path, opened: Callable[..., JsonlStore]) -> None:
    write(path, EVENTS)
    store = opened(NEVER)

    assert store.maintain() is False
    assert segments(path) == []
    assert_holds(store, EVENTS)


def test_a_query_indexes_what_is_too_much_for_memory(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    write(path, EVENTS)
    store = opened(IndexPolicy(settle=1, slice=20_000, most_unindexed=50_000))

    assert_holds(store, EVENTS)
    assert segments(path) != []
    assert store._view._tail.rows == 0


def test_a_query_that_can_not_write_beside_the_file_keeps_an_index_of_its_own(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    write(path, EVENTS)
    path.with_name(path.name + ".index").write_text("in the way")
    store = opened(IndexPolicy(settle=1, slice=20_000, most_unindexed=50_000))

    assert_holds(store, EVENTS)
    assert store._view._tail.rows == 0
    store.append([make_event("new", BASE)])
    assert_holds(store, [*EVENTS, make_event("new", BASE)])


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: shutil.rmtree(manifest(path).parent),
        lambda path: shutil.rmtree(manifest(path).parent.parent),
        lambda path: manifest(path).unlink(),
        lambda path: manifest(path).write_bytes(b""),
        lambda path: manifest(path).write_bytes(manifest(path).read_bytes()[:-20]),
        lambda path: manifest(path).write_text('{"format": 999, "segments": []}'),
        lambda path: segments(path)[0].unlink(),
        lambda path: os.truncate(segments(path)[0], 100),
        lambda path: segments(path)[0].write_bytes(bytes(segments(path)[0].stat().st_size)),
        lambda path: summaries(path)[0].unlink(),
        lambda path: os.truncate(summaries(path)[0], 100),
        lambda path: summaries(path)[0].write_bytes(bytes(summaries(path)[0].stat().st_size)),
    ],
    ids=[
        "generation removed",
        "index removed",
        "manifest removed",
        "manifest empty",
        "manifest torn",
        "another format",
        "segment removed",
        "segment torn",
        "segment of zeros",
        "summary removed",
        "summary torn",
        "summary of zeros",
    ],
)
def test_a_damaged_index_changes_no_answer_and_is_built_again(
    path: Path, opened: Callable[..., JsonlStore], damage: Callable[[Path], None], warm: bool
) -> None:
    write(path, EVENTS)
    builder, reader = opened(), opened()
    settle(builder)
    if warm:
        assert_holds(reader, EVENTS)
    damage(path)

    assert_holds(reader, EVENTS)
    settle(builder)
    assert_holds(reader, EVENTS)
    assert reader._view._tail.rows == 0


def test_clear_takes_the_index_along(path: Path, opened: Callable[..., JsonlStore]) -> None:
    write(path, EVENTS)
    store, reader = opened(), opened()
    settle(store)
    assert_holds(reader, EVENTS)
    store.clear()

    assert segments(path) == []
    assert_holds(reader, [])


def test_what_a_killed_builder_left_is_removed(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    write(path, EVENTS[:200])
    store = opened()
    settle(store)
    folder = manifest(path).parent
    left = [folder / "0123.tmp", folder / "4567.parquet", folder / "manifest.json.89ab"]
    for each in left:
        each.write_bytes(b"half")
    store.append(EVENTS[200:])
    settle(store)

    assert not any(each.exists() for each in left)
    assert_holds(store, EVENTS)


def test_one_builder_at_a_time(path: Path, opened: Callable[..., JsonlStore]) -> None:
    write(path, EVENTS)
    one, other = opened(), opened()
    with one._view.index.locked(wait=True):
        assert other.maintain() is False
        assert segments(path) == []
        assert_holds(other, EVENTS)
    settle(other)
    assert segments(path) != []


def test_readers_agree_while_others_append_and_index(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    writer, builder, reader = opened(), opened(), opened()
    done = threading.Event()

    def build() -> None:
        while not done.is_set():
            builder.maintain()

    thread = threading.Thread(target=build)
    thread.start()
    try:
        for number in range(0, len(EVENTS), 20):
            writer.append(EVENTS[number : number + 20])
            assert reader.aggregate(EVER).total_requests == number + 20
            assert len(reader.query(EVER, limit=999)) == number + 20
            assert len(scanned(reader)) == number + 20
    finally:
        done.set()
        thread.join()
    assert_holds(reader, EVENTS)


def test_a_last_line_without_newline_counts_once(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    write(path, EVENTS[:3])
    os.truncate(path, path.stat().st_size - 1)
    reader, writer = opened(), opened()
    assert_holds(reader, EVENTS[:3])
    settle(reader)
    assert_holds(reader, EVENTS[:3])

    writer.append(EVENTS[3:6])
    assert_holds(reader, EVENTS[:6])
    settle(writer)
    assert_holds(reader, EVENTS[:6])


def test_a_line_is_an_event_with_the_index_and_without_alike(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    one, two = (encode_line(make_event(name))[:-1] for name in ("one", "two"))
    good = [make_event("a"), make_event("b", BASE + 1)]
    odd = [
        one + two,
        one.replace(b",", b",\n", 1),
        one.replace(b'"POST"', b"5"),
        b'{"id": "short"}',
        b"",
        b"\xff",
    ]
    far = encode_line(make_event("far")).replace(b"2000000000", b"9" * 30)
    path.write_bytes(encode_line(good[0]) + b"\n".join(odd) + b"\n" + far + encode_line(good[1]))
    store = opened()
    assert_holds_bar_the_far(store, good)
    settle(store)
    assert_holds_bar_the_far(store, good)
    assert store._view._segments


def assert_holds_bar_the_far(store: JsonlStore, events: list[Event]) -> None:
    assert wire(scanned(store)) == wire(by_id(events))
    assert store.aggregate(EVER).total_requests == store.stats().total_events == len(events)


def test_a_page_crosses_segments_and_tail(path: Path, opened: Callable[..., JsonlStore]) -> None:
    same_second = [make_event(f"s{n:03}", BASE) for n in range(200)]
    write(path, same_second)
    store = opened()
    settle(store)
    tail = [make_event(f"t{n:03}", BASE) for n in range(20)]
    reader = opened(NEVER)
    reader.append(tail)

    found = reader.query(EVER, limit=30)
    assert [event.id for event in found] == [f"t{n:03}" for n in range(19, -1, -1)] + [
        f"s{n:03}" for n in range(199, 189, -1)
    ]
    last_second = Selection(start=BASE, end=BASE)
    assert [event.id for event in reader.query(last_second, limit=2, order="asc")] == [
        "s000",
        "s001",
    ]
