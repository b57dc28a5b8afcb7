"""How batches are cut and share entries: in order, none lost, none over the bounds."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.entries import (
    MAX_ENTRY_BYTES,
    MAX_ENTRY_EVENTS,
    Packed,
    QueuedBatch,
    entry_order,
    group_into_entries,
    pack,
)
from shared.events import ReceivedEvent, ReceivedRequest, ReceivedResponse

KIB = 1_024


def make(number: int, size: int) -> ReceivedEvent:
    """An event of about `size` bytes."""
    filler = ReceivedResponse(error_message="x" * size)
    request = ReceivedRequest(endpoint="/")
    return ReceivedEvent(request=request, id=str(number), timestamp=number, response=filler)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 100, 2 * KIB, 200 * KIB]), max_size=1_300))
def test_packed_batches_hold_every_event_in_order_within_the_bounds(sizes: list[int]) -> None:
    # Of the large ones a few are enough to pass the bound of bytes.
    large = 0
    for index, size in enumerate(sizes):
        large += size > 2 * KIB
        if large > 8 and size > 2 * KIB:
            sizes[index] = 0
    packed = pack("native", [make(number, size) for number, size in enumerate(sizes)])

    batches = [msgspec.msgpack.decode(part.data, type=QueuedBatch) for part in packed]
    ids = [event.id for batch in batches for event in batch.events]
    assert ids == [str(number) for number in range(len(sizes))]
    assert {batch.source for batch in batches} <= {"native"}
    for part, batch in zip(packed, batches, strict=True):
        assert part.count == len(batch.events) <= MAX_ENTRY_EVENTS
        assert len(part.data) <= MAX_ENTRY_BYTES or part.count == 1


counts = st.integers(1, MAX_ENTRY_EVENTS)
lengths = st.sampled_from([1, 1_000, MAX_ENTRY_BYTES // 2, MAX_ENTRY_BYTES - 1, MAX_ENTRY_BYTES])


@given(st.lists(st.tuples(counts, lengths), max_size=40))
def test_entries_hold_every_batch_in_order_within_the_bounds(
    shapes: list[tuple[int, int]],
) -> None:
    batches = [Packed(bytes(length), count) for count, length in shapes]

    entries = group_into_entries(batches)

    assert [batch for entry in entries for batch in entry] == batches
    for entry in entries:
        assert entry
        assert sum(batch.count for batch in entry) <= MAX_ENTRY_EVENTS
        assert sum(len(batch.data) for batch in entry) <= MAX_ENTRY_BYTES
    for entry, following in pairwise(entries):
        together = [*entry, following[0]]
        over_events = sum(batch.count for batch in together) > MAX_ENTRY_EVENTS
        over_bytes = sum(len(batch.data) for batch in together) > MAX_ENTRY_BYTES
        assert over_events or over_bytes, "an entry was closed though the next batch fitted"


def test_an_event_over_the_bound_is_an_entry_of_its_own() -> None:
    packed = pack("native", [make(1, 10), make(2, MAX_ENTRY_BYTES), make(3, 10)])

    assert [part.count for part in packed] == [1, 1, 1]
    assert [len(entry) for entry in group_into_entries(packed)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("earlier", "later"), [("9-0", "10-0"), ("10-9", "10-10"), ("10", "10-1"), ("0-0", "0-1")]
)
def test_ids_sort_as_the_stream_does(earlier: str, later: str) -> None:
    assert entry_order(earlier) < entry_order(later)
