"""What the stream may hold besides good batches, and what becomes of it."""

from typing import Any

import msgspec
import pytest

from shared.entries import Entry, Packed, entry_order, join, pack
from tests.worker.rig import names, received
from worker.decode import MAX_REASON, decode, not_cleared

NOW = 1_700_000_000.0
encode = msgspec.msgpack.Encoder().encode


def entry(entry_id: str, *batches: bytes, attempts: int = 0) -> Entry:
    return Entry(entry_id, join([Packed(batch, 1) for batch in batches]), 1, attempts)


def good(*numbers: int) -> bytes:
    return pack("native", received(numbers))[0].data


def test_entries_are_worked_on_in_the_order_of_the_stream() -> None:
    work = decode([entry("10-0", good(2)), entry("9-1", good(1)), entry("9-0", good(0))], NOW)

    assert [item.event.id for item in work.items] == names([0, 1, 2])
    assert work.ids == ["9-0", "9-1", "10-0"]
    assert [(item.source, item.attempts) for item in work.items] == [("native", 0)] * 3


def test_events_come_out_normalised() -> None:
    [item] = decode([entry("1-0", good(1))], NOW).items
    assert item.event.token_usage is not None
    assert item.event.token_usage.total_tokens == 15


@pytest.mark.parametrize(
    "data",
    [encode("text"), encode({"a": 1}), encode(["native"]), encode(["native", "x"])],
    ids=["text", "a map", "too short", "a wrong type"],
)
def test_an_unreadable_batch_is_one_dead_letter_beside_good_ones(data: bytes) -> None:
    work = decode([entry("1-0", good(1), data, good(2))], NOW)

    assert [item.event.id for item in work.items] == names([1, 2])
    [(entry_id, letter)] = work.letters
    assert entry_id == "1-0"
    assert letter.reason.startswith("unreadable batch: ")
    assert (letter.at, letter.payload) == (NOW, b"\x91" + data)


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {"id": "x"},
        {"id": "x", "timestamp": "yesterday", "request": {"endpoint": "/"}},
        {"id": "x", "timestamp": 1, "request": {"endpoint": None}},
    ],
    ids=["no object", "nothing required", "a wrong type", "a null"],
)
def test_an_unreadable_event_costs_only_itself(bad: Any) -> None:
    events = [*msgspec.msgpack.decode(good(1, 2))[1], bad]
    work = decode([entry("1-0", encode(["litellm", events]), attempts=3)], NOW)

    assert [item.event.id for item in work.items] == names([1, 2])
    [(_, letter)] = work.letters
    assert letter.reason.startswith("unreadable event: ")
    assert (letter.source, letter.attempts) == ("litellm", 4)
    assert msgspec.msgpack.decode(letter.payload) == [["litellm", [bad]]]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"{}"], ids=["nothing", "no msgpack", "text"])
def test_an_unreadable_entry_is_one_dead_letter_beside_good_ones(data: bytes) -> None:
    work = decode([Entry("1-0", data, 1), entry("2-0", good(2))], NOW)

    assert [item.event.id for item in work.items] == names([2])
    [(entry_id, letter)] = work.letters
    assert entry_id == "1-0"
    assert letter.reason.startswith("unreadable entry: ")
    assert (letter.at, letter.payload) == (NOW, data)


def test_nesting_without_end_is_a_dead_letter() -> None:
    work = decode([entry("1-0", b"\x91" * 100_000), entry("2-0", good(1))], NOW)

    assert len(work.letters) == 1
    assert [item.event.id for item in work.items] == names([1])


def test_an_entry_without_batches_is_nothing_to_do() -> None:
    work = decode([entry("1-0")], NOW)
    assert (work.items, work.letters, work.ids) == ([], [], ["1-0"])


def test_the_reason_of_a_letter_is_one_that_the_queue_takes() -> None:
    work = decode([entry("1-0", good(1))], NOW)

    work.bury(work.items[0], ValueError("\ud800" * 10_000), NOW, 5)

    [(_, letter)] = work.letters
    assert letter.reason == "ValueError: " + "?" * (MAX_REASON - len("ValueError: "))


@pytest.mark.parametrize(
    ("cleared", "left"),
    [(None, [1, 2, 3]), ("8-9", [1, 2, 3]), ("9-0", [2, 3]), ("9-5", [2, 3]), ("10-0", [3])],
)
def test_items_up_to_the_clear_are_left_out(cleared: str | None, left: list[int]) -> None:
    work = decode([entry("9-0", good(1)), entry("10-0", good(2)), entry("10-1", good(3))], NOW)

    kept = not_cleared(work.items, cleared)

    assert [item.event.id for item in kept] == names(left)
    assert all(cleared is None or entry_order(item.entry) > entry_order(cleared) for item in kept)
