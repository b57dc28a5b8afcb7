"""The file is the only truth: whatever happens to it, the next answer is right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from shared.events import Event
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_file import encode_line
from tests.stores.indexed import EVENTS, NEVER, assert_holds, segments, settle, write
from tests.stores.samples import BASE, make_event


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
