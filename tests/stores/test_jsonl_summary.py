"""Aggregates of the JSONL store take whole days from summaries, and are exact to the second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.stores.base import Selection
from shared.stores.fold import fold_aggregate
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_builder import IndexPolicy
from shared.stores.jsonl_file import encode_line
from shared.stores.jsonl_pieces import pieces_of
from tests.stores.indexed import settle
from tests.stores.samples import (
    BASE,
    DAY,
    EVER,
    assert_same_aggregate,
    make_event,
    varied_events,
)

EVENTS = varied_events(2_000, start=BASE - 6 * DAY, end=BASE)
MIDNIGHT = BASE - BASE % DAY
EDGES = (MIDNIGHT - 3 * DAY - 7_000, MIDNIGHT + 500)
RANGE = Selection(start=EDGES[0], end=EDGES[1])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JsonlStore]:
    """A store whose events are all in its index."""
    path = tmp_path / "analytics.jsonl"
    path.write_bytes(b"".join(map(encode_line, EVENTS)))
    store = JsonlStore(path, index=IndexPolicy(settle=1, slice=200_000, segment_rows=900))
    settle(store)
    yield store
    store.close()


def test_only_the_edges_of_a_range_are_read_from_the_rows(store: JsonlStore) -> None:
    with store._view.snapshot() as snapshot:
        assert snapshot is not None
        answered = [
            sum(row[3] for row in snapshot.session.rows(piece.figures, piece.parameters))
            for piece in pieces_of(snapshot, RANGE)
        ]

    first, last = MIDNIGHT - 3 * DAY, MIDNIGHT
    before = [event for event in EVENTS if EDGES[0] <= event.timestamp < first]
    after = [event for event in EVENTS if last <= event.timestamp <= EDGES[1]]
    inside = [event for event in EVENTS if first <= event.timestamp < last]
    assert answered == [len(before), len(after), len(inside)]


@pytest.mark.parametrize("start", [MIDNIGHT - 3 * DAY, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1])
@pytest.mark.parametrize("end", [MIDNIGHT + 1, MIDNIGHT + DAY - 1, MIDNIGHT + DAY])
def test_a_range_at_the_edges_of_days_has_the_figures_of_its_events(
    store: JsonlStore, start: int, end: int
) -> None:
    wanted = Selection(start=start, end=end)
    expected = [event for event in EVENTS if wanted.matches(event)]
    assert_same_aggregate(store.aggregate(wanted), fold_aggregate(expected))


def test_what_was_appended_since_is_in_the_figures_of_its_day(store: JsonlStore) -> None:
    late = make_event("late", MIDNIGHT - 2 * DAY, model="late")
    store.append([late])

    assert store.aggregate(RANGE).models_used["late"] == 1
    assert_same_aggregate(store.aggregate(EVER), fold_aggregate([*EVENTS, late]))
