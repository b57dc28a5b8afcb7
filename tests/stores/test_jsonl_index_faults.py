"""The index is a cache: whatever happens to it or to the file, answers are those of the file."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from shared.events import Event
from shared.stores.base import Selection
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
    make_event,
    scanned,
    varied_events,
    wire,
)

SMALL = IndexPolicy(settle=1, slice=20_000, most_unindexed=1_000_000, segment_rows=100)
NEVER = IndexPolicy()
EVENTS = varied_events(300, start=BASE - DAY, end=BASE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analytics.jsonl"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., JsonlStore]]:
    """Opens stores on the one file, and closes them at the end."""
    stores: list[JsonlStore] = []

    def open_one(policy: IndexPolicy = SMALL) -> JsonlStore:
        stores.append(JsonlStore(path, index=policy))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


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


def _removed(path: Path) -> list[Event]:
    path.unlink()
    return []


def _truncated(path: Path) -> list[Event]:
    os.truncate(path, 0)
    return []


def _cut(path: Path) -> list[Event]:
    os.truncate(path, sum(len(encode_line(event)) for event in EVENTS[:100]))
    return EVENTS[:100]


def _replaced(path: Path) -> list[Event]:
    fresh = path.with_name("other")
    write(fresh, EVENTS[50:200])
    fresh.replace(path)
    return EVENTS[50:200]


def _written_over(path: Path) -> list[Event]:
    write(path, EVENTS[50:200])
    return EVENTS[50:200]


def _written_over_and_longer(path: Path) -> list[Event]:
    events = [*reversed(EVENTS), *(make_event(f"longer{n}", BASE - n) for n in range(60))]
    write(path, events)
    return events


def _removed_and_written(path: Path) -> list[Event]:
    path.unlink()
    write(path, EVENTS[200:])
    return EVENTS[200:]


def _one_line_taken_out(path: Path) -> list[Event]:
    fresh = path.with_name("other")
    write(fresh, EVENTS[:150] + EVENTS[151:])
    fresh.replace(path)
    return EVENTS[:150] + EVENTS[151:]


def _edited_to_the_same_size(path: Path) -> list[Event]:
    fresh = path.with_name("other")
    data = path.read_bytes().replace(b'"backend":"openai"', b'"backend":"0penai"')
    fresh.write_bytes(data)
    fresh.replace(path)
    return msgspec.json.Decoder(Event).decode_lines(data)


@pytest.mark.parametrize("indexed", ["whole", "part", "none"])
@pytest.mark.parametrize(
    "change",
    [
        _removed,
        _truncated,
        _cut,
        _replaced,
        _written_over,
        _written_over_and_longer,
        _removed_and_written,
        _one_line_taken_out,
        _edited_to_the_same_size,
    ],
)
def test_the_next_answer_is_right_whatever_happened_to_the_file(
    path: Path,
    opened: Callable[..., JsonlStore],
    change: Callable[[Path], list[Event]],
    indexed: str,
) -> None:
    reader, builder = opened(NEVER), opened()
    write(path, EVENTS[:200])
    if indexed != "none":
        settle(builder)
    with path.open("ab") as file:
        file.write(b"".join(encode_line(event) for event in EVENTS[200:]))
    if indexed == "whole":
        settle(builder)
    assert_holds(reader, EVENTS)

    left = change(path)
    assert_holds(reader, left)
    settle(builder)
    assert_holds(reader, left)
    new = make_event("new", BASE)
    assert builder.append([new]) == 1
    assert_holds(reader, [*left, new])
    assert_holds(opened(), [*left, new])


def test_a_removed_file_takes_its_index_along(
    path: Path, opened: Callable[..., JsonlStore]
) -> None:
    write(path, EVENTS)
    store = opened()
    settle(store)
    path.unlink()

    assert store.stats().total_events == 0
    assert segments(path) == []


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
