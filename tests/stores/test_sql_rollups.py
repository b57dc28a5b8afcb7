"""Rollups in segments: few of them, exact, and gone with their events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from shared.events import MAX_COUNT, Event
from shared.stores import sql_rollups
from shared.stores.base import DIMENSIONS, Selection
from shared.stores.fold import fold_aggregate, fold_timeseries
from shared.stores.rollup import CUBES, HOUR
from shared.stores.sql import SqlStore
from shared.stores.sql_cells import Cells
from shared.stores.sql_figures import aggregate_cells, points_of_cells
from shared.stores.sql_rollups import MERGE_AT, QUIET_SECONDS, Place, Tally
from shared.stores.sql_rows import event_of, measures_of, row_of
from shared.stores.sql_schema import events, rollups
from shared.stores.sql_segments import pack, unpack
from shared.stores.sql_url import dialect_of, sqlite_file
from tests.stores.samples import (
    BASE,
    DAY,
    EVER,
    Clock,
    assert_same_aggregate,
    assert_same_points,
    extreme_events,
    make_event,
    varied_events,
    wire,
)


def _cells(of: list[Event], sign: int = 1) -> Cells:
    return Cells.of(measures_of([row_of(event)[1:-1] for event in of]), sign)


def test_an_event_comes_back_from_its_row() -> None:
    everything = [*extreme_events(), *varied_events(50, start=BASE, end=BASE)]
    assert wire(event_of(row_of(event)) for event in everything) == wire(everything)


@given(st.integers(1, 60), st.integers(0, 9))
def test_cells_packed_and_read_again_give_the_figures_of_their_events(
    count: int, seed: int
) -> None:
    chosen = varied_events(count, start=BASE, end=BASE + 50, seed=seed)
    for cube in CUBES:
        summed = _cells(chosen).coarser(cube.dimensions, HOUR)
        read = [unpack(pack(each, block), cube, block) for block, each in summed.by_block(DAY)]
        joined = Cells.join(read)
        if "model" in cube.dimensions:
            assert_same_aggregate(aggregate_cells(joined), fold_aggregate(chosen))
        for name in cube.dimensions:
            points = points_of_cells(joined.regrouped((name,), joined.start * 0), name)
            assert_same_points(points, fold_timeseries(chosen, [0, 2 * BASE], name))


def test_cells_less_their_own_events_are_none() -> None:
    chosen = varied_events(80, start=BASE, end=BASE + 50)
    both = Cells.join([_cells(chosen), _cells(chosen[::-1], sign=-1)])
    assert len(both.coarser(DIMENSIONS, HOUR)) == 0


def test_sums_of_tokens_go_past_64_bits() -> None:
    many = [make_event(str(n), tokens=(MAX_COUNT, MAX_COUNT - n)) for n in range(3_000)]
    summed = _cells(many).coarser(("model", "endpoint", "backend"), HOUR)
    assert aggregate_cells(summed).total_input_tokens == 3_000 * MAX_COUNT > 2**64
    (point,) = points_of_cells(summed.regrouped((), summed.start * 0), None)
    assert point.output_tokens == 3_000 * MAX_COUNT - sum(range(3_000))


def test_values_of_many_dimensions_are_told_apart_however_many_there_are() -> None:
    chance = np.random.default_rng(1)
    many = [
        make_event(
            str(n),
            model=f"m{chance.integers(10**9)}",
            endpoint=f"e{chance.integers(10**9)}",
            backend=f"b{chance.integers(10**9)}",
            api_key_id=f"k{chance.integers(10**9)}",
            upstream_mode=f"u{chance.integers(10**9)}",
        )
        for n in range(20_000)
    ]
    summed = _cells([*many, *many]).coarser(DIMENSIONS, HOUR)
    assert len(summed) == 20_000
    assert set(summed.count("requests").tolist()) == {2}


def test_a_place_is_due_once_it_holds_many_segments_or_has_been_quiet() -> None:
    clock = Clock(0)
    tally = Tally(clock)
    busy, calm, single = (Place("traffic", HOUR, n, 0) for n in range(3))
    for _ in range(MERGE_AT):
        tally.add([busy])
    tally.add([calm, calm, single])

    assert tally.take_due() == [busy]
    assert tally.take_due() == []
    clock.now = QUIET_SECONDS
    assert tally.take_due() == [calm]
    clock.now *= 9
    assert tally.take_due() == []


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., SqlStore]]:
    """Opens a store on one database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/analytics.db"
    else:
        url = request.getfixturevalue(request.param).new_database()
    opened: list[SqlStore] = []

    def make(ttl_seconds: int | None = None, clock: Clock | None = None) -> SqlStore:
        dialect = dialect_of(url, "URL")
        opened.append(SqlStore(dialect, ttl_seconds=ttl_seconds, clock=clock or Clock()))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def _rows(store: SqlStore, table: sa.Table) -> int:
    with store._engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_many_small_appends_leave_few_segments(open_store: Callable[..., SqlStore]) -> None:
    store = open_store()
    for n in range(4 * MERGE_AT):
        store.append([make_event(f"{n}", BASE, duration_ms=float(n))])
    places = 9 + 1
    assert places <= _rows(store, rollups) < 4 * places
    assert store.aggregate(EVER).total_requests == 4 * MERGE_AT
    assert store.aggregate(EVER).latency_ms.p50 == pytest.approx(2 * MERGE_AT - 1, rel=0.02)


