"""The ClickHouse store keeps the contract over HTTP, with several clients of one server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.errors import SettingsError, StoreError, StoreUnavailable
from shared.stores.clickhouse import ClickHouseStore
from shared.stores.clickhouse_engine import failure
from shared.stores.clickhouse_server import ServerEngine, options_of
from tests.harness import free_port, wait_until
from tests.stores.clickhouse_server import clickhouse_url, running_clickhouse
from tests.stores.contract import StoreContract
from tests.stores.samples import MakeStore, make_event, scanned


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clickhouse_url(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


class TestClickHouseServerStore(StoreContract):
    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        emptied = ClickHouseStore(url)
        emptied.clear()
        emptied.close()

        def make(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> ClickHouseStore:
            return ClickHouseStore(url, ttl_seconds=ttl_seconds, clock=clock)

        return make


def _another(url: str) -> str:
    """The URL of a database that is not there yet."""
    return f"{url.rpartition('/')[0]}/analytics_{secrets.token_hex(6)}"


def test_a_server_that_is_away_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    store = ClickHouseStore(f"clickhouse://127.0.0.1:{port}/analytics")
    for call in (store.ping, store.stats, lambda: store.append([make_event("a")])):
        with pytest.raises(StoreUnavailable):
            call()

    with running_clickhouse(tmp_path, port):
        assert store.append([make_event("a")]) == 1
    with pytest.raises(StoreUnavailable):
        store.append([make_event("b")])
    with pytest.raises(StoreUnavailable):
        store.ping()

    with running_clickhouse(tmp_path, port):
        assert store.append([make_event("a"), make_event("b")]) == 1
        store.ping()
        assert [event.id for event in scanned(store)] == ["a", "b"]
    store.close()


def test_stores_that_open_at_once_make_one_table(url: str) -> None:
    database = _another(url)
    stores = [ClickHouseStore(database) for _ in range(4)]
    events = [make_event(str(n)) for n in range(5)]
    with ThreadPoolExecutor(len(stores)) as threads:
        new = sum(threads.map(lambda store: store.append(events), stores))

    assert new == 5
    assert [store.stats().total_events for store in stores] == [5] * 4
    for store in stores:
        store.close()


def test_a_table_that_was_dropped_is_made_again(url: str) -> None:
    store = ClickHouseStore(_another(url))
    store.append([make_event("a")])
    store._engine.command(f"DROP TABLE {store._schema.local} SYNC")

    with pytest.raises(StoreUnavailable):
        store.stats()
    assert store.stats().total_events == 0
    assert store.append([make_event("a")]) == 1
    store.close()


def test_a_table_of_a_newer_version_is_refused(url: str) -> None:
    base = _another(url)
    with closing(ClickHouseStore(base)) as store:
        store.append([make_event("a")])
        store._engine.command(f"ALTER TABLE {store._schema.local} MODIFY COMMENT 'schema 99'")

    with closing(ClickHouseStore(base)) as store, pytest.raises(StoreError, match="newer") as error:
        store.append([make_event("b")])
    assert not isinstance(error.value, StoreUnavailable)


def test_an_append_waits_while_another_writer_is_in_the_session(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ClickHouseStore(url)) as store, closing(ClickHouseStore(url)) as other:
        store.append([make_event("first")])
        with ThreadPoolExecutor(1) as threads:
            sleeping = threads.submit(_in_session, other, "SELECT sleep(1.5)")
            wait_until(lambda: _is_locked(store))
            monkeypatch.setattr("shared.stores.clickhouse_server._TURN_SECONDS", 0.05)
            with pytest.raises(StoreUnavailable, match="other writers"):
                store.append([make_event("in vain")])
            monkeypatch.setattr("shared.stores.clickhouse_server._TURN_SECONDS", 30.0)
            assert store.append([make_event("second")]) == 1
            assert sleeping.done()
        assert "in vain" not in [event.id for event in scanned(store)]


def _in_session(store: ClickHouseStore, sql: str) -> None:
    """Run a statement in the session that appends take turns in."""
    assert isinstance(store._engine, ServerEngine)
    client = store._engine._connected()
    client.command(sql, settings={"session_id": store._engine._session})


def _is_locked(store: ClickHouseStore) -> bool:
    try:
        _in_session(store, "SELECT 1")
    except ClickHouseError as error:
        return "locked" in str(error)
    return False


@pytest.mark.parametrize(
    ("code", "away"),
    [(None, False), (27, False), (53, False), (241, True), (252, True), (999, True)],
)
def test_what_is_no_events_fault_is_unavailable(code: int | None, away: bool) -> None:
    assert isinstance(failure(f"Code: {code}. DB::Exception: …", code), StoreUnavailable) == away


def test_a_full_disk_is_unavailable() -> None:
    message = "Code: 75. DB::ErrnoException: Cannot write: errno: 28, No space left on device"
    assert isinstance(failure(message, 75), StoreUnavailable)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("clickhouse://u:p%40ss@h:8123/db", ("http", "h", 8123, "u", "p@ss")),
        ("clickhouse://h/db?secure=true", ("https", "h", None, None, "")),
        ("clickhouse://h:8443", ("https", "h", 8443, None, "")),
        ("https://h:8123/db", ("https", "h", 8123, None, "")),
        ("http://h", ("http", "h", None, None, "")),
    ],
)
def test_urls(url: str, expected: tuple[object, ...]) -> None:
    found = options_of(url, "URL")
    names = ("interface", "host", "port", "username", "password")
    assert tuple(found[name] for name in names) == expected


def test_parameters_of_the_url_are_passed_on() -> None:
    assert options_of("clickhouse://h/db?connect_timeout=2", "URL")["connect_timeout"] == "2"


@pytest.mark.parametrize("url", ["clickhouse://", "mysql://h/db", "clickhouse://h:port/db", "h"])
def test_a_wrong_url_is_refused_by_its_variable(url: str) -> None:
    with pytest.raises(SettingsError, match="URL: "):
        options_of(url, "URL")
