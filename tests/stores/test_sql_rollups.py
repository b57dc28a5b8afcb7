"""Rollups in segments: few of them, exact, and gone with their events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs

from shared.stores import sql_rollups
from shared.stores.base import Selection
from shared.stores.cells import Cells, Measures
from shared.stores.fold import fold_aggregate, fold_timeseries
from shared.stores.rollup import Place
from shared.stores.segments import MERGE_AT
from shared.stores.sql import MOST_BEYOND, SqlStore
from shared.stores.sql_rows import event_of, row_of
from shared.stores.sql_schema import events, rollups
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


def test_an_event_comes_back_from_its_row() -> None:
    everything = [*extreme_events(), *varied_events(50, start=BASE, end=BASE)]
    assert wire(event_of(row_of(event)) for event in everything) == wire(everything)


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


@pytest.mark.parametrize("beyond", [0, 40, MOST_BEYOND + 100])
def test_a_question_that_ends_within_a_minute_is_exact(
    open_store: Callable[..., SqlStore], beyond: int
) -> None:
    """Whether little or much lies past its end, in the same minute, decides how it is answered."""
    store = open_store()
    end = BASE // 3_600 * 3_600 + 3_600 + 30
    within = varied_events(1_500, start=end - 3_000, end=end)
    later = varied_events(beyond, start=end + 1, end=end + 29, seed=2)
    store.append([*within, *(structs.replace(event, id=f"later-{event.id}") for event in later)])

    asked = Selection(start=end - 2_000, end=end)
    kept = [event for event in within if event.timestamp >= asked.start]
    assert_same_aggregate(store.aggregate(asked), fold_aggregate(kept))
    edges = [asked.start, end - 1_000, end - 10, end + 1]
    for group_by in (None, "model", "status_code"):
        points = store.timeseries(asked, edges, group_by)
        assert_same_points(points, fold_timeseries(kept, edges, group_by))
    filtered = replace(asked, filters={"api_key_id": frozenset({kept[0].auth.api_key_id})})
    of_key = [event for event in kept if event.auth.api_key_id == kept[0].auth.api_key_id]
    assert_same_aggregate(store.aggregate(filtered), fold_aggregate(of_key))


def test_an_event_beyond_the_end_takes_no_cost_of_another_with_it(
    open_store: Callable[..., SqlStore],
) -> None:
    """They count alike, one in the first edge and one past the last, and differ in cost."""
    store = open_store()
    minute = BASE // 60 * 60
    first, middle, beyond = (
        make_event(name, at, cost=cost)
        for name, at, cost in (
            ("first", minute + 50, 1.0),
            ("middle", minute + 70, 2.0),
            ("beyond", minute + 100, 5.0),
        )
    )
    store.append([first, middle, beyond])

    found = store.aggregate(Selection(start=minute + 40, end=minute + 90))

    assert_same_aggregate(found, fold_aggregate([first, middle]))


def test_a_question_up_to_now_reads_no_event_of_a_busy_minute(
    open_store: Callable[..., SqlStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    end = BASE // 60 * 60 + 30
    store.append(varied_events(1_000, start=end - 29, end=end))
    read = []

    def counted(measures: Measures, sign: int = 1) -> Cells:
        read.append(len(measures.timestamp))
        return of(measures, sign)

    of = Cells.of
    monkeypatch.setattr(Cells, "of", counted)
    assert store.aggregate(Selection(start=end - 30, end=end)).total_requests == 1_000
    assert read == []


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