def test_maintenance_merges_what_writers_that_are_gone_have_left(
    open_store: Callable[..., SqlStore],
) -> None:
    for n in range(9):
        writer = open_store()
        writer.append([make_event(f"{n}", BASE)])
        writer.close()
    store = open_store()
    left = _rows(store, rollups)

    assert store.maintain() is False
    assert _rows(store, rollups) == left // 9
    assert store.aggregate(EVER).total_requests == 9


def test_two_that_merge_at_once_change_no_figure(open_store: Callable[..., SqlStore]) -> None:
    one, other = open_store(), open_store()
    chosen = varied_events(100, start=BASE, end=BASE + 50)
    for n in range(0, 100, 10):
        one.append(chosen[n : n + 10])
    with one._engine.connect() as connection:
        places = [Place(*row) for row in connection.execute(sa.select(*sql_rollups._PLACE))]
    for store in (one, other, one):
        store._merge(sorted(set(places)), fully=True)

    assert _rows(one, rollups) == len(set(places))
    assert_same_aggregate(other.aggregate(EVER), fold_aggregate(chosen))


def test_an_expiry_leaves_no_row_of_what_has_ended(open_store: Callable[..., SqlStore]) -> None:
    clock = Clock()
    store = open_store(DAY, clock)
    store.append(varied_events(300, start=BASE - DAY + 1, end=BASE))
    clock.now = BASE + DAY
    assert store.expire() == 300
    assert _rows(store, events) == _rows(store, rollups) == 0


def test_rollups_of_partly_ended_cells_hold_what_is_left(
    open_store: Callable[..., SqlStore],
) -> None:
    clock = Clock()
    store = open_store(DAY, clock)
    chosen = varied_events(300, start=BASE - DAY + 1, end=BASE)
    store.append(chosen)
    clock.now = BASE + 4_567
    store.expire()
    left = [event for event in chosen if event.timestamp > clock.now - DAY]

    # Without a time to live whole cells are read, those that were partly ended among them.
    unlimited = open_store()
    wanted = Selection(start=BASE - 9 * DAY, end=BASE)
    assert _rows(store, events) == len(left)
    assert_same_aggregate(unlimited.aggregate(wanted), fold_aggregate(left))


def test_an_expiry_that_was_cut_short_is_tidied_up_by_the_next(
    open_store: Callable[..., SqlStore],
) -> None:
    clock = Clock()
    store = open_store(DAY, clock)
    store.append(varied_events(50, start=BASE - DAY + 1, end=BASE))
    clock.now = BASE + 2 * DAY
    store._expire_some(store.horizon())
    assert _rows(store, events) == 0 < _rows(store, rollups)

    assert open_store(DAY, clock).expire() == 0
    assert _rows(store, rollups) == 0


def test_a_file_holds_nothing_of_what_has_ended_or_was_cleared(tmp_path: Path) -> None:
    path = tmp_path / "analytics.db"
    clock = Clock()
    for ended in (False, True):
        store = SqlStore(sqlite_file(path), ttl_seconds=DAY, clock=clock)
        names = {"model": "canary-model", "api_key_id": "canary-key"}
        store.append([make_event(f"canary-{n}", clock.now, **names) for n in range(500)])  # type: ignore[arg-type]
        if ended:
            clock.now += 3 * DAY
            store.expire()
        else:
            store.clear()
        store.close()
        assert b"canary" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())
