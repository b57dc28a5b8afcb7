"""What a SQL store says when its database is away, full, locked, or refuses the data."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from shared.errors import StoreUnavailable
from shared.stores.base import Dimension, DimensionValue, Store
from shared.stores.sql import SqlStore
from shared.stores.sql_dialects import Fault
from shared.stores.sql_sqlite import Sqlite
from shared.stores.sql_url import dialect_of
from tests.harness import free_port
from tests.stores.samples import BASE, EVER, make_event, scanned
from tests.stores.servers import DatabaseServer, mysql_server, postgresql_server

CALLS: list[Callable[[Store], Any]] = [
    lambda store: store.append([make_event("b")]),
    lambda store: store.query(EVER, limit=1),
    lambda store: list(store.scan(EVER)),
    lambda store: store.aggregate(EVER),
    lambda store: store.timeseries(EVER, [0, 2**32]),
    lambda store: store.stats(),
    lambda store: store.ping(),
    lambda store: store.expire(),
    lambda store: store.clear(),
]


@pytest.fixture(scope="module", params=[postgresql_server, mysql_server])
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A server of this module's own, to be killed."""
    with request.param() as running:
        yield running


@pytest.fixture
def on_server(server: DatabaseServer) -> Iterator[SqlStore]:
    store = SqlStore(dialect_of(server.new_database(), "URL"), ttl_seconds=10**9)
    yield store
    store.close()


def test_a_server_that_went_away_is_unavailable_and_then_there_again(
    server: DatabaseServer, on_server: SqlStore
) -> None:
    on_server.append([make_event("a")])
    server.kill()
    try:
        for call in CALLS:
            with pytest.raises(StoreUnavailable):
                call(on_server)
    finally:
        server.start()
    assert on_server.append([make_event("a"), make_event("b")]) == 1
    assert [event.id for event in scanned(on_server)] == ["a", "b"]


def test_a_connection_that_broke_between_two_calls_is_not_noticed(
    server: DatabaseServer, on_server: SqlStore
) -> None:
    on_server.append([make_event("a")])
    server.kill()
    server.start()
    assert on_server.append([make_event("a"), make_event("b")]) == 1
    assert on_server.aggregate(EVER).total_requests == 2


def test_data_that_does_not_fit_is_not_taken_for_an_outage(on_server: SqlStore) -> None:
    unfit = {"postgresql": "x\0", "mysql": "x" * 5_000}[on_server.backend_type]
    poison = make_event("poison", model=unfit)
    for batch in ([make_event("a"), poison], [poison]):
        with pytest.raises((sa.exc.DataError, psycopg.DataError)):
            on_server.append(batch)
    assert on_server.append([make_event("a")]) == 1
    assert on_server.aggregate(EVER).total_requests == 1


def test_a_filter_of_what_no_event_can_have_gives_none(on_server: SqlStore) -> None:
    on_server.append([make_event("a")])
    impossible: list[tuple[Dimension, DimensionValue]] = [
        ("model", "x\0"),
        ("status_code", 70_000),
        ("status_code", 2**70),
    ]
    for name, value in impossible:
        wanted = replace(EVER, filters={name: frozenset([value])})
        assert on_server.query(wanted, limit=9) == []
        assert on_server.aggregate(wanted).total_requests == 0
        assert on_server.aggregate(replace(wanted, start=BASE)).total_requests == 0


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_store_opens_while_its_server_is_away_and_tells_no_password(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{scheme}://user:hunter2@127.0.0.1:{free_port()}/name"
    with caplog.at_level(logging.DEBUG):
        store = SqlStore(dialect_of(url, "URL"))
        with pytest.raises(StoreUnavailable) as raised:
            store.ping()
    assert "the store is away" in caplog.text
    assert "hunter2" not in caplog.text + str(raised.value) + repr(raised.value.__cause__)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analytics.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(Sqlite(path, busy_seconds=0.05))
    yield opened
    opened.close()


def test_a_full_disk_is_unavailable_and_stores_nothing(store: SqlStore) -> None:
    store.append([make_event("a")])
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 3}")
    with pytest.raises(StoreUnavailable, match="full"):
        store.append([make_event(f"b{n}") for n in range(5_000)])

    assert store.aggregate(EVER).total_requests == store.stats().total_events == 1


def test_a_locked_file_is_unavailable_to_writers_and_open_to_readers(
    store: SqlStore, path: Path
) -> None:
    store.append([make_event("a")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM analytics_events")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.append([make_event("b")])
        assert [event.id for event in scanned(store)] == ["a"]
        assert store.aggregate(EVER).total_requests == 1
        other.execute("ROLLBACK")
    assert store.append([make_event("b")]) == 1


def test_others_that_are_always_in_the_way_are_no_fault_of_the_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Contended(Sqlite):
        def fault(self, error: BaseException) -> Fault:
            return "conflict"

    monkeypatch.setattr("shared.stores.sql.time.sleep", lambda seconds: None)
    contended = SqlStore(Contended(path, busy_seconds=0.01))
    with closing(contended), closing(sqlite3.connect(path)) as other:
        contended.append([make_event("a")])
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="locked"):
            contended.append([make_event("b")])


def test_a_scan_that_is_left_half_read_keeps_no_writer_waiting(store: SqlStore) -> None:
    store.append([make_event(f"a{n}") for n in range(5_000)])
    half = store.scan(EVER)
    next(half)
    started = time.monotonic()
    store.append([make_event("b")])
    store.clear()
    assert time.monotonic() - started < 5
    assert list(half) == []


def test_what_append_returned_was_forced_to_disk(store: SqlStore) -> None:
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        full = 2
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == full


def test_a_folder_that_can_not_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = SqlStore(Sqlite(tmp_path / "file" / "analytics.db"))
    with pytest.raises(StoreUnavailable, match="unable to open"):
        store.ping()
    store.close()


def test_a_file_that_is_no_database_is_unavailable(path: Path) -> None:
    path.write_bytes(b"something else altogether" * 100)
    store = SqlStore(Sqlite(path))
    with pytest.raises(StoreUnavailable):
        store.append([make_event("a")])
    assert path.read_bytes().startswith(b"something else")
    store.close()
